// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// oddPaths are what no client of the service sends. Some are not paths at all.
var oddPaths = []string{
	"decryptv1beta1.SecureValueDecrypter/DecryptSecureValues", // CVE-2026-33186: no slash in front
	"/decryptv1beta1.SecureValueDecrypter/decryptSecureValues",
	"/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues/",
	"//decryptv1beta1.SecureValueDecrypter/DecryptSecureValues",
	"/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues/../DecryptSecureValues",
	"/x/../decryptv1beta1.SecureValueDecrypter/DecryptSecureValues",
	"/decryptv1beta1.SecureValueDecrypter//DecryptSecureValues",
	"/decryptv1beta1.SecureValueDecrypter%2fDecryptSecureValues",
	"/decryptv1alpha1.SecureValueDecrypter/DecryptSecureValues",
	"/decryptv1.SecureValueDecrypter/List",
	"/decryptv1beta1.SecureValueDecrypter/List",
	"/decryptv1beta1.SecureValueDecrypter",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.health.v1.Health/Check",
	"/", "", "*", ".", "..", "/..", "/.", "//", "/?", "/#", "?", "%2f", "/%00", "/\x7f", "http://[::1]/", "https://example.org/x",
	"/decrypt/v1/namespaces/default/secrets/a/decrypt/",
	"/decrypt/v1/namespaces/default/secrets//decrypt",
	"/decrypt/v1/namespaces/default/secrets/a/b/decrypt",
	"/decrypt/v1/namespaces/default/x/secrets/a/decrypt",
	"/decrypt/v1%2fnamespaces/default/secrets/a/decrypt",
	"/decrypt/%76%31/namespaces/default/secrets/%61%2fdecrypt",
	"/decrypt/v1/namespaces/default/secrets/a%2fdecrypt",
	"/decrypt/v1/namespaces/default/secrets/a/decrypt;x",
	"/decrypt/v1/namespaces/default/secrets/../secrets/a/decrypt",
	"/decrypt/v1/namespaces/default/secrets/a/Decrypt",
	"/decrypt/v1/", "/decrypt", "/apis", "/apis/secret.grafana.app/v1beta1", "/api", "/metrics", "/healthz", "/livez", "/readyz",
	"/version", "/openapi/v2", "/openapi/v3", "/debug/pprof/", "/debug/pprof/heap", "/logs", "/configz",
	"/" + strings.Repeat("a", 8<<10),
}

// TestIncident18OddPaths asks for odd paths by raw HTTP/2 frames, as GET and as gRPC, with good credentials and
// with none. None may reach a value, and without credentials every answer that is one is a 401.
func TestIncident18OddPaths(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	wantGet(t, get(t, s, k6Token, namespace, "a"), ok, canary)
	for _, path := range oddPaths {
		for _, grpc := range []bool{false, true} {
			for _, token := range []string{"", "wrong", k6Token} {
				answer := rawHTTP2(t, s, path, token, grpc)
				if len(harness.Find(answer.body, canary)) > 0 {
					t.Errorf("%q (gRPC %v) is answered with the value", path, grpc)
				}
				switch {
				case answer.reset, answer.status == "400", answer.status == "431":
					// The HTTP server itself refused what is not a request.
				case token != k6Token && answer.status != "401" && answer.grpc != "16":
					t.Errorf("%q (gRPC %v) with token %q: %+v", path, grpc, token, answer)
				case token == k6Token && answer.status != "404":
					t.Errorf("%q (gRPC %v): %+v", path, grpc, answer)
				}
			}
		}
	}
	wantGet(t, get(t, s, k6Token, namespace, "a"), ok, canary)
}

type rawAnswer struct {
	status, grpc string
	reset        bool
	body         []byte
}

