// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// clientConfig is what kubectl makes of the kubeconfig.
func clientConfig(t *testing.T, d *Data) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", d.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// authenticates says who token is, "" for nobody.
func authenticates(t *testing.T, d *Data, token string) string {
	t.Helper()
	resp, ok, err := d.AdminAuthenticator().AuthenticateToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return ""
	}
	return resp.User.GetName() + " " + strings.Join(resp.User.GetGroups(), ",")
}

func TestAdminKubeconfig(t *testing.T) {
	d := prepare(t, filepath.Join(t.TempDir(), "data"))
	cfg := clientConfig(t, d)
	if cfg.Host != "https://127.0.0.1:8443" || d.ServerURL() != cfg.Host {
		t.Errorf("server %s, ServerURL() = %s", cfg.Host, d.ServerURL())
	}
	if got := string(cfg.CAData); got != read(t, d.CACert()) {
		t.Errorf("authority in the kubeconfig:\n%s", got)
	}
	if !strings.HasPrefix(cfg.BearerToken, "sva_") || len(cfg.BearerToken) != len("sva_")+43 {
		t.Errorf("token has %d characters, want sva_ and 32 bytes in base64url", len(cfg.BearerToken))
	}
	raw, err := clientcmd.LoadFromFile(d.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	context := raw.Contexts[raw.CurrentContext]
	address := strings.TrimPrefix(d.ServerURL(), "https://") // so that the files of two servers can be merged
	if raw.CurrentContext != "secret-apiserver@"+address || context.Namespace != "default" ||
		context.Cluster != "secret-apiserver@"+address || context.AuthInfo != "admin@"+address {
		t.Errorf("context %q = %+v", raw.CurrentContext, context)
	}
}

func TestAdminToken(t *testing.T) {
	d := prepare(t, filepath.Join(t.TempDir(), "data"))
	token := clientConfig(t, d).BearerToken
	if got := authenticates(t, d, token); got != "admin system:masters" {
		t.Errorf("the admin token is %q", got)
	}
	sum := sha256.Sum256([]byte(token))
	hash := hex.EncodeToString(sum[:])
	if got := read(t, d.digestPath()); got != hash+"\n" {
		t.Errorf("admin-token.sha256 holds %q", got)
	}
	for _, wrong := range []string{"", "sva_", token + "x", token[:len(token)-1], strings.ToUpper(token), hash, " " + token} {
		if got := authenticates(t, d, wrong); got != "" {
			t.Errorf("a wrong token is %q", got)
		}
	}
}

// The token itself is in the kubeconfig and in no other file.
func TestTokenIsInOneFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := prepare(t, dir)
	token := clientConfig(t, d).BearerToken
	for name, text := range snapshot(t, dir) {
		if strings.Contains(text, token) != (name == "admin.kubeconfig") {
			t.Errorf("%s holds the token: %t", name, name != "admin.kubeconfig")
		}
	}
}

func TestTokenSurvivesRestart(t *testing.T) {
	dir := filled(t)
	d := prepare(t, dir)
	if got := authenticates(t, d, clientConfig(t, d).BearerToken); got != "admin system:masters" {
		t.Errorf("after a restart the admin token is %q", got)
	}
}

// Deleting the kubeconfig is how an owner voids a token.
func TestDeletedKubeconfigRotatesTheToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := prepare(t, dir)
	old := clientConfig(t, first).BearerToken
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, first.Kubeconfig())

	second := prepare(t, dir)
	token := clientConfig(t, second).BearerToken
	if token == old {
		t.Error("the new kubeconfig has the old token")
	}
	if authenticates(t, second, old) != "" || authenticates(t, second, token) == "" {
		t.Error("want the old token void and the new one good")
	}
}

// A new port or authority reaches the kubeconfig; what the owner added to it stays.
func TestKubeconfigFollowsTheServer(t *testing.T) {
	for _, tc := range []struct {
		bind string
		port int
		want string
	}{
		{"0.0.0.0", 9443, "https://127.0.0.1:9443"},
		{"::", 9443, "https://127.0.0.1:9443"},
		{"::1", 9443, "https://[::1]:9443"},
		{"192.0.2.7", 443, "https://192.0.2.7:443"},
	} {
		t.Run(tc.bind, func(t *testing.T) {
			dir := filled(t)
			path := filepath.Join(dir, "admin.kubeconfig")
			raw, err := clientcmd.LoadFromFile(path)
			if err != nil {
				t.Fatal(err)
			}
			old := raw.CurrentContext
			raw.Contexts[old].Namespace = "stack-1"
			raw.Contexts["mine"] = raw.Contexts[old].DeepCopy()
			raw.CurrentContext = "mine"
			if err := clientcmd.WriteToFile(*raw, path); err != nil {
				t.Fatal(err)
			}
			remove(t, filepath.Join(dir, "pki"))

			d := prepare(t, dir, func(c *Config) { c.BindAddress, c.Port = tc.bind, tc.port })
			got, err := clientcmd.LoadFromFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw.Clusters[old].Server = tc.want
			raw.Clusters[old].CertificateAuthorityData = []byte(read(t, d.CACert()))
			if diff := cmp.Diff(renamed(raw, old, tc.want), got); diff != "" {
				t.Errorf("kubeconfig (-want +got), tokens shown are test tokens:\n%s", diff)
			}
		})
	}
}

// renamed is a kubeconfig with the names that belong to the address of server in place of those of old, its first
// context.
func renamed(raw *clientcmdapi.Config, old, server string) *clientcmdapi.Config {
	out := raw.DeepCopy()
	address := strings.TrimPrefix(server, "https://")
	cluster, admin := "secret-apiserver@"+address, "admin@"+address
	user := out.Contexts[old].AuthInfo
	out.Clusters[cluster], out.AuthInfos[admin], out.Contexts[cluster] = out.Clusters[old], out.AuthInfos[user], out.Contexts[old]
	delete(out.Clusters, old)
	delete(out.AuthInfos, user)
	delete(out.Contexts, old)
	for _, context := range out.Contexts {
		context.Cluster, context.AuthInfo = cluster, admin
	}
	return out
}

// TestKubeconfigOfAnOlderVersion has names without an address; the token stays.
func TestKubeconfigOfAnOlderVersion(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, "admin.kubeconfig")
	text := read(t, path)
	raw, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(raw.CurrentContext, "@")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@"+address, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	prepare(t, dir)
	got, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(raw, got); diff != "" {
		t.Errorf("-want +got, tokens shown are test tokens:\n%s", diff)
	}
}

func TestKubeconfigWithoutCluster(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, "admin.kubeconfig")
	raw, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	delete(raw.Clusters, raw.CurrentContext)
	if err := clientcmd.WriteToFile(*raw, path); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, path+" has no cluster", "delete it")
}
