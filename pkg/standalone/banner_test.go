// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestBannerGolden(t *testing.T) {
	for name, test := range map[string]struct {
		data            Data
		listen, decrypt string
	}{
		"first": {
			data:   Data{dir: "/srv/data", server: "https://127.0.0.1:8443", first: true},
			listen: "127.0.0.1:8443", decrypt: "127.0.0.1:8444",
		},
		"later": {
			data:   Data{dir: "/srv/data", server: "https://127.0.0.1:8443", cfg: Config{BindAddress: "0.0.0.0"}},
			listen: "0.0.0.0:8443", decrypt: "0.0.0.0:8444",
		},
		"odd": {
			data:   Data{dir: "/srv/it's my data", server: "https://[::1]:8443", first: true},
			listen: "[::1]:8443",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			if err := test.data.Banner(&got, test.listen, test.decrypt); err != nil {
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

// A shell runs the whole banner's commands against stand-ins that write down what they get; values come by standard
// input.
func TestBannerCommandsPaste(t *testing.T) {
	d := prepare(t, filepath.Join(t.TempDir(), "it's my $HOME data"))
	token := clientConfig(t, d).BearerToken
	script := commands(t, d)
	standIns := `
kubectl() { printf 'kubectl <%s>' "$KUBECONFIG"; printf ' <%s>' "$@"; echo; [ "${3-}" != - ] || cat; }
curl() { printf 'curl'; printf ' <%s>' "$@"; echo; case "$*" in *@-*) cat;; esac; }
`
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", standIns+script).CombinedOutput()
	if err != nil {
		t.Fatalf("sh: %v\n%s", err, out)
	}
	url := d.ServerURL() + "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues"
	kubectl := "kubectl <" + d.Kubeconfig() + "> "
	curl := "curl <--cacert> <" + d.CACert() + "> <-H> <Authorization: Bearer " + token + "> "
	for _, want := range []string{
		kubectl + "<create> <-f> <->\napiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\n",
		kubectl + "<get> <securevalue> <api-key> <-o> <yaml>\n",
		kubectl + "<get> <securevalues>\n",
		curl + "<-H> <Content-Type: application/json> <" + url + "> <-d> <@->\n{\n",
		curl + "<" + url + "/api-key-2>\n",
		curl + "<" + url + ">\n",
		curl + "<https://127.0.0.1:8444/decrypt/v1/namespaces/default/secrets/api-key/decrypt>\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("pasting the banner did not run %q; it ran\n%s", want, out)
		}
	}
	values := regexp.MustCompile(`"?value"?: "([A-Za-z0-9+/]{32})"`).FindAllSubmatch(out, -1)
	if len(values) != 2 || bytes.Equal(values[0][1], values[1][1]) {
		t.Errorf("want two random values, got %q in\n%s", values, out)
	}
}

// commands are those of the banner of a first start.
func commands(t *testing.T, d *Data) string {
	t.Helper()
	var banner strings.Builder
	if err := d.Banner(&banner, "127.0.0.1:8443", "127.0.0.1:8444"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(banner.String(), tokenPrefix) {
		t.Error("the banner prints the admin token")
	}
	_, script, ok := strings.Cut(banner.String(), "goes on from here.\n")
	if !ok {
		t.Fatal("no commands in the banner")
	}
	return script
}

// The tutorial is for the first start; a new admin token for an existing folder does not make one.
func TestTutorialIsForTheFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for i, want := range []bool{true, false, false} {
		d := prepare(t, dir)
		if d.first != want {
			t.Errorf("start %d: first = %t", i, d.first)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := os.Remove(d.Kubeconfig()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A restored folder has values and keys, and neither admin token nor tutorial.
func TestNoTutorialForARestoredFolder(t *testing.T) {
	from, dir := prepare(t, filepath.Join(t.TempDir(), "from")), filepath.Join(t.TempDir(), "restored")
	if err := os.MkdirAll(filepath.Join(EtcdDir(dir), "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	keys := []byte(read(t, from.EncryptionConfig()))
	if err := os.WriteFile(filepath.Join(dir, "encryption.yaml"), keys, 0o600); err != nil {
		t.Fatal(err)
	}
	if d := prepare(t, dir); d.first {
		t.Error("the tutorial would be shown over restored values")
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestBannerReportsWriteErrors(t *testing.T) {
	if err := new(Data).Banner(brokenWriter{}, "", ""); !errors.Is(err, errBroken) {
		t.Errorf("Banner = %v, want the writer's error", err)
	}
}
