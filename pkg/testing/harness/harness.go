// SPDX-License-Identifier: Apache-2.0

// Package harness starts the real binary for tests: built from this tree, through its real flags, over TLS, with real
// embedded etcd in a separate folder. It must never reach into the server's memory: what a suite sees is what a
// user sees.
package harness

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds a start on a busy machine; it does not test speed.
const startTimeout = 90 * time.Second

// stopTimeout bounds a graceful stop.
const stopTimeout = 60 * time.Second

// Options say how a server under test differs from the default one.
type Options struct {
	// DataDir is used as it is when set: for a second start on the same folder.
	DataDir string
	// Tokens are the lines of --token-auth-file; see Token.
	Tokens []string
	// RBAC are manifests for --rbac-dir, beside those of RBACFiles.
	RBAC []string
	// RBACFiles are manifests of this repository, named from its root.
	RBACFiles []string
	// Args are further flags; the last one of a name wins.
	Args []string
	// Program is another build of the server when set, Env what its environment has in addition.
	Program string
	Env     []string
}

// Server is a running binary.
type Server struct {
	// URL is where the API is, DecryptURL where the decrypt service is; it is empty when that is off.
	URL, DecryptURL string
	// DataDir is --data-dir; Kubeconfig and CAFile lie in it.
	DataDir, Kubeconfig, CAFile string
	// AdminToken is the token of the admin kubeconfig.
	AdminToken string
	// LogFile holds standard error, OutFile standard output, AuditFile the audit log.
	LogFile, OutFile, AuditFile string
	// TokenFile and RBACDir can be rewritten while the server runs.
	TokenFile, RBACDir string

	program string
	env     []string
	command *exec.Cmd
	exited  chan error
	client  *http.Client
}

var (
	bannerURL     = regexp.MustCompile(`(?m)^  API +(https://\S+)`)
	bannerDecrypt = regexp.MustCompile(`(?m)^  decrypt +(https://\S+)`)
	tokenLine     = regexp.MustCompile(`(?m)^ *token: (\S+)`)
)

// Token is one line of a token file.
func Token(token, user string, groups ...string) string {
	return fmt.Sprintf("%s,%s,%s,%q", token, user, user, strings.Join(groups, ","))
}

// Start runs a server until the test ends. It is audited at RequestResponse and logs at -v=10, so that every suite is
// a leak test too (see Leaks).
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := newServer(t, opts)
	args := append([]string{
		"--standalone", "--data-dir=" + s.DataDir, "--secure-port=0", "--decrypt-port=auto", "-v=10",
		"--audit-log-path=" + s.AuditFile, "--audit-policy-file=" + s.auditPolicy(t),
	}, s.accessArgs(t, opts)...)
	s.run(t, append(args, opts.Args...))
	s.waitReady(t)
	return s
}

// Again starts a server on the data and the ports of one that has ended.
func (s *Server) Again(t testing.TB, opts Options) *Server {
	t.Helper()
	port := func(url string) string { return url[strings.LastIndex(url, ":")+1:] }
	opts.DataDir = s.DataDir
	opts.Args = append(slices.Clone(opts.Args), "--secure-port="+port(s.URL), "--decrypt-port="+port(s.DecryptURL))
	return Start(t, opts)
}

// Fail runs a server that is expected to refuse its start, and returns what it printed and its exit code.
func Fail(t testing.TB, args ...string) (output string, code int) {
	t.Helper()
	if slices.Contains(args, "--standalone") {
		args = append([]string{"--decrypt-port=auto"}, args...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, Binary(t), args...) //nolint:gosec // the binary under test
	out, err := command.CombinedOutput()
	if err == nil {
		t.Fatalf("secret-apiserver %v: want a refusal, but it ended well:\n%s", args, out)
	}
	return string(out), command.ProcessState.ExitCode()
}

// Tool executes the server's binary as a tool: keys, audit, backup.
func Tool(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, Binary(t), args...) //nolint:gosec // the binary under test
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

func newServer(t testing.TB, opts Options) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{
		DataDir:   opts.DataDir,
		LogFile:   filepath.Join(dir, "server.log"),
		OutFile:   filepath.Join(dir, "server.out"),
		AuditFile: filepath.Join(dir, "audit.log"),
		exited:    make(chan error, 1),
		program:   opts.Program,
		env:       opts.Env,
	}
	if s.program == "" {
		s.program = Binary(t)
	}
	if s.DataDir == "" {
		s.DataDir = filepath.Join(dir, "data")
	}
	s.Kubeconfig = filepath.Join(s.DataDir, "admin.kubeconfig")
	s.CAFile = filepath.Join(s.DataDir, "pki", "ca.crt")
	return s
}

