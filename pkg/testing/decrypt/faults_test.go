// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsmock "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const encryptionHead = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
`

const (
	localKey = "  - aesgcm: {keys: [{name: key1, secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}]}\n"
	otherKey = "  - secretbox: {keys: [{name: key2, secret: ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=}]}\n"
)

// TestKeyTakenAway takes the key of a value away and gives it back: meanwhile the answer is 500, which no client tries
// again, and other values open.
func TestKeyTakenAway(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, keys, encryptionHead+localKey+otherKey)
	s := start(t, "--encryption-provider-config="+keys, "--encryption-provider-config-automatic-reload")
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	harness.WriteFile(t, keys, encryptionHead+otherKey)
	harness.Eventually(t, "the key of a is gone", func() bool { return get(t, s, k6Token, namespace, "a").Code == http.StatusInternalServerError })
	s.Create(t, namespace, "b", canary, "k6-cloud")

	got := get(t, s, k6Token, namespace, "a")
	if got.Header.Get("Retry-After") != "" || got.Status(t).Reason != "InternalError" || strings.Contains(string(got.Body), "again") {
		t.Errorf("%v %s", got.Header, got.Body)
	}
	if _, err := callGRPC(t.Context(), dial(t, s), nil, namespace, "a"); err != nil {
		t.Errorf("by gRPC: %v", err)
	}
	if got := results(t, connectJSON(t, s, k6Token, namespace, "a", "b")); got["a"] != "!decryption failed" || got["b"] != canary {
		t.Errorf("beside one that opens: %d results, a is %q", len(got), got["a"])
	}
	harness.WriteFile(t, keys, encryptionHead+otherKey+localKey)
	harness.Eventually(t, "the key is back", func() bool { return get(t, s, k6Token, namespace, "a").Code == ok })
	s.Leaks(t, canary)
}

// TestKMSDead restarts the server while the KMS is away, so that no key is in memory.
func TestKMSDead(t *testing.T) {
	dir, err := os.MkdirTemp("", "sv") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "kms.sock")
	keys := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, keys, encryptionHead+"  - kms: {apiVersion: v2, name: vault1, timeout: 1s, endpoint: 'unix://"+socket+"'}\n")
	plugin := kmsmock.NewBase64Plugin(t, socket)
	s := start(t, "--encryption-provider-config="+keys)
	canary := harness.Canary()
	harness.Eventually(t, "the KMS answers", func() bool {
		return s.Do(t, harness.Request{
			Method: http.MethodPost, Path: harness.Collection(namespace), Token: s.AdminToken,
			Body: `{"metadata":{"name":"a"},"spec":{"description":"d","value":"` + canary + `","decrypters":["k6-cloud"]}}`,
		}).Code == http.StatusCreated
	})
	get(t, s, k6Token, namespace, "a").Want(t, ok)
	s.Stop(t)
	plugin.CleanUp()
	cold := harness.Start(t, harness.Options{
		DataDir: s.DataDir, Args: []string{"--encryption-provider-config=" + keys},
	}.WithK6(namespace))
	got := get(t, cold, k6Token, namespace, "a")
	if got.Code != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("without the KMS: %d %s", got.Code, got.Body)
	}
	if got := get(t, cold, k6Token, namespace, "absent"); got.Code != nf {
		t.Errorf("an absent name without the KMS: %d", got.Code)
	}
	cold.Leaks(t, canary)
}

// TestAuditLogGone makes the decrypt audit log impossible to write: nothing is released, and the API goes on.
func TestAuditLogGone(t *testing.T) {
	if os.Geteuid() == 0 {
		// Modes do not stop root; a folder in the way of the file does.
		t.Log("running as root")
	}
	s := start(t)
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	folder := filepath.Join(s.DataDir, "decrypt-audit")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, folder, "in the way")
	got := get(t, s, k6Token, namespace, "a")
	if got.Code != http.StatusServiceUnavailable || len(harness.Find(got.Body, canary)) > 0 {
		t.Errorf("without an audit log: %d %.200s", got.Code, got.Body)
	}
	s.Create(t, namespace, "b", "value", "k6-cloud")
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "values are released again", func() bool { return get(t, s, k6Token, namespace, "a").Code == ok })
}

// TestOverload sends more requests than the port takes: the surplus gets 429 and a hint, by each protocol, and nobody
// gets anything else.
func TestOverload(t *testing.T) {
	s := start(t, "--decrypt-max-requests-inflight=1")
	s.Create(t, namespace, "a", strings.Repeat("x", 1000), "k6-cloud")
	conn := dial(t, s)
	var opened, refused, refusedRPC atomic.Int64
	harness.Eventually(t, "each protocol was refused and served", func() bool {
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				switch got := get(t, s, k6Token, namespace, "absent-makes-it-slow"); got.Code {
				case nf:
				case http.StatusTooManyRequests:
					if got.Header.Get("Retry-After") == "" {
						t.Error("429 without Retry-After")
					}
					refused.Add(1)
				default:
					t.Errorf("%d %s", got.Code, got.Body)
				}
			})
			group.Go(func() {
				_, err := callGRPC(t.Context(), conn, nil, namespace, "a")
				switch status.Code(err) {
				case codes.OK:
					opened.Add(1)
				case codes.ResourceExhausted:
					refusedRPC.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		return opened.Load() > 0 && refused.Load() > 0 && refusedRPC.Load() > 0
	})
}

// TestOff asks that nothing listens with --decrypt-port=0, and that nothing is kept for it.
func TestOff(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--decrypt-port=0"}})
	if s.DecryptURL != "" {
		t.Errorf("the banner says that the decrypt service listens on %s", s.DecryptURL)
	}
	if _, err := os.Stat(filepath.Join(s.DataDir, "decrypt-audit")); !os.IsNotExist(err) {
		t.Errorf("a decrypt audit log is there: %v", err)
	}
}
