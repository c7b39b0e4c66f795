// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const rpcPathV1 = "/decryptv1.SecureValueDecrypter/DecryptSecureValues"

// foreignMetadata has the types of the public Go client and of the monitoring agent, which decode a GET into it.
type foreignMetadata struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Labels      []foreignLabel `json:"labels"`
	UUID        string         `json:"uuid"`
	OrgID       *int64         `json:"org_id"`
	StackID     *int64         `json:"stack_id"`
	CreatedBy   string         `json:"created_by"`
	CreatedAt   int64          `json:"created_at"`
	ModifiedAt  int64          `json:"modified_at"`
}

type foreignLabel struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type foreignObject struct {
	foreignMetadata
	Plaintext string `json:"plaintext"`
	Version   int64  `json:"version"` // the one member of our own, which those clients ignore
}

// foreignSecret decodes strictly: a member that the foreign type does not have is a mistake too.
func foreignSecret(t *testing.T, r harness.Response) foreignObject {
	t.Helper()
	var object foreignObject
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&object); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("%d %s: %v", r.Code, r.Header.Get("Content-Type"), err)
	}
	return object
}

// TestEscapedPaths reads a value by paths with escapes of characters that need none.
func TestEscapedPaths(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	for _, path := range []string{
		"/decrypt/%76%31/namespaces/default/secrets/a/decrypt", "/decrypt/v1/namespaces/default/secrets/%61/decrypt",
	} {
		got := ask(t, s, harness.Request{Method: http.MethodGet, Path: path, Token: k6Token})
		if got.Code != ok || foreignSecret(t, got).Plaintext != canary {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	escaped := strings.Replace(rpcPathV1, "v1", "%76%31", 1)
	got := ask(t, s, harness.Request{
		Method: http.MethodPost, Path: escaped, Token: k6Token, ContentType: "application/json", Body: `{"namespace":"default","names":["a"]}`,
	})
	if results(t, got)["a"] != canary {
		t.Errorf("%s: %d", escaped, got.Code)
	}
}

// TestBothServiceNames calls the service as decryptv1 by gRPC and Connect, as TestEveryProtocol does as decryptv1beta1.
func TestBothServiceNames(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+k6Token)
	request := &decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: []string{"a", "absent"}}
	var response decryptv1beta1.DecryptSecureValuesResponse
	if err := dial(t, s).Invoke(ctx, rpcPathV1, request, &response); err != nil {
		t.Fatal(err)
	}
	if got := response.GetDecryptedValues(); got["a"].GetValue() != canary || got["absent"].GetErrorMessage() != "not found" {
		t.Errorf("by gRPC: %d results", len(got))
	}
	got := ask(t, s, harness.Request{
		Method: http.MethodPost, Path: rpcPathV1, Token: k6Token, ContentType: "application/json", Body: `{"namespace":"default","names":["a"]}`,
	})
	if results(t, got)["a"] != canary {
		t.Errorf("by Connect: %d", got.Code)
	}
	if got := ask(t, s, harness.Request{Method: http.MethodPost, Path: rpcPathV1, ContentType: "application/json", Body: "{}"}); got.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", got.Code)
	}
	if s.Metric(t, `secret_decrypt_requests_total{code="200",protocol="rpc"}`) < 0 {
		t.Error("the calls are not counted as rpc")
	}
}