func (s *Server) auditPolicy(t testing.TB) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(s.AuditFile), "audit-policy.yaml")
	WriteFile(t, file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n")
	return file
}

func (s *Server) accessArgs(t testing.TB, opts Options) []string {
	t.Helper()
	var args []string
	dir := filepath.Dir(s.AuditFile)
	if len(opts.Tokens) > 0 {
		s.TokenFile = filepath.Join(dir, "tokens.csv")
		WriteFile(t, s.TokenFile, strings.Join(opts.Tokens, "\n")+"\n")
		args = append(args, "--token-auth-file="+s.TokenFile)
	}
	if len(opts.RBAC)+len(opts.RBACFiles) == 0 {
		return args
	}
	s.RBACDir = filepath.Join(dir, "rbac")
	if err := os.MkdirAll(s.RBACDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, manifest := range opts.RBAC {
		WriteFile(t, filepath.Join(s.RBACDir, fmt.Sprintf("test-%d.yaml", i)), manifest)
	}
	for _, name := range opts.RBACFiles {
		WriteFile(t, filepath.Join(s.RBACDir, filepath.Base(name)), string(ReadFile(t, filepath.Join(Root(t), name))))
	}
	return append(args, "--rbac-dir="+s.RBACDir)
}

func (s *Server) run(t testing.TB, args []string) {
	t.Helper()
	stdout, stderr := create(t, s.OutFile), create(t, s.LogFile)
	s.command = exec.Command(s.program, args...) //nolint:gosec,noctx // the binary under test; stopped by Stop and Kill
	s.command.Env = append(s.command.Environ(), s.env...)
	s.command.Stdout, s.command.Stderr = stdout, stderr
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.exited <- s.command.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("last lines of the server's log:\n%s", tail(ReadFile(t, s.LogFile), 30))
		}
		_ = stdout.Close()
		_ = stderr.Close()
	})
}

// waitReady reads the banner, which comes once the server is ready.
func (s *Server) waitReady(t testing.TB) {
	t.Helper()
	s.waitFor(t, func() bool {
		found := bannerURL.FindSubmatch(ReadFile(t, s.OutFile))
		if found != nil {
			s.URL = string(found[1])
			if found := bannerDecrypt.FindSubmatch(ReadFile(t, s.OutFile)); found != nil {
				s.DecryptURL = string(found[1])
			}
		}
		return found != nil
	})
	if token := tokenLine.FindSubmatch(ReadFile(t, s.Kubeconfig)); token != nil {
		s.AdminToken = string(token[1])
	}
	s.client = newHTTPClient(t, s.CAFile)
}

// waitFor waits until a start is done.
func (s *Server) waitFor(t testing.TB, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		if done() {
			return
		}
		select {
		case err := <-s.exited:
			t.Fatalf("the server ended before it was ready: %v\n%s", err, tail(ReadFile(t, s.LogFile), 30))
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("the server was not ready after %s", startTimeout)
}

// PID is the process id of the server.
func (s *Server) PID() int { return s.command.Process.Pid }

// Stop ends the server as an operator does (SIGTERM) and fails the test if it does not end with exit code 0.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.Signal(t, syscall.SIGTERM)
	select {
	case err := <-s.exited:
		if err != nil {
			t.Fatalf("the server stopped with %v\n%s", err, tail(ReadFile(t, s.LogFile), 30))
		}
	case <-time.After(stopTimeout):
		t.Fatalf("the server did not stop within %s", stopTimeout)
	}
}

// Signal sends a signal to the server. After SIGSTOP it waits until every thread has stopped: on a busy machine one
// that runs could still answer.
func (s *Server) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := s.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if signal == syscall.SIGSTOP {
		Eventually(t, "the server is stopped", s.stopped)
	}
}

func (s *Server) stopped() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.PID()))
	return !slices.ContainsFunc(threads, func(file string) bool {
		stat, err := os.ReadFile(file) //nolint:gosec // of the server's process
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && !strings.HasPrefix(state, "T")
	})
}

// Kill ends the server at once (SIGKILL) and waits until it is gone. It may be called more than once.
func (s *Server) Kill() {
	_ = s.command.Process.Kill()
	<-s.exited //nolint:errcheck // it was killed
}

// Log returns what the server logged so far.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	return string(ReadFile(t, s.LogFile))
}

func tail(data []byte, lines int) string {
	all := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	return string(bytes.Join(slices.Clone(all[max(0, len(all)-lines):]), []byte("\n")))
}
