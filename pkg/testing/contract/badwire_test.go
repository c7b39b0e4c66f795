// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// badWire sends requests that no HTTP library would: bodies that end before their announced length, broken chunks, and
// requests to talk another protocol.
func (a *api) badWire(t *testing.T) {
	stored := a.create(t, "wire", "kept", nil)
	type wire struct{ name, method, header, body string }
	good := func(name string) string { return text(t, manifest(name, a.canary(), nil)) }
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	whole := good("cut")
	cases := []wire{
		{"a body shorter than its length", http.MethodPost, fmt.Sprintf("Content-Length: %d", len(whole)+50), whole},
		{"a body cut in the value", http.MethodPost, fmt.Sprintf("Content-Length: %d", len(whole)),
			whole[:strings.Index(whole, `"value"`)+20]},
		{"a body cut to another object", http.MethodPost, "Content-Length: 9000", whole + "\n"},
		{"no body", http.MethodPost, "Content-Length: 100", ""},
		{"chunks without an end", http.MethodPost, "Transfer-Encoding: chunked", chunk(whole)},
		{"a chunk cut", http.MethodPost, "Transfer-Encoding: chunked", chunk(whole)[:len(whole)/2]},
		{"PUT cut", http.MethodPut, "Content-Length: 9000", good("kept")},
		{"PUT chunks without an end", http.MethodPut, "Transfer-Encoding: chunked", chunk(good("kept"))},
		{"PATCH cut", http.MethodPatch, "Content-Length: 9000", `{"spec":{"value":"` + a.canary() + `"}}`},
		{"DELETE cut", http.MethodDelete, "Content-Length: 9000", `{"kind":"DeleteOptions","apiVersion":"v1"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			target, contentType := harness.Collection("wire"), jsonType
			if c.method != http.MethodPost {
				target = path("wire", "kept")
			}
			if c.method == http.MethodPatch {
				contentType = mergeType
			}
			raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\nContent-Type: "+
				"%s\r\n%s\r\n\r\n%s",
				c.method, target, editorToken, contentType, c.header, c.body)
			got, ok := a.exchange(t, raw)
			// The server says 400, but the client hung up: the library may notice that first and answer 504, or
			// nothing.
			if ok && got.Code != http.StatusBadRequest && got.Code != http.StatusGatewayTimeout {
				t.Errorf("want 400, got %d: %s", got.Code, got.Body)
			}
		})
	}
	raw := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: "+
		"chunked\r\n\r\nzz\r\n%s",
		harness.Collection("wire"), editorToken, whole)
	if got, ok := a.exchange(t, raw); !ok || got.Code != http.StatusBadRequest {
		t.Errorf("a chunk of no length: want 400, got %d: %s", got.Code, got.Body)
	}
	raw = fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\n\r\n", "example.com:443", editorToken)
	if got, ok := a.exchange(t, raw); !ok || got.Code != http.StatusBadRequest {
		t.Errorf("CONNECT: want 400, got %d: %s", got.Code, got.Body)
	}
	if now := a.get(t, "wire", "kept"); at(now, "metadata", "resourceVersion") != at(stored, "metadata",
		"resourceVersion") {
		t.Errorf("half a request changed the object: %v", now)
	}
	if found := a.get(t, "wire", "")["items"].([]any); len(found) != 1 {
		t.Errorf("want the one object that was there, got %v", found)
	}
}

// exchange sends raw bytes over TLS, ends its half of the connection, and reads the answer, if there is one.
func (a *api) exchange(t *testing.T, raw string) (got harness.Response, ok bool) {
	t.Helper()
	conn := a.dial(t)
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return harness.Response{}, false
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	got = harness.Response{Code: response.StatusCode, Header: response.Header, Body: body}
	a.quiet(t, got)
	return got, err == nil
}

func (a *api) dial(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: a.TLS()}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*tls.Conn)
}
