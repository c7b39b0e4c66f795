// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	k6Token         = "token-of-k6"
	prometheusToken = "token-of-prometheus"
	page            = "docs/metrics.md"
	patience        = 60 * time.Second
)

// workload is a server with something to tell, and every value that was given to it.
type workload struct {
	*harness.Server
	canaries []string
}

// access are the options of a server on which user k6 may open what lists k6-cloud, and user prometheus read /metrics.
func access(t *testing.T) harness.Options {
	t.Helper()
	return harness.Options{
		Tokens:    []string{harness.Token(k6Token, "k6"), harness.Token(prometheusToken, "prometheus")},
		RBAC:      []string{harness.Grant("k6", harness.K6Role, "default"), yamlBlock(t, "nonResourceURLs")},
		RBACFiles: []string{harness.K6File},
	}
}

// startWorkload creates values, has them decrypted and refused, and rotates the key until every value is moved.
func startWorkload(t *testing.T) *workload {
	t.Helper()
	options := access(t)
	options.Args = []string{"--rewrap-probe-interval=500ms"}
	w := &workload{Server: harness.Start(t, options)}
	for i := range 5 {
		w.create(t, fmt.Sprintf("open-%d", i), "k6-cloud")
		w.create(t, fmt.Sprintf("closed-%d", i), "synthetic-monitoring")
	}
	w.decryptAll(t)
	w.rotate(t)
	return w
}

// create stores a canary.
func (w *workload) create(t *testing.T, name, decrypter string) {
	t.Helper()
	canary := harness.Canary()
	w.canaries = append(w.canaries, canary)
	w.Create(t, "default", name, canary, decrypter)
}

// decryptAll has values released, and refused for each reason that a caller can bring about.
func (w *workload) decryptAll(t *testing.T) {
	t.Helper()
	w.decrypt(t, k6Token, http.StatusOK, "default", "open-0", "open-1", "closed-0", "absent")
	w.decrypt(t, k6Token, http.StatusForbidden, "other", "open-0")
	w.decrypt(t, "unknown", http.StatusUnauthorized, "default", "open-0")
}

func (w *workload) decrypt(t *testing.T, token string, want int, namespace string, names ...string) {
	t.Helper()
	port := w.OnDecryptPort()
	if len(names) == 1 {
		path := harness.DecryptPath(namespace, names[0])
		port.Get(t, path, token).Want(t, want)
		return
	}
	body, err := json.Marshal(map[string]any{"namespace": namespace, "names": names})
	if err != nil {
		t.Fatal(err)
	}
	path := "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
	port.Do(t, harness.Request{Method: http.MethodPost, Path: path, Token: token, ContentType: "application/json", Body: string(body)}).Want(t, want)
}

// keysFile is the encryption configuration in force.
func (w *workload) keysFile() string { return filepath.Join(w.DataDir, "encryption.yaml") }

// rotate puts a new key in front and waits until every value is under it.
func (w *workload) rotate(t *testing.T) {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	name := "key-" + strings.ToLower(rand.Text()[:6])
	entry := "keys:\n      - name: " + name + "\n        secret: " + base64.StdEncoding.EncodeToString(key) + "\n"
	harness.WriteFile(t, w.keysFile(), strings.Replace(string(harness.ReadFile(t, w.keysFile())), "keys:\n", entry, 1))
	harness.Eventually(t, "every value is under the new key", func() bool {
		text := string(w.metrics(t))
		return strings.Contains(text, fmt.Sprintf("secret_values{key=\"aesgcm/%s\"} %d\n", name, len(w.canaries))) &&
			strings.Contains(text, "\nsecret_values_stale 0\n")
	})
}

// metrics is the text of /metrics, as the caller of docs/metrics.md gets it.
func (w *workload) metrics(t *testing.T) []byte {
	t.Helper()
	got := w.Get(t, "/metrics", prometheusToken).Want(t, http.StatusOK)
	return got.Body
}

// parse reads the text of /metrics.
func parse(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// yamlBlock is the block of docs/metrics.md that has a text.
func yamlBlock(t *testing.T, text string) string {
	t.Helper()
	content := string(harness.ReadFile(t, filepath.Join(harness.Root(t), page)))
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(content, -1) {
		if strings.Contains(block[1], text) {
			return block[1]
		}
	}
	t.Fatalf("%s has no block of YAML with %q", page, text)
	return ""
}
