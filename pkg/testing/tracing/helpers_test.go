// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/collector"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	namespace = "default"
	k6Token   = "token-of-k6"
	rpcPath   = "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
	getPath   = "/decrypt/v1/namespaces/default/secrets/api-key/decrypt"
	patience  = 60 * time.Second
)

// start runs a server that logs in JSON and is traced by a file.
func start(t *testing.T, tracingConfig string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Options{
		Tokens: []string{harness.Token(k6Token, "k6")}, RBAC: []string{harness.Grant("k6", harness.K6Role, "default")}, RBACFiles: []string{harness.K6File},
		Args: []string{"--logging-format=json", "--tracing-config-file=" + tracingConfig},
	})
}

// caller is the trace of a caller: the ids of the trace and of its span.
type caller struct{ trace, span string }

// header is how a caller says that its trace is recorded.
func (c caller) header() http.Header {
	return http.Header{"Traceparent": {"00-" + c.trace + "-" + c.span + "-01"}}
}

// newCaller repeats a digit, so that traces are told apart at a glance.
func newCaller(digit string) caller {
	return caller{trace: strings.Repeat(digit, 32), span: strings.Repeat(digit, 16)}
}

// body is a SecureValue for k6.
func body(value string) string {
	return `{"metadata":{"name":"api-key"},"spec":{"description":"d","value":"` + value + `","decrypters":["k6-cloud"]}}`
}

// do sends a request, to the decrypt port when decrypt is set, and returns its audit id.
func do(t *testing.T, s *harness.Server, decrypt bool, code int, r harness.Request) string {
	t.Helper()
	if decrypt {
		s = s.OnDecryptPort()
	}
	got := s.Do(t, r)
	id := got.Header.Get("Audit-Id")
	if got.Code != code || id == "" {
		t.Fatalf("%s %s: %d, want %d, audit id %q: %s", r.Method, r.Path, got.Code, code, id, got.Body)
	}
	return id
}

// of is the span of a request itself: that of its stages have no status code.
func of(id string) func(collector.Span) bool {
	return func(s collector.Span) bool {
		return s.Attributes["audit-id"] == id && s.Attributes["http.response.status_code"] != ""
	}
}

// within is a span in a trace by its name, or by a part of its URL.
func within(trace, name string) func(collector.Span) bool {
	return func(s collector.Span) bool {
		return s.Trace == trace && (strings.HasPrefix(s.Name, name) || strings.Contains(s.Attributes["url.full"], name))
	}
}

// wantLine waits for a line in JSON that has a text under one of its keys.
func wantLine(t *testing.T, file, key, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(string(harness.ReadFile(t, file))) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && entry[key] == text {
				return
			}
		}
	}
	t.Errorf("%s has no line with %s %q", filepath.Base(file), key, text)
}

// wantJSON asks that every line of the log is an object in JSON with a message.
func wantJSON(t *testing.T, s *harness.Server) {
	t.Helper()
	wantJSONLines(t, s.Log(t))
}

func wantJSONLines(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == "" || entry["msg"] == nil || entry["ts"] == nil {
			t.Errorf("no line of a JSON log: %.300s", line)
		}
	}
}
