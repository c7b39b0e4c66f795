// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"errors"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestNoCanaryInStackDump asks for the dumps that an operator takes of a hanging server, and for that of a crash, while
// the server holds values in its hands: some are stored, some half received.
func TestNoCanaryInStackDump(t *testing.T) {
	for _, test := range []struct {
		traceback, part string
		signal          syscall.Signal
	}{
		{"all", "SIGQUIT: quit", syscall.SIGQUIT},
		{"crash", "SIGABRT: abort", syscall.SIGABRT},
		{"system", "SIGSEGV: segmentation", syscall.SIGSEGV},
	} {
		t.Run(test.traceback+" "+test.part, func(t *testing.T) { dumped(t, test.traceback, test.part, test.signal) })
	}
}

func dumped(t *testing.T, traceback, part string, signal syscall.Signal) {
	t.Helper()
	t.Setenv("GOTRACEBACK", traceback)
	s := &subject{Server: harness.Start(t, harness.Options{})}
	fresh := newCaster(1, 1)
	for range 20 {
		d := document{name: strings.ToLower(fresh.word()), text: fresh.word()}
		if body, head, err := send(t, s, call{method: "POST", url: harness.Collection(namespace),
			body: d.write(t, asJSON)}); err != nil || head.code != http.StatusCreated {
			t.Fatalf("creating: %d %s %v", head.code, body, err)
		}
	}
	var cut, received sync.WaitGroup
	release := make(chan struct{})
	for range 8 {
		d := document{name: strings.ToLower(fresh.word()), text: fresh.word()}
		body := d.write(t, asJSON)
		received.Add(1)
		cut.Go(func() { hang(t, s, body, &received, release) })
	}
	received.Wait()
	s.Signal(t, signal)
	err := s.Wait(t)
	if err == nil {
		t.Error("the server ended well")
	}
	close(release)
	cut.Wait()

	log := s.Log(t)
	for _, part := range []string{part, "goroutine 1 ", "guard.Receive("} {
		if !strings.Contains(log, part) {
			t.Errorf("the log holds no %q: no dump, or not of the requests in flight", part)
		}
	}
	values := make([]string, 0, len(fresh.made)/2)
	for i := 1; i < len(fresh.made); i += 2 { // the others are names
		values = append(values, fresh.made[i])
	}
	newFileFinder(values...).searchFolder(t, filepath.Dir(s.LogFile))
}

// TestNoCoreIsDumped: a core is the memory of the process, values and keys included, in a file.
func TestNoCoreIsDumped(t *testing.T) {
	unlimited := syscall.Rlimit{Cur: 1 << 40, Max: 1 << 40}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &unlimited); err != nil {
		t.Logf("cores are limited from outside, so that none is dumped anyway: %v", err)
	}
	t.Setenv("GOTRACEBACK", "crash")
	t.Chdir(t.TempDir()) // where a core would go
	s := harness.Start(t, harness.Options{})
	s.Signal(t, syscall.SIGABRT)
	var exit *exec.ExitError
	if err := s.Wait(t); !errors.As(err, &exit) {
		t.Fatalf("the server ended with %v", err)
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.CoreDump() {
		t.Errorf("the server crashed with %v: want a signal and no core", exit)
	}
}

// hang sends a body but for its last byte, and no more.
func hang(t *testing.T, s *subject, body string, received *sync.WaitGroup, release <-chan struct{}) {
	t.Helper()
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte(body[:len(body)-1])) // returns once the client sent it
		// The server answers a second request on the connection behind the bytes of the first.
		_, _, _ = send(t, s, call{method: "GET", url: "/version"})
		received.Done()
		<-release
		_ = writer.CloseWithError(errBrokenOff)
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+harness.Collection(namespace),
		reader)
	if err != nil {
		t.Error(err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	if response, err := s.HTTPClient().Do(request); err == nil {
		_ = response.Body.Close()
		t.Errorf("answered %d though the body never came", response.StatusCode)
	}
}
