// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestEveryProtocol opens one value by all protocols and compares what they say.
func TestEveryProtocol(t *testing.T) {
	s := start(t)
	value := `pa"ss\word` + "\n\t\x01 ü " + harness.Canary()
	s.Create(t, namespace, "a", value, "k6-cloud")
	s.Create(t, namespace, "b", "other", "synthetic-monitoring")

	t.Run("gRPC", func(t *testing.T) {
		var header metadata.MD
		got, err := callGRPC(t.Context(), dial(t, s), &header, namespace, "a", "b", "a", "absent")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got["a"].GetValue() != value || got["b"].GetErrorMessage() != "not found" || got["absent"].GetErrorMessage() != "not found" {
			t.Errorf("%d results", len(got))
		}
		wantRevision(t, header.Get("x-secret-revision"))
	})
	for name, option := range map[string]connect.ClientOption{
		"Connect": connect.WithProtoJSON(), "Connect binary": connect.WithSendMaxBytes(1 << 20), "gRPC-Web": connect.WithGRPCWeb(),
	} {
		t.Run(name, func(t *testing.T) {
			client := decryptv1beta1connect.NewSecureValueDecrypterClient(s.HTTPClient(), s.DecryptURL, option)
			request := connect.NewRequest(&decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: []string{"a", "b"}})
			request.Header().Set("Authorization", "Bearer "+k6Token)
			response, err := client.DecryptSecureValues(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if got := response.Msg.GetDecryptedValues(); len(got) != 2 || got["a"].GetValue() != value || got["b"].GetErrorMessage() != "not found" {
				t.Errorf("%d results", len(got))
			}
			wantRevision(t, response.Header().Values("X-Secret-Revision"))
		})
	}
	t.Run("JSON by curl", func(t *testing.T) {
		response := connectJSON(t, s, k6Token, namespace, "a")
		if got := results(t, response); len(got) != 1 || got["a"] != value {
			t.Errorf("%d results", len(got))
		}
		wantFixedHeaders(t, response.Header)
	})
	t.Run("GET", func(t *testing.T) {
		response := get(t, s, k6Token, namespace, "a")
		got := foreignSecret(t, response)
		if response.Code != ok || got.Plaintext != value || got.Name != "a" || got.Description != "a test" || got.CreatedBy != "admin" {
			t.Errorf("%d %+v", response.Code, got.foreignMetadata)
		}
		if got.OrgID == nil || *got.OrgID != 1 || got.StackID != nil || got.UUID == "" || len(got.Labels) != 1 ||
			got.Labels[0] != (foreignLabel{"team", "a"}) {
			t.Errorf("%+v", got.foreignMetadata)
		}
		if age := time.Since(time.Unix(got.CreatedAt, 0)); age < 0 || age > patience || got.ModifiedAt < got.CreatedAt {
			t.Errorf("created at %d, modified at %d", got.CreatedAt, got.ModifiedAt)
		}
		wantFixedHeaders(t, response.Header)
		wantRevision(t, response.Header.Values("X-Secret-Revision"))
	})
	t.Run("GET of plain text", func(t *testing.T) {
		response := ask(t, s, harness.Request{
			Method: http.MethodGet, Path: harness.DecryptPath(namespace, "a"), Token: k6Token, Header: http.Header{"Accept": {"text/plain"}},
		})
		if response.Code != ok || string(response.Body) != value || response.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d %s, %d bytes", response.Code, response.Header.Get("Content-Type"), len(response.Body))
		}
		wantFixedHeaders(t, response.Header)
	})
	t.Run("HTTP/1.1", func(t *testing.T) {
		old := *s.HTTPClient()
		transport := old.Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
		transport.ForceAttemptHTTP2, transport.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
		old.Transport = transport
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.DecryptURL+harness.DecryptPath(namespace, "a"), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+k6Token)
		response, err := old.Do(request)
		if err != nil || response.StatusCode != ok || response.ProtoMajor != 1 {
			t.Fatalf("%v, %v", response, err)
		}
		_ = response.Body.Close()
	})
}

func wantRevision(t *testing.T, header []string) {
	t.Helper()
	if len(header) != 1 {
		t.Fatalf("want one revision, got %q", header)
	}
	if n, err := strconv.Atoi(header[0]); err != nil || n < 1 {
		t.Errorf("%q is not a revision", header[0])
	}
}

func wantFixedHeaders(t *testing.T, header http.Header) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if header.Get("Content-Encoding") != "" {
		t.Error("the answer is compressed")
	}
}

