// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

const (
	jsonType  = "application/json"
	yamlType  = "application/yaml"
	patchType = "application/json-patch+json"
	mergeType = "application/merge-patch+json"
	smpType   = "application/strategic-merge-patch+json"
	applyType = "application/apply-patch+yaml"
	protoType = "application/vnd.kubernetes.protobuf"
	cborType  = "application/cbor"
	testLimit = 128 << 10
	testPath  = "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues/one"
)

// canary stands in every body that is refused, and must stand in no answer.
const canary = "c4n4ry"

func testCodecs() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{})
	return serializer.NewCodecFactory(scheme)
}

// answer is what a client of the guard sees, and what the handler behind it saw.
type answer struct {
	code    int
	raw     []byte
	status  metav1.Status
	passed  bool
	seen    []byte
	length  int64
	headers http.Header
}

// guarded returns a server of the guard, with RequestInfo as the chain makes it, that records into the answer.
func guarded(out *answer, limit int64) http.Handler {
	inner := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		out.passed = true
		out.length = r.ContentLength
		out.seen, _ = io.ReadAll(r.Body)
	})
	guard := WithRequestGuard(inner, testCodecs(), limit)
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"),
		GrouplessAPIPrefixes: sets.NewString("api")}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := resolver.NewRequestInfo(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		guard.ServeHTTP(w, r.WithContext(request.WithRequestInfo(r.Context(), info)))
	})
}

// send sends one request through the guard.
func send(t *testing.T, method, path, contentType, body string) answer {
	t.Helper()
	var out answer
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	guarded(&out, testLimit).ServeHTTP(w, r)
	out.finish(t, w.Code, w.Body.Bytes(), w.Header())
	return out
}

func (a *answer) finish(t *testing.T, code int, body []byte, headers http.Header) {
	t.Helper()
	a.code, a.raw, a.headers = code, body, headers
	if a.passed {
		return
	}
	if err := json.Unmarshal(body, &a.status); err != nil {
		t.Fatalf("the refusal is not JSON: %v: %s", err, body)
	}
	if a.status.Kind != "Status" || a.status.APIVersion != "v1" || int(a.status.Code) != code {
		t.Errorf("not a v1 Status with the code of the response: %d %s", code, body)
	}
	if strings.Contains(fmt.Sprint(string(body), headers), canary) {
		t.Errorf("the refusal quotes the body: %s", body)
	}
}

func methodOf(contentType string) string {
	if strings.Contains(contentType, "patch") {
		return http.MethodPatch
	}
	return http.MethodPost
}

func TestGuardedRequests(t *testing.T) {
	const broken = "{" + canary
	tests := map[string]struct {
		method, path, body string
		code               int
	}{
		"create": {http.MethodPost, "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues",
			broken, 400},
		"replace":              {http.MethodPut, testPath, broken, 400},
		"subresource":          {http.MethodPost, testPath + "/rewrap", broken, 400},
		"subresource, no body": {http.MethodPost, testPath + "/rewrap", "", 200},
		"other version": {http.MethodPost, "/apis/secret.grafana.app/v9/namespaces/default/securevalues",
			broken, 400},
		"delete": {http.MethodDelete, testPath, broken, 400},
		"delete, options": {http.MethodDelete, testPath,
			`{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}`, 200},
		"delete, no body":   {http.MethodDelete, testPath, "", 200},
		"delete, too large": {http.MethodDelete, testPath, strings.Repeat("a", testLimit+1), 413},
		"get with a body":   {http.MethodGet, testPath, broken, 200},
		"other resource": {http.MethodPost, "/apis/secret.grafana.app/v1beta1/namespaces/default/keepers",
			broken, 200},
		"other group":           {http.MethodPost, "/apis/other.app/v1/namespaces/default/securevalues", broken, 200},
		"no resource":           {http.MethodPost, "/apis/secret.grafana.app/v1beta1", broken, 200},
		"largest":               {http.MethodPost, testPath, `{"a":"` + strings.Repeat("a", testLimit-8) + `"}`, 200},
		"one byte over":         {http.MethodPost, testPath, `{"a":"` + strings.Repeat("a", testLimit-7) + `"}`, 413},
		"too large and no JSON": {http.MethodPut, testPath, strings.Repeat(canary, testLimit), 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := send(t, test.method, test.path, jsonType, test.body)
			if got.code != test.code || got.passed != (test.code == 200) {
				t.Fatalf("want %d, got %d, passed %v: %s", test.code, got.code, got.passed, got.raw)
			}
			if test.code == 413 && got.status.Reason != metav1.StatusReasonRequestEntityTooLarge {
				t.Errorf("want reason RequestEntityTooLarge, got %s", got.raw)
			}
			want := test.body
			if name == "subresource, no body" {
				want = "{}"
			}
			if got.passed && string(got.seen) != want {
				t.Errorf("the body changed: %q", got.seen)
			}
		})
	}
}

