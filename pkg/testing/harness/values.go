// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// NewValue is a SecureValue for a generated client.
func NewValue(name, value string, decrypters ...string) *v1beta1.SecureValue {
	return &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1beta1.SecureValueSpec{Description: "a test", Value: sensitive.New(value), Decrypters: decrypters},
	}
}

// Values is the generated client of a namespace; token "" means the admin's.
func (s *Server) Values(t testing.TB, token, namespace string) typed.SecureValueInterface {
	t.Helper()
	return versioned.NewForConfigOrDie(s.RESTConfig(t, token)).SecretV1beta1().SecureValues(namespace)
}

// Decrypt fetches a value from the decrypt port, as plain text.
func (s *Server) Decrypt(t testing.TB, token, namespace, name string) Response {
	t.Helper()
	return s.OnDecryptPort().Do(t, Request{
		Method: http.MethodGet, Path: DecryptPath(namespace, name), Token: token, Header: http.Header{"Accept": {"text/plain"}},
	})
}

// Get sends a GET.
func (s *Server) Get(t testing.TB, path, token string) Response {
	t.Helper()
	return s.Do(t, Request{Method: http.MethodGet, Path: path, Token: token})
}

// Metrics is the page of /metrics.
func (s *Server) Metrics(t testing.TB) string {
	t.Helper()
	return string(s.Get(t, "/metrics", s.AdminToken).Want(t, http.StatusOK).Body)
}

// Metric is the sum of a series of /metrics: of all samples of a name, or of those whose labels start as series says.
// It is -1 when there is none.
func (s *Server) Metric(t testing.TB, series string) float64 {
	t.Helper()
	sum, found := 0.0, false
	for line := range strings.Lines(s.Metrics(t)) {
		at := strings.LastIndex(line, " ")
		if !strings.HasPrefix(line, series) || !strings.Contains(series, "{") && line[len(series)] != '{' && at != len(series) {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+n, true
	}
	if !found {
		return -1
	}
	return sum
}

// Rotate puts a new key in front of those of the data folder and waits until it seals.
func (s *Server) Rotate(t testing.TB, name string) {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	file := filepath.Join(s.DataDir, "encryption.yaml")
	WriteFile(t, file, strings.Replace(string(ReadFile(t, file)), "keys:\n",
		"keys:\n      - name: "+name+"\n        secret: "+base64.StdEncoding.EncodeToString(key)+"\n", 1))
	Eventually(t, "the key "+name+" seals", func() bool {
		return s.Metric(t, `secret_encryption_write_key{key="aesgcm/`+name+`"}`) == 1
	})
}
