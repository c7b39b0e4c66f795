// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"sync"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// suite is one server for all tests of this package, and the values written to it.
type suite struct {
	*harness.Server
	kubectlFile string
	home        string // kubectl keeps what it discovered here

	mu       sync.Mutex
	canaries []string
}

// secret returns a new value, which from then on may be seen nowhere.
func (s *suite) secret() string {
	value := harness.Canary()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canaries = append(s.canaries, value)
	return value
}

// clean fails the test when text holds a value.
func (s *suite) clean(t *testing.T, where, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, found := range harness.Find([]byte(text), s.canaries...) {
		t.Errorf("%s holds %s", where, found)
	}
}

// next waits for something that has to come. The minute only ends a test that would hang.
func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(time.Minute):
		t.Fatal("waited a minute for something that should have come")
	}
	panic("not reached")
}

func TestClients(t *testing.T) {
	s := &suite{
		Server:      harness.Start(t, access()),
		kubectlFile: harness.KubectlBinary(t),
		home:        t.TempDir(),
	}
	for _, group := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"kubectl get", testGet},
		{"kubectl write", testWrite},
		{"kubectl delete", testDelete},
		{"kubectl apply", testApply},
		{"kubectl diff", testDiff},
		{"kubectl errors", testErrors},
		{"kubectl discovery", testDiscovery},
		{"samples", testSamples},
		{"access", testAccess},
		{"typed", testTyped},
		{"informer", testInformer},
		{"gitops", testGitOps},
		{"replay", testReplay},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, s) })
	}
	s.Stop(t)
	s.Leaks(t, s.canaries...)
}
