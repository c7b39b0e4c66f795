// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// leakyToken is in files that cannot be used. No message may quote it.
const leakyToken = "leaky-token-4b7d"

// Without any flag the message says what is missing, and what to do without a cluster.
func TestRefuseNothingGiven(t *testing.T) {
	t.Parallel()
	wantRefusal(t, nil,
		"--etcd-servers is required in a cluster; to run without one, use --standalone",
		"--encryption-provider-config is required in a cluster", "--tls-cert-file and --tls-private-key-file are required in a cluster")
}

func TestRefuseFlags(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"broken": "token: [" + leakyToken, "anchor": "a: *" + leakyToken, "wrong-type": `users: "` + leakyToken + `"`, "empty": "",
		"no-server":  "apiVersion: v1\nkind: Config\nusers: [{name: a, user: {token: " + leakyToken + "}}]\n",
		"cluster-ca": c.ClientCA.PEM(),
	} {
		harness.WriteFile(t, filepath.Join(dir, name), content)
	}
	for name, test := range map[string]struct{ args, want []string }{
		"standalone flags": {
			args: []string{"--data-dir=" + dir, "--rbac-dir=" + dir, "--token-auth-file=x", "--client-ca-file=x", "--authentication-config=x"},
			want: []string{"--data-dir needs --standalone", "--rbac-dir needs --standalone", "--token-auth-file needs --standalone", "--client-ca-file needs --standalone", "--authentication-config needs --standalone"},
		},
		"negative times": {
			args: []string{"--authentication-token-webhook-cache-ttl=-1s", "--authorization-webhook-cache-authorized-ttl=-1s"},
			want: []string{"--authentication-token-webhook-cache-ttl must not be negative", "--authorization-webhook-cache-authorized-ttl"},
		},
		"no shares": {
			args: []string{"--max-requests-inflight=0", "--max-mutating-requests-inflight=0"},
			want: []string{"--max-requests-inflight and --max-mutating-requests-inflight must not both be 0 in a cluster"},
		},
		"no kubeconfig file":     {args: []string{"--kubeconfig=" + dir + "/none"}, want: []string{"--kubeconfig: open " + dir + "/none"}},
		"no cluster":             {args: []string{"--kubeconfig="}, want: []string{"--kubeconfig is not set and this is not a Pod"}},
		"kubeconfig broken":      {args: []string{"--kubeconfig=" + dir + "/broken"}, want: []string{"--kubeconfig: " + dir + "/broken is not a valid kubeconfig"}},
		"kubeconfig anchor":      {args: []string{"--authentication-kubeconfig=" + dir + "/anchor"}, want: []string{"--authentication-kubeconfig: " + dir + "/anchor is not a valid kubeconfig"}},
		"kubeconfig wrong type":  {args: []string{"--authorization-kubeconfig=" + dir + "/wrong-type"}, want: []string{"--authorization-kubeconfig: " + dir + "/wrong-type is not a valid kubeconfig"}},
		"kubeconfig empty":       {args: []string{"--kubeconfig=" + dir + "/empty"}, want: []string{"--kubeconfig " + dir + "/empty"}},
		"kubeconfig, no cluster": {args: []string{"--kubeconfig=" + dir + "/no-server"}, want: []string{"--kubeconfig " + dir + "/no-server"}},
		"no certificate yet":     {args: []string{"--tls-cert-file=" + dir + "/tls.crt"}, want: []string{"--tls-cert-file", dir + "/tls.crt"}},
		"the cluster's client CA": {
			args: []string{"--decrypt-client-ca-file=" + dir + "/cluster-ca"},
			want: []string{"--decrypt-client-ca-file ", "is a CA of the cluster (client-ca-file in ConfigMap kube-system/" + kubeapi.ConfigMap,
				"use a CA that signs for services only, or omit the flag"},
		},
		"no CA of services": {
			args: []string{"--decrypt-client-ca-file=" + dir + "/none"}, want: []string{"--decrypt-client-ca-file: open " + dir + "/none"},
		},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, append(c.Args(t), test.args...), test.want...) })
	}
}

// What kube-apiserver publishes must let the front proxy be told from everybody else.
func TestRefuseConfigMap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		data map[string]string
		want string
	}{
		"any name allowed":     {map[string]string{"requestheader-allowed-names": "[]"}, "requestheader-allowed-names is empty"},
		"blank name allowed":   {map[string]string{"requestheader-allowed-names": `["", " "]`}, "requestheader-allowed-names is empty"},
		"names missing":        {map[string]string{"requestheader-allowed-names": ""}, "requestheader-allowed-names is empty"},
		"names are not a list": {map[string]string{"requestheader-allowed-names": `"front-proxy-client"`}, "requestheader-allowed-names is not a JSON list"},
		"no front-proxy CA":    {map[string]string{"requestheader-client-ca-file": ""}, "requestheader-client-ca-file is empty"},
		"front-proxy CA: none": {map[string]string{"requestheader-client-ca-file": "x"}, "requestheader-client-ca-file: "},
		"client CA: none":      {map[string]string{"client-ca-file": "x"}, "client-ca-file: "},
		"no user header":       {map[string]string{"requestheader-username-headers": `[""]`}, "requestheader-username-headers is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			c := harness.NewCluster(t)
			data := c.ConfigMap()
			maps.Copy(data, test.data)
			c.API.SetConfigMap(t, data)
			wantRefusal(t, c.Args(t), "ConfigMap kube-system/"+kubeapi.ConfigMap+": "+test.want)
		})
	}
}

// A kube-apiserver that does not answer is waited for, but not for ever.
func TestRefuseSilentKubeAPIServer(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.SetDown(true)
	wantRefusal(t, c.Args(t), "reading ConfigMap kube-system/"+kubeapi.ConfigMap+": ", "check --kubeconfig and --authentication-kubeconfig")
}

// wantRefusal wants a start to end with exit code 1 and one last line that holds all of want.
func wantRefusal(t *testing.T, args []string, want ...string) {
	t.Helper()
	out, code := harness.Fail(t, args...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	last := lines[len(lines)-1]
	if code != 1 || !strings.HasPrefix(last, "error: ") {
		t.Errorf("exit code %d, last line %q", code, last)
	}
	for _, text := range want {
		if !strings.Contains(last, text) {
			t.Errorf("want %q in %q", text, last)
		}
	}
	if strings.Contains(out, leakyToken) {
		t.Errorf("a token is in %s", out)
	}
}
