// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestBannerGolden(t *testing.T) {
	for name, info := range map[string]BannerInfo{
		"plain": {
			Listen: "127.0.0.1:8443", Decrypt: "127.0.0.1:8444", ServerURL: "https://127.0.0.1:8443",
			Kubeconfig: "/srv/data/admin.kubeconfig", CACert: "/srv/data/pki/ca.crt",
		},
		"odd": {
			Listen: "[::1]:8443", ServerURL: "https://[::1]:8443",
			Kubeconfig: "/srv/it's my data/admin.kubeconfig", CACert: "/srv/it's my data/pki/ca.crt",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			if err := Banner(&got, info); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "banner-"+name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(read(t, golden), got.String()); diff != "" {
				t.Errorf("banner (-want +got), rewrite with -update:\n%s", diff)
			}
		})
	}
}

// A shell runs the whole banner's commands against stand-ins that write down what they get.
func TestBannerCommandsPaste(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's my $HOME data")
	d := prepare(t, dir)
	token := clientConfig(t, d).BearerToken
	var banner strings.Builder
	err := Banner(&banner, BannerInfo{Listen: "127.0.0.1:8443", ServerURL: d.ServerURL(), Kubeconfig: d.Kubeconfig(), CACert: d.CACert()})
	if err != nil {
		t.Fatal(err)
	}
	_, script, ok := strings.Cut(banner.String(), "With kubectl: create, get, list\n")
	if !ok {
		t.Fatal("no commands in the banner")
	}
	script = strings.Replace(script, "With curl: create, get, list\n", "", 1)
	standIns := `
kubectl() { printf 'kubectl'; printf ' <%s>' "$@"; echo; [ "${5-}" != - ] || cat; }
curl() { printf 'curl'; printf ' <%s>' "$@"; echo; }
`
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", standIns+script).CombinedOutput()
	if err != nil {
		t.Fatalf("sh: %v\n%s", err, out)
	}
	url := d.ServerURL() + "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues"
	auth := "<Authorization: Bearer " + token + ">"
	for _, want := range []string{
		"kubectl <--kubeconfig> <" + d.Kubeconfig() + "> <create> <-f> <->\napiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\n",
		"kubectl <--kubeconfig> <" + d.Kubeconfig() + "> <get> <securevalues> <api-key>",
		"kubectl <--kubeconfig> <" + d.Kubeconfig() + "> <get> <securevalues>\n",
		"curl <--cacert> <" + d.CACert() + "> <-H> " + auth + " <-H> <Content-Type: application/json> <" + url + "> <-d> <{\n",
		"curl <--cacert> <" + d.CACert() + "> <-H> " + auth + " <" + url + "/api-key-2>\n",
		"curl <--cacert> <" + d.CACert() + "> <-H> " + auth + " <" + url + ">\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("pasting the banner did not run %q; it ran\n%s", want, out)
		}
	}
}

func TestBannerHoldsNoToken(t *testing.T) {
	d := prepare(t, filepath.Join(t.TempDir(), "data"))
	var banner strings.Builder
	if err := Banner(&banner, BannerInfo{ServerURL: d.ServerURL(), Kubeconfig: d.Kubeconfig(), CACert: d.CACert()}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(banner.String(), tokenPrefix) {
		t.Error("the banner prints the admin token")
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestBannerReportsWriteErrors(t *testing.T) {
	if err := Banner(brokenWriter{}, BannerInfo{}); !errors.Is(err, errBroken) {
		t.Errorf("Banner = %v, want the writer's error", err)
	}
}