// rawHTTP2 sends one request in frames, so that :path can be anything.
func rawHTTP2(t *testing.T, s *harness.Server, path, token string, grpc bool) rawAnswer {
	t.Helper()
	conn, err := (&tls.Dialer{Config: s.TLS("h2")}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.DecryptURL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	body := ""
	if grpc {
		body = grpcFrame(`{"namespace":"default","names":["a"]}`)
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, EndHeaders: true, EndStream: !grpc, BlockFragment: headerBlock(t, path, token, grpc),
	}); err != nil {
		t.Fatal(err)
	}
	if grpc {
		if err := framer.WriteData(1, true, []byte(body)); err != nil {
			return rawAnswer{reset: true}
		}
	}
	return readAnswer(framer)
}

func headerBlock(t *testing.T, path, token string, grpc bool) []byte {
	t.Helper()
	method := http.MethodGet
	if grpc {
		method = http.MethodPost
	}
	fields := []hpack.HeaderField{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "localhost"}, {Name: ":path", Value: path},
	}
	if token != "" {
		fields = append(fields, hpack.HeaderField{Name: "authorization", Value: "Bearer " + token})
	}
	if grpc {
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/grpc+json"}, hpack.HeaderField{Name: "te", Value: "trailers"})
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		if err := encoder.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	return block.Bytes()
}

// readAnswer reads until the stream ends or is reset.
func readAnswer(framer *http2.Framer) rawAnswer {
	var answer rawAnswer
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			answer.reset = answer.status == ""
			return answer
		}
		ended := false
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				switch field.Name {
				case ":status":
					answer.status = field.Value
				case "grpc-status":
					answer.grpc = field.Value
				}
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			answer.body = append(answer.body, f.Data()...)
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			if frame.Header().StreamID == 1 || errors.Is(err, nil) && answer.status == "" && isGoAway(frame) {
				answer.reset = answer.status == ""
				return answer
			}
		}
		if ended {
			return answer
		}
	}
}

func isGoAway(frame http2.Frame) bool {
	goAway, ok := frame.(*http2.GoAwayFrame)
	return ok && goAway.ErrCode != http2.ErrCodeNo
}

// TestAttackMethodsAndUpgrades tries what turns other servers' requests into something else.
func TestAttackMethodsAndUpgrades(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	for _, method := range []string{"HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"} {
		got := ask(t, s, harness.Request{Method: method, Path: harness.DecryptPath(namespace, "a"), Token: k6Token})
		if got.Code != http.StatusMethodNotAllowed || len(harness.Find(got.Body, canary)) > 0 {
			t.Errorf("%s: %d %s", method, got.Code, got.Body)
		}
	}
	for name, header := range map[string]http.Header{
		"forged front proxy": {"X-Remote-User": {"k6"}, "X-Remote-Group": {"system:masters"}},
		"impersonation":      {"Impersonate-User": {"k6"}},
		"basic":              {"Authorization": {"Basic azY6dG9rZW4="}},
		"query":              {},
		"cookie":             {"Cookie": {"token=" + k6Token}},
		"websocket":          {"Sec-WebSocket-Protocol": {"base64url.bearer.authorization.k8s.io.dG9rZW4tb2YtazY"}},
	} {
		path := harness.DecryptPath(namespace, "a")
		if name == "query" {
			path += "?access_token=" + k6Token
		}
		got := ask(t, s, harness.Request{Method: http.MethodGet, Path: path, Header: header})
		if got.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
	got := ask(t, s, harness.Request{Method: http.MethodGet, Path: harness.DecryptPath(namespace, "a"), Token: s.AdminToken, Header: http.Header{"Impersonate-User": {"k6"}}})
	if got.Code != http.StatusForbidden {
		t.Errorf("the admin as k6: %d", got.Code)
	}
	got = s.Get(t, harness.DecryptPath(namespace, "a"), k6Token)
	if got.Code == ok || len(harness.Find(got.Body, canary)) > 0 {
		t.Errorf("the API port answers for the decrypt port: %d", got.Code)
	}
}
