// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"bytes"
	"os"
	"strings"
	"testing"

	logsapi "k8s.io/component-base/logs/api/v1"
)

// A process applies its log flags once; this one runs the command often.
func TestMain(m *testing.M) {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	os.Exit(m.Run())
}

// execute runs the command without a cluster and returns its output.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := NewCommand(t.Context())
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetErr(&out)
	command.SetArgs(args)
	err := command.Execute()
	return out.String(), err
}

// A change of any flag shows in the golden file, and is looked at there.
func TestHelp(t *testing.T) {
	help, err := execute(t, "--help")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/help.txt")
	if err != nil {
		t.Fatal(err)
	}
	if help != string(want) {
		t.Errorf("--help differs from testdata/help.txt:\n%s", help)
	}
}

func TestRefusals(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"an argument":           {[]string{"keys"}, "unknown command"},
		"an unknown flag":       {[]string{"--insecure"}, "unknown flag"},
		"not in a Pod":          {nil, "--kubeconfig"},
		"no such kubeconfig":    {[]string{"--kubeconfig=testdata/absent", "--leader-elect=false"}, "--kubeconfig"},
		"nowhere for the Lease": {[]string{"--kubeconfig=testdata/absent"}, "--leader-elect-namespace is required"},
		"a Lease for nobody": {[]string{"--leader-elect=false", "--leader-elect-namespace=x"},
			"needs --leader-elect"},
		"metrics without a port": {[]string{"--metrics-bind-address=localhost"}, "--metrics-bind-address"},
		"health without a port":  {[]string{"--health-probe-bind-address=1"}, "--health-probe-bind-address"},
		"no tracing file": {[]string{"--kubeconfig=testdata/absent", "--leader-elect=false",
			"--tracing-config-file=testdata/none"}, "--tracing-config-file"},
		"no rewraps":             {[]string{"--rewrap-qps=0"}, "--rewrap-qps"},
		"no workers":             {[]string{"--rewrap-concurrency=-1"}, "--rewrap-concurrency"},
		"no probe":               {[]string{"--rewrap-probe-interval=0s"}, "--rewrap-probe-interval"},
		"a negative settle time": {[]string{"--rewrap-settle-time=-1s"}, "--rewrap-settle-time"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := execute(t, test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
