// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// perRequest are the headers that differ from request to request whatever is asked for.
var perRequest = []string{"Audit-Id", "Date", "X-Secret-Revision"}

// fingerprint is everything that a caller can see of an answer, but for time.
func fingerprint(r harness.Response, name string) string {
	var b strings.Builder
	for _, header := range slices.Sorted(maps.Keys(r.Header)) {
		values := r.Header[header]
		if slices.Contains(perRequest, header) {
			values = []string{"..."}
		}
		b.WriteString(header + ": " + strings.Join(values, ", ") + "\n")
	}
	b.Write(bytes.ReplaceAll(r.Body, []byte(name), []byte("NAME")))
	return b.String()
}

// TestIncident12WhichNamesExist compares what a caller with the right to decrypt sees of a value that is not for it
// with what it sees of one that is not there, by every way to ask. A caller without that right sees no difference
// either.
func TestIncident12WhichNamesExist(t *testing.T) {
	s := harness.Start(t, harness.Options{Tokens: []string{harness.Token("token-of-nobody", "nobody")}}.WithK6(namespace))
	canary := harness.Canary()
	s.Create(t, namespace, "there", canary+strings.Repeat("x", 20000), "synthetic-monitoring")
	s.Create(t, namespace, "empty", canary)
	s.Create(t, "elsewhere", "there", canary, "k6-cloud")
	ways := map[string]func(token, namespace, name string) harness.Response{
		"GET":     func(token, ns, name string) harness.Response { return get(t, s, token, ns, name) },
		"Connect": func(token, ns, name string) harness.Response { return connectJSON(t, s, token, ns, name) },
		"gRPC": func(token, ns, name string) harness.Response {
			return ask(t, s, harness.Request{
				Method: http.MethodPost, Path: rpcPath, Token: token, ContentType: "application/grpc+json",
				Body: grpcFrame(`{"namespace":"` + ns + `","names":["` + name + `"]}`),
			})
		},
	}
	for way, ask := range ways {
		for _, token := range []string{k6Token, "token-of-nobody"} {
			absent := fingerprint(ask(token, namespace, "gones"), "gones")
			for _, name := range []string{"there", "empty"} {
				if diff := cmp.Diff(absent, fingerprint(ask(token, namespace, name), name)); diff != "" {
					t.Errorf("%s: %s shows that %s exists:\n%s", way, token, name, diff)
				}
			}
			gone := fingerprint(ask(token, "elsewhere", "gones"), "gones")
			if diff := cmp.Diff(gone, fingerprint(ask(token, "elsewhere", "there"), "there")); diff != "" {
				t.Errorf("%s: %s shows that a value of another namespace exists:\n%s", way, token, diff)
			}
		}
	}
	s.Leaks(t, canary)
}

// grpcFrame is one uncompressed message of gRPC.
func grpcFrame(message string) string {
	return string([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}) + message
}