// TestDeleteOptionsInYAML has the bodies that the library's decoder of DeleteOptions quotes.
func TestDeleteOptionsInYAML(t *testing.T) {
	tests := map[string]int{
		"propagationPolicy: Foreground\n":            200,
		"spec: {value: *" + canary + "}\n":           400,
		"spec: {value: !!int " + canary + "}\n":      400,
		"spec:\n  ? [" + canary + "]\n  : value\n":   400,
		"spec: {value: \"" + canary + "\n":           400,
		"value: " + canary + "\n---\nvalue: again\n": 400,
	}
	for body, code := range tests {
		if got := send(t, http.MethodDelete, testPath, yamlType, body); got.code != code {
			t.Errorf("%q: want %d, got %d: %s", body, code, got.code, got.raw)
		}
	}
}

func TestRefusalIsNegotiated(t *testing.T) {
	var out answer
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, testPath, strings.NewReader("{"+canary))
	r.Header.Set("Accept", yamlType)
	guarded(&out, testLimit).ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); w.Code != 400 || got != yamlType ||
		!strings.Contains(w.Body.String(), "kind: Status") {
		t.Errorf("want a Status in YAML, got %d %s %s", w.Code, got, w.Body)
	}
}

func TestNoRequestInfoIsRefused(t *testing.T) {
	handler := WithRequestGuard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("let through")
	}), testCodecs(), testLimit)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, testPath,
		strings.NewReader("{}")))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("want 500, got %d", w.Code)
	}
}

func TestNoLimit(t *testing.T) {
	var out answer
	body := `{"a":"` + strings.Repeat("a", 2*testLimit) + `"}`
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, testPath, strings.NewReader(body))
	guarded(&out, 0).ServeHTTP(httptest.NewRecorder(), r)
	if string(out.seen) != body {
		t.Errorf("want the whole body, got %d bytes", len(out.seen))
	}
}

// brokenBody fails with an error that quotes, as a decoder's might.
type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }

func TestUnreadableBody(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
		code int
	}{
		"early end": {fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), textEndedEarly, 400},
		"other":     {errors.New("invalid byte in chunk length near " + canary), textUnreadable, 400},
		"limited":   {&http.MaxBytesError{Limit: 7}, "Request entity too large: limit is 7", 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out answer
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, testPath, brokenBody{test.err})
			guarded(&out, testLimit).ServeHTTP(w, r)
			out.finish(t, w.Code, w.Body.Bytes(), w.Header())
			if out.passed || w.Code != test.code || out.status.Message != test.want {
				t.Errorf("want %d %q, got %d %s", test.code, test.want, w.Code, w.Body)
			}
		})
	}
}

// TestOnTheWire sends chunked and truncated bodies over a real connection.
func TestOnTheWire(t *testing.T) {
	head := "POST " + testPath + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
	const body = `{"spec":{"value":"v"}}`
	tests := map[string]struct {
		raw    string
		passed bool
		want   string
	}{
		"length":            {head + "Content-Length: 22\r\n\r\n" + body, true, ""},
		"chunked":           {head + "Transfer-Encoding: chunked\r\n\r\n16\r\n" + body + "\r\n0\r\n\r\n", true, ""},
		"truncated":         {head + "Content-Length: 99\r\n\r\n" + body, false, textEndedEarly},
		"truncated chunked": {head + "Transfer-Encoding: chunked\r\n\r\n16\r\n" + body + "\r\n", false, textEndedEarly},
		"bad chunk":         {head + "Transfer-Encoding: chunked\r\n\r\n" + canary + "\r\n", false, textUnreadable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out answer
			server := httptest.NewServer(guarded(&out, testLimit))
			response := exchange(t, server, test.raw)
			server.Close()
			if out.passed != test.passed || test.passed &&
				(string(out.seen) != body || out.length != int64(len(body))) {
				t.Fatalf("want passed %v, got %v: %q length %d: %s", test.passed, out.passed, out.seen, out.length,
					response)
			}
			if !strings.Contains(response, test.want) || strings.Contains(response, canary) {
				t.Errorf("want %q, got %s", test.want, response)
			}
		})
	}
}

// exchange writes raw bytes, ends the stream, and reads the answer.
func exchange(t *testing.T, server *httptest.Server, raw string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var response bytes.Buffer
	if _, err := response.ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	return response.String()
}

// A namespace that is not a path segment would reach storage as part of a key.
func TestNamespaceThatIsNoName(t *testing.T) {
	const base = "/apis/secret.grafana.app/v1beta1/namespaces/"
	for namespace, want := range map[string]int{"default": 0, "org-1": 0, "..": http.StatusBadRequest,
		".": http.StatusBadRequest, "a%25b": http.StatusBadRequest} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			got := send(t, method, base+namespace+"/securevalues", jsonType, `{"spec":{"value":"`+canary+`"}}`)
			if got.passed != (want == 0) || !got.passed && got.code != want {
				t.Errorf("%s in %q: want %d, got %d %s", method, namespace, want, got.code, got.raw)
			}
		}
	}
}
