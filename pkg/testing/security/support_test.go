// SPDX-License-Identifier: Apache-2.0

package security

import (
	"fmt"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	k6Token     = "token-of-k6"
	writerToken = "token-of-writer"
	readerToken = "token-of-reader"
	getterToken = "token-of-getter"
)

const (
	jsonType  = "application/json"
	mergeType = "application/merge-patch+json"
	patchType = "application/json-patch+json"
	applyType = "application/apply-patch+yaml"
)

// access are the options of a server: k6 decrypts in default, writer may create and write but not extend, reader reads,
// getter sees one object.
func access(args ...string) harness.Options {
	return harness.Options{
		Tokens: []string{harness.Token(getterToken, "getter")}, Args: args,
		RBAC: []string{harness.ClusterRole("getter", harness.Rule("get", "securevalues", "a")), harness.Grant("getter", "getter", "default")},
	}.WithK6("default").With("writer", "writer", "").With("reader", "reader", "")
}

func start(t *testing.T, args ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, access(args...))
}

// open fetches a value of the namespace default in plain text as k6 and returns it with the code.
func open(t *testing.T, s *harness.Server, name string) (string, int) {
	t.Helper()
	got := s.Decrypt(t, k6Token, "default", name)
	return string(got.Body), got.Code
}

// clean fails the test when an answer, its header included, has a canary.
func clean(t *testing.T, what string, got harness.Response, canaries ...string) {
	t.Helper()
	if found := harness.Find(append(fmt.Appendf(nil, "%v\n", got.Header), got.Body...), canaries...); len(found) > 0 {
		t.Errorf("the answer to %s (%d) holds %v", what, got.Code, found)
	}
}