// TestCompressedRequests sends gzip by every protocol. No answer is compressed, whatever the caller accepts.
func TestCompressedRequests(t *testing.T) {
	s := start(t)
	canary := strings.Repeat("a", 4096) + harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	t.Run("gRPC", func(t *testing.T) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+k6Token)
		request := &decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: []string{"a"}}
		var response decryptv1beta1.DecryptSecureValuesResponse
		if err := dial(t, s).Invoke(ctx, rpcPath, request, &response, grpc.UseCompressor(grpcgzip.Name)); err != nil {
			t.Fatal(err)
		}
		if response.GetDecryptedValues()["a"].GetValue() != canary {
			t.Error("another value")
		}
	})
	for name, option := range map[string]connect.ClientOption{"Connect": connect.WithProtoJSON(), "gRPC-Web": connect.WithGRPCWeb()} {
		t.Run(name, func(t *testing.T) {
			client := decryptv1beta1connect.NewSecureValueDecrypterClient(s.HTTPClient(), s.DecryptURL, option, connect.WithSendGzip())
			request := connect.NewRequest(&decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: []string{"a"}})
			request.Header().Set("Authorization", "Bearer "+k6Token)
			response, err := client.DecryptSecureValues(t.Context(), request)
			if err != nil || response.Msg.GetDecryptedValues()["a"].GetValue() != canary {
				t.Fatal(err)
			}
		})
	}
	send := func(body []byte, header http.Header) harness.Response {
		header.Set("Accept-Encoding", "gzip") // set by hand, so that the client does not decompress
		return ask(t, s, harness.Request{
			Method: http.MethodPost, Path: rpcPath, Token: k6Token, ContentType: "application/json", Body: string(body), Header: header,
		})
	}
	compressed := http.Header{"Content-Encoding": {"gzip"}}
	asking := `{"namespace":"default","names":["a"]}`
	for name, got := range map[string]harness.Response{
		"compressed": send(compress(t, asking), compressed), "plain": send([]byte(asking), http.Header{}),
	} {
		if results(t, got)["a"] != canary {
			t.Errorf("%s: %d", name, got.Code)
		}
		wantFixedHeaders(t, got.Header)
		for _, accepts := range got.Header.Values("Accept-Encoding") {
			if accepts != "gzip" {
				t.Errorf("%s: Accept-Encoding is %q", name, accepts)
			}
		}
	}
	// No message is larger than 80 KiB, before or after decompression, and the answer is one sentence.
	const limit, tooLarge = 80 << 10, "the message is larger than 81920 bytes: ask for fewer names in one call"
	padded := func(size int) string { return asking + strings.Repeat(" ", size-len(asking)) }
	for name, test := range map[string]struct {
		body   []byte
		header http.Header
		code   int
		text   string
	}{
		"the largest":              {[]byte(padded(limit)), nil, ok, canary},
		"the largest, compressed":  {compress(t, padded(limit)), compressed, ok, canary},
		"one byte more":            {[]byte(padded(limit + 1)), nil, http.StatusTooManyRequests, tooLarge},
		"much more":                {[]byte(padded(4 * limit)), nil, http.StatusTooManyRequests, tooLarge},
		"one byte more compressed": {compress(t, padded(limit+1)), compressed, http.StatusTooManyRequests, tooLarge},
		"a bomb":                   {compress(t, padded(64<<20)), compressed, http.StatusTooManyRequests, tooLarge},
		"cut short":                {compress(t, asking)[:20], compressed, http.StatusBadRequest, ""},
		"not gzip":                 {[]byte(asking), compressed, http.StatusBadRequest, ""},
		"empty gzip":               {nil, compressed, http.StatusBadRequest, ""},
	} {
		header := test.header.Clone()
		if header == nil {
			header = http.Header{}
		}
		got := send(test.body, header)
		if got.Code != test.code || !strings.Contains(string(got.Body), test.text) || got.Header.Get("Retry-After") != "" {
			t.Errorf("%s: %d %s, Retry-After %q", name, got.Code, got.Body, got.Header.Get("Retry-After"))
		}
		if leaked := len(harness.Find(got.Body, canary)) > 0; leaked != (test.text == canary) {
			t.Errorf("%s: the answer has the value: %v", name, leaked)
		}
	}
	for size, want := range map[uint32]string{limit: "", limit + 1: tooLarge, 4 * limit: tooLarge} {
		got := ask(t, s, harness.Request{
			Method: http.MethodPost, Path: rpcPath, Token: k6Token, ContentType: "application/grpc-web+json",
			Body: string(binary.BigEndian.AppendUint32([]byte{0}, size)) + padded(int(size)),
		})
		if got.Code != ok || got.Header.Get("Grpc-Message") != want {
			t.Errorf("gRPC-Web with a message of %d bytes: %d %q", size, got.Code, got.Header.Get("Grpc-Message"))
		}
	}
	if got := send([]byte(asking), http.Header{"Content-Encoding": {"br"}}); got.Code != http.StatusNotImplemented {
		t.Errorf("an unknown compression: %d %s", got.Code, got.Body)
	}
}

func compress(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestTinyDeadlines asks with deadlines that pass while the server works. The answer says so, and neither the log nor a
// code that alerts count blames the server.
func TestTinyDeadlines(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, namespace, "a", canary, "k6-cloud")
	passed := 0
	harness.Eventually(t, "a deadline has passed five times", func() bool {
		got := ask(t, s, harness.Request{
			Method: http.MethodPost, Path: rpcPath, Token: k6Token, ContentType: "application/json",
			Body: `{"namespace":"default","names":["a","absent"]}`, Header: http.Header{"Connect-Timeout-Ms": {"1"}, "Connect-Protocol-Version": {"1"}},
		})
		switch {
		case got.Code == ok:
		case got.Code == http.StatusGatewayTimeout && strings.Contains(string(got.Body), `"deadline_exceeded"`):
			passed++
		default:
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		return passed >= 5
	})
	for line := range strings.Lines(s.Log(t)) {
		if strings.HasPrefix(line, "E") {
			t.Errorf("the log blames the server: %s", line)
		}
	}
	if got := s.Metric(t, `secret_decrypt_requests_total{code="503"`); got >= 0 {
		t.Errorf("counted as %v", got)
	}
}
