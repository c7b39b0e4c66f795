// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/storage/value"
	kmsmock "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"
	"k8s.io/component-base/metrics/legacyregistry"
)

var testAAD = value.DefaultContext("aad")

// configuration lists providers for our resource.
func configuration(providers ...string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" +
		"- resources: [securevalues.secret.grafana.app]\n  providers:\n  - " + strings.Join(providers, "\n  - ") + "\n"
}

func aesgcm(names ...string) string {
	keys := make([]string, 0, len(names))
	for _, name := range names {
		secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(name, 32)[:32]))
		keys = append(keys, fmt.Sprintf("{name: %s, secret: %s}", name, secret))
	}
	return "aesgcm: {keys: [" + strings.Join(keys, ", ") + "]}"
}

func kms(name, socket string) string {
	return fmt.Sprintf("kms: {apiVersion: v2, name: %s, endpoint: 'unix://%s', timeout: 1s}", name, socket)
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newProvider loads a configuration from its own file.
func newProvider(t testing.TB, content string) *Provider {
	t.Helper()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	writeFile(t, file, content)
	p, err := New(t.Context(), Config{File: file, Reload: true, APIServerID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rewrite changes the file and looks at it twice, as Run does.
func (p *Provider) rewrite(t *testing.T, content string) {
	t.Helper()
	writeFile(t, p.config.File, content)
	p.file.Check(t.Context(), false)
	p.file.Check(t.Context(), false)
}

func seal(t testing.TB, p *Provider, text string) []byte {
	t.Helper()
	sealed, err := p.Transformer().TransformToStorage(t.Context(), []byte(text), testAAD)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func opens(t testing.TB, p *Provider, sealed []byte, want string) {
	t.Helper()
	got, _, err := p.Transformer().TransformFromStorage(t.Context(), sealed, testAAD)
	if err != nil || string(got) != want {
		t.Errorf("opened %q, %v, want %q", got, err, want)
	}
}

// socketPath is short enough for a unix socket, which t.TempDir is not.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "kms.sock")
}

func TestRotation(t *testing.T) {
	p := newProvider(t, configuration(aesgcm("a")))
	first := seal(t, p, "one")
	p.rewrite(t, configuration(aesgcm("b", "a")))
	second := seal(t, p, "two")
	if !bytes.HasPrefix(second, []byte("k8s:enc:aesgcm:v1:b:")) {
		t.Errorf("sealed with %.24q", second)
	}
	opens(t, p, first, "one")
	opens(t, p, second, "two")
	p.rewrite(t, configuration(aesgcm("b")))
	opens(t, p, second, "two")
	if _, _, err := p.Transformer().TransformFromStorage(t.Context(), first, testAAD); err == nil {
		t.Error("a removed key still opens")
	}
}

// Whatever is wrong with the new file, the old one stays in force and readiness stays green while its text tells.
func TestBrokenEditsKeepTheLastGoodOne(t *testing.T) {
	good := configuration(aesgcm("a"))
	for name, broken := range map[string]string{
		"syntax":        "resources: [",
		"empty":         "",
		"identity":      configuration("identity: {}"),
		"identity last": configuration(aesgcm("b"), "identity: {}"),
		"short key":     configuration("aesgcm: {keys: [{name: a, secret: YQ==}]}"),
		"no base64":     configuration("aesgcm: {keys: [{name: a, secret: '!'}]}"),
		"two of a name": configuration(aesgcm("a", "a")),
		"other":         strings.Replace(good, "securevalues.", "othervalues.", 1),
		"KMS is away":   configuration(kms("away", "/nowhere/kms.sock"), aesgcm("a")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, good)
			sealed := seal(t, p, "one")
			p.rewrite(t, broken)
			opens(t, p, sealed, "one")
			if again := seal(t, p, "two"); !bytes.HasPrefix(again, []byte("k8s:enc:aesgcm:v1:a:")) {
				t.Errorf("sealed with %.24q", again)
			}
			if p.FileFault() == nil {
				t.Error("the fault of the file is not told")
			}
			p.rewrite(t, good)
			if err := p.FileFault(); err != nil {
				t.Errorf("the fault after the file was mended: %v", err)
			}
		})
	}
}

func TestNewRefusesBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "identity"), configuration("identity: {}"))
	writeFile(t, filepath.Join(dir, "short"), configuration("aesgcm: {keys: [{name: a, secret: YQ==}]}"))
	for name, want := range map[string]string{
		"identity": "identity", "short": "expected length", "missing": "no such file", "": "is a directory",
	} {
		_, err := New(t.Context(), Config{File: filepath.Join(dir, name)})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--"+Flag) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

// A KMS plugin may come up after the server; until then nothing is sealed, and readiness tells without failing.
func TestAKMSThatStartsLater(t *testing.T) {
	socket := socketPath(t)
	p := newProvider(t, configuration(kms("late", socket)))
	if _, err := p.Transformer().TransformToStorage(t.Context(), []byte("one"), testAAD); err == nil {
		t.Fatal("sealed without the plugin")
	}
	p.checkKMS(t.Context())
	startup, grace := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil), time.Hour
	if p.KMSFault() == nil || p.StartupCheck(grace).Check(startup) == nil {
		t.Errorf("a KMS that was never reached: fault %v, and the start-up check passes", p.KMSFault())
	}
	if err := p.StartupCheck(0).Check(startup); err != nil {
		t.Errorf("after the grace: %v", err)
	}
	kmsmock.NewBase64Plugin(t, socket)
	for deadline := time.Now().Add(time.Minute); p.kms.Load() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the plugin is not noticed")
		}
		p.checkKMS(t.Context())
	}
	opens(t, p, seal(t, p, "one"), "one")
	if err := p.StartupCheck(grace).Check(startup); err != nil {
		t.Errorf("a KMS that answers: %v", err)
	}
	away := errors.New("away again")
	p.kms.Store(&away)
	if err := p.StartupCheck(grace).Check(startup); err != nil {
		t.Errorf("a KMS that answered once: %v", err)
	}
	if local := newProvider(t, configuration(aesgcm("a"))); local.StartupCheck(grace).Check(startup) != nil {
		t.Error("a local key waits for a KMS")
	}
}

// The write key is a metric, and gone while nothing can be sealed.
func TestWriteKeyMetric(t *testing.T) {
	registerMetrics()
	show := func() string {
		families, err := legacyregistry.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, family := range families {
			if family.GetName() == "secret_encryption_write_key" {
				for _, series := range family.GetMetric() {
					keys = append(keys, fmt.Sprint(series.GetLabel()[0].GetValue(), " ", series.GetGauge().GetValue()))
				}
			}
		}
		return strings.Join(keys, ", ")
	}
	var p published
	for _, step := range []struct {
		key  string
		err  error
		want string
	}{
		{"aesgcm/a", nil, "aesgcm/a 1"}, {"aesgcm/a", nil, "aesgcm/a 1"}, {"aesgcm/b", nil, "aesgcm/b 1"},
		{"", context.DeadlineExceeded, ""}, {"aesgcm/b", nil, "aesgcm/b 1"},
	} {
		p.refresh(func() (string, error) { return step.key, step.err })
		if got := show(); got != step.want {
			t.Errorf("after %q: %q, want %q", step.key, got, step.want)
		}
	}
}