// TestBatch opens a hundred values in one call, of the largest size there is.
func TestBatch(t *testing.T) {
	s := start(t)
	values := map[string]string{}
	names := make([]string, 0, 128)
	for i := range 128 {
		name := fmt.Sprintf("value-%d", i)
		names = append(names, name)
		values[name] = fmt.Sprintf("%d:%s", i, strings.Repeat("x", secret.MaxValueBytes-4))
		if i >= 100 {
			values[name] = values[name][:secret.MaxValueBytes-10]
		}
		s.Create(t, namespace, name, values[name], "k6-cloud")
	}
	conn := dial(t, s)
	got, err := callGRPC(t.Context(), conn, nil, namespace, names[:100]...)
	if err != nil || len(got) != 100 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	for name, result := range got {
		if result.GetValue() != values[name] {
			t.Errorf("%s is another value, of %d bytes: %s", name, len(result.GetValue()), result.GetErrorMessage())
		}
	}
	if _, err := callGRPC(t.Context(), conn, nil, namespace, append(names, names...)...); err != nil {
		t.Errorf("128 names twice: %v", err)
	}
	_, err = callGRPC(t.Context(), conn, nil, namespace, append(names, "one-more")...)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "128") {
		t.Errorf("129 names: %v", err)
	}
	maximal := ask(t, s, harness.Request{
		Method: http.MethodGet, Path: harness.DecryptPath(namespace, "value-99"), Token: k6Token, Header: http.Header{"Accept": {"text/plain"}},
	})
	if len(maximal.Body) > secret.MaxValueBytes || string(maximal.Body) != values["value-99"] {
		t.Errorf("a maximal value takes %d bytes", len(maximal.Body))
	}
}

func TestBadRequests(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	for name, test := range map[string]struct {
		namespace string
		names     []string
		want      string
	}{
		"no namespace":     {"", []string{"a"}, "namespace is required"},
		"a bad namespace":  {"Default", []string{"a"}, "namespace must be a DNS-1123 label"},
		"a path":           {"../kube-system", []string{"a"}, "namespace must be a DNS-1123 label"},
		"no names":         {namespace, nil, "names must have 1 to 128 entries"},
		"an empty name":    {namespace, []string{"a", ""}, "names[1] must be a DNS-1123 subdomain"},
		"a value as name":  {namespace, []string{"a", canary + "_"}, "names[1] must be a DNS-1123 subdomain"},
		"an upward name":   {namespace, []string{"a", "../b"}, "names[1] must be a DNS-1123 subdomain"},
		"a name of 254":    {namespace, []string{strings.Repeat("a", 254)}, "must be a DNS-1123 subdomain"},
		"a thousand names": {namespace, manyNames(1000), "more than 128 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			got := connectJSON(t, s, k6Token, test.namespace, test.names...)
			if got.Code != http.StatusBadRequest || !strings.Contains(string(got.Body), test.want) {
				t.Errorf("%d %s, want %q", got.Code, got.Body, test.want)
			}
			if len(harness.Find(got.Body, canary)) > 0 {
				t.Errorf("the answer quotes what was sent: %s", got.Body)
			}
			_, err := callGRPC(t.Context(), dial(t, s), nil, test.namespace, test.names...)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("by gRPC: %v", err)
			}
		})
	}
	t.Run("a huge body", func(t *testing.T) {
		got := connectJSON(t, s, k6Token, namespace, manyNames(20000)...)
		if got.Code/100 != 4 {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	})
	t.Run("no JSON", func(t *testing.T) {
		got := ask(t, s, harness.Request{Method: http.MethodPost, Path: rpcPath, Token: k6Token, ContentType: "application/json", Body: "{"})
		if got.Code != http.StatusBadRequest {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	})
	for _, bad := range []string{"A", "a_b", "a..b", "-a", strings.Repeat("a", 254)} {
		if got := get(t, s, k6Token, namespace, bad); got.Code != http.StatusBadRequest {
			t.Errorf("GET %q: %d", bad, got.Code)
		}
	}
	s.Leaks(t, canary)
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("name-%d", i)
	}
	return names
}

// TestDeadline gives up on a call before it is answered.
func TestDeadline(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := callGRPC(ctx, dial(t, s), nil, namespace, "a"); status.Code(err) != codes.Canceled {
		t.Errorf("want a canceled call, got %v", err)
	}
}
