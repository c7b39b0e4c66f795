// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// suite is a server, values on it, and everything that agents wrote to their output.
type suite struct {
	*harness.Server
	token    string // file
	dir      string // --dir
	canaries []string
	agents   []*agent
}

// start runs a server whose user k6 opens what lists k6-cloud. At the end what it and all agents printed is searched.
func start(t *testing.T) *suite {
	t.Helper()
	s := &suite{Server: harness.Start(t, options()), token: filepath.Join(t.TempDir(), "token")}
	s.dir = filepath.Join(t.TempDir(), "secrets")
	harness.WriteFile(t, s.token, harness.K6Token)
	t.Cleanup(func() {
		s.OutputLeaks(t, s.canaries...)
		for _, a := range s.agents {
			if found := harness.Find([]byte(a.output()), s.canaries...); len(found) > 0 {
				t.Errorf("%v printed %v", a.command.Args, found)
			}
			if t.Failed() {
				t.Logf("%v printed:\n%s", a.command.Args, a.output())
			}
		}
	})
	return s
}

func options() harness.Options {
	return harness.Options{Tokens: []string{harness.Token("token-of-nobody", "nobody")}}.WithK6("default")
}

// canary is a new value that no output may have.
func (s *suite) canary() string {
	canary := harness.Canary()
	s.canaries = append(s.canaries, canary)
	return canary
}

// create stores values by name, for k6.
func (s *suite) create(t *testing.T, name, value string) string {
	t.Helper()
	s.Create(t, "default", name, value, "k6-cloud")
	return value
}

// write changes the value a.
func (s *suite) write(t *testing.T, value string) {
	t.Helper()
	s.Do(t, harness.Request{
		Method: http.MethodPatch, Path: harness.Collection("default") + "/a", Token: s.AdminToken,
		ContentType: "application/merge-patch+json", Body: fmt.Sprintf(`{"spec":{"value":%q}}`, value),
	}).Want(t, http.StatusOK)
}

// agent is a running secret-agent.
type agent struct {
	command *exec.Cmd
	exited  chan error
	mu      sync.Mutex
	out     bytes.Buffer
}

// Write collects standard output and standard error.
func (a *agent) Write(data []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.Write(data)
}

func (a *agent) output() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.String()
}

// command prepares an agent. Later flags win, except for those that may be repeated.
func (s *suite) command(t *testing.T, name string, args ...string) *agent {
	t.Helper()
	flags := []string{name, "--server=" + s.DecryptURL, "--ca-file=" + s.CAFile, "--token-file=" + s.token,
		"--namespace=default", "--dir=" + s.dir, "--timeout=60s"}
	a := &agent{command: exec.CommandContext(t.Context(), harness.AgentBinary(t), append(flags, args...)...), exited: make(chan error, 1)}
	a.command.Stdout, a.command.Stderr = a, a
	a.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.agents = append(s.agents, a)
	return a
}

func (a *agent) start(t *testing.T) *agent {
	t.Helper()
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.exited <- a.command.Wait() }()
	return a
}

// end waits and returns the exit code, or minus the number of the signal that ended the agent.
func (a *agent) end(t *testing.T) int {
	t.Helper()
	var err error
	select {
	case err = <-a.exited:
	case <-time.After(2 * time.Minute):
		_ = a.command.Process.Kill()
		t.Fatalf("%v did not end", a.command.Args)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		t.Fatal(err)
	case exit.Sys().(syscall.WaitStatus).Signaled():
		return -int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	return exit.ExitCode()
}

// fetch runs secret-agent fetch.
func (s *suite) fetch(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	a := s.command(t, "fetch", args...).start(t)
	code = a.end(t)
	return a.output(), code
}

func (s *suite) file(t *testing.T, path string) string {
	t.Helper()
	return string(harness.ReadFile(t, filepath.Join(s.dir, path)))
}

// resident returns the memory of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status := harness.ReadFile(t, fmt.Sprintf("/proc/%d/status", pid))
	kib, err := strconv.Atoi(string(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
