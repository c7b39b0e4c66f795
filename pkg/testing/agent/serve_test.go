// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// has waits until a file has a content.
func (s *suite) has(t *testing.T, path, want string) {
	t.Helper()
	harness.Eventually(t, path+" has the value", func() bool { return s.file(t, path) == want })
}

// says waits for a text in the output.
func (a *agent) says(t *testing.T, text string) {
	t.Helper()
	harness.Eventually(t, "the agent prints "+text, func() bool { return strings.Contains(a.output(), text) })
}

// serve starts secret-agent serve, which takes no --timeout.
func (s *suite) serve(t *testing.T, flags ...string) *agent {
	t.Helper()
	a := s.command(t, "serve", flags...)
	a.command.Args = withoutTimeout(a.command.Args)
	return a.start(t)
}

func withoutTimeout(args []string) []string {
	return slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--timeout") })
}

// stop ends an agent as the kubelet does.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := a.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, a.output())
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	s := start(t)
	ready := filepath.Join(t.TempDir(), "ready")
	isReady := func() bool {
		a := s.command(t, "")
		a.command.Args = []string{a.command.Path, "ready", "--ready-file=" + ready}
		return a.start(t).end(t) == 0
	}
	harness.WriteFile(t, ready, "of an earlier one that was killed")
	a := s.serve(t, "--file=a=a", "--file=b=b", "--env=C=a", "--env-file=env", "--ready-file="+ready)
	harness.Eventually(t, "the old file has gone", func() bool { _, err := os.Stat(ready); return err != nil })
	if isReady() {
		t.Error("ready before there is a file")
	}
	if code := a.end(t); code != 1 || !strings.Contains(a.output(), "default/a: not found") {
		t.Fatalf("without the values: exit code %d: %s", code, a.output())
	}
	first, b := s.create(t, "a", s.canary()), s.create(t, "b", s.canary())
	a = s.serve(t, "--file=a=a", "--file=b=b", "--env=C=a", "--env-file=env", "--ready-file="+ready)
	harness.Eventually(t, "the agent is ready", isReady)
	if s.file(t, "a") != first || s.file(t, "b") != b || s.file(t, "env") != "C='"+first+"'\n" {
		t.Error("ready, and not all files are there")
	}
	second := s.command(t, "fetch", "--file=a=a").start(t)
	if code := second.end(t); code != 1 || !strings.Contains(second.output(), "another secret-agent writes to "+s.dir) {
		t.Errorf("a second agent: exit code %d: %s", code, second.output())
	}
	value := s.canary()
	s.write(t, value)
	s.has(t, "a", value)
	s.write(t, s.canary()+"'") // no env file can hold it, so no file changes
	a.says(t, "secure value a: an env file cannot hold a single quote")
	if s.file(t, "a") != value || !isReady() {
		t.Error("half a set was written")
	}
	value = s.canary()
	s.write(t, value)
	s.has(t, "env", "C='"+value+"'\n")
	pid := a.command.Process.Pid
	if found := harness.Find(harness.ReadFile(t, fmt.Sprintf("/proc/%d/environ", pid)), s.canaries...); len(found) > 0 {
		t.Errorf("the environment of the agent has %v", found)
	}
	checkSize(t, pid, 20)
	a.stop(t)
	if isReady() || s.file(t, "a") != value {
		t.Error("after the stop it is ready, or the files have gone")
	}
}

// checkSize: a sidecar is in every Pod. limit is in MiB.
func checkSize(t *testing.T, pid, limit int) {
	t.Helper()
	const mib = 1 << 20
	kib := resident(t, pid)
	info, _ := os.Stat(harness.AgentBinary(t))
	t.Logf("%.1f MiB resident, a binary of %.1f MiB", float64(kib)/1024, float64(info.Size())/mib)
	if kib > limit<<10 || info.Size() > 18*mib {
		t.Error("the agent is too large")
	}
}

// TestServeRotations reads sets while values change and the agent is killed: each set is whole, and none is older than
// the one before it. SERVE_ROTATIONS changes the number of rotations.
func TestServeRotations(t *testing.T) {
	t.Parallel()
	rotations := int(harness.Setting(t, "SERVE_ROTATIONS", 200))
	s := start(t)
	padding := strings.Repeat("p", 8<<10)
	value := func(n int) string { return fmt.Sprintf("%06d %s %06[1]d", n, padding) }
	s.create(t, "a", value(0))
	flags := []string{"--file=a=a", "--file=sub/b=a", "--file=c=a"}
	a := s.serve(t, flags...)
	s.has(t, "c", value(0))
	var newest atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	sets := 0
	go func() {
		defer close(stopped)
		last := ""
		for {
			select {
			case <-stop:
				return
			default:
			}
			current, err := os.Readlink(filepath.Join(s.dir, "..data"))
			if err != nil {
				t.Errorf("no current set: %v", err)
				return
			}
			var texts []string
			for _, path := range []string{"a", "sub/b", "c"} {
				if text, err := os.ReadFile(filepath.Join(s.dir, current, path)); err == nil {
					texts = append(texts, string(text))
				}
			}
			if len(texts) < 3 { // the set was removed meanwhile
				continue
			}
			text := texts[0]
			if len(text) != len(value(0)) || text[:6] != text[len(text)-6:] || texts[1] != text || texts[2] != text || text < last {
				t.Errorf("torn or older: %.6s %.6s %.6s after %.6s", texts[0], texts[1], texts[2], last)
				return
			}
			if text != last {
				sets++
				n, _ := strconv.Atoi(text[:6])
				newest.Store(int64(n))
			}
			last = text
		}
	}()
	var latencies []time.Duration
	for n := 1; n <= rotations; n++ {
		s.write(t, value(n))
		switch {
		case n%(rotations/4) == rotations/8:
			_ = a.command.Process.Kill()
			a.end(t)
			a = s.serve(t, flags...)
		case n%10 == 0: // others come faster than they are written
			written := time.Now()
			harness.Eventually(t, "the files are new", func() bool { return newest.Load() == int64(n) || t.Failed() })
			latencies = append(latencies, time.Since(written))
		}
	}
	s.has(t, "c", value(rotations))
	close(stop)
	<-stopped
	slices.Sort(latencies)
	t.Logf("%d rotations, %d sets seen; from a write to the files %s (median), %s (most)", rotations, sets,
		latencies[len(latencies)/2], latencies[len(latencies)-1])
	a.stop(t)
}

// TestServeThroughFaults: an outage, a token that is replaced, permissions that are taken away and come back. The files
// stay whatever happens.
func TestServeThroughFaults(t *testing.T) {
	t.Parallel()
	s := start(t)
	first := s.create(t, "a", s.canary())
	s.Signal(t, syscall.SIGSTOP)
	a := s.serve(t, "--file=a=a")
	a.says(t, "kubectl label namespace NAMESPACE secret.grafana.app/decrypt=allowed")
	s.Signal(t, syscall.SIGCONT)
	s.has(t, "a", first)

	harness.WriteFile(t, s.token, "token-of-k6-renewed")
	tokens := string(harness.ReadFile(t, s.TokenFile))
	harness.WriteFile(t, s.TokenFile, strings.Replace(tokens, harness.K6Token, "token-of-k6-renewed", 1))
	harness.Eventually(t, "the first token is refused", func() bool {
		return s.Decrypt(t, harness.K6Token, "default", "a").Code == 401
	})
	value := s.canary()
	s.write(t, value)
	s.has(t, "a", value)

	harness.WriteFile(t, s.TokenFile, tokens) // no user has the agent's token any more
	harness.Eventually(t, "the second token is refused", func() bool {
		return s.Decrypt(t, "token-of-k6-renewed", "default", "a").Code == 401
	})
	newest := s.canary()
	s.write(t, newest)
	a.says(t, "nothing was changed: decrypting values of namespace default: unauthenticated")
	a.says(t, "the server does not know the token in "+s.token)
	if s.file(t, "a") != value {
		t.Error("the file has gone")
	}
	harness.WriteFile(t, s.token, harness.K6Token)
	s.has(t, "a", newest)
	a.stop(t)
}

// TestServeReadsTheCAAgain: a bundle without the CA of the server is replaced, as the kubelet does after a rotation.
func TestServeReadsTheCAAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	value := s.create(t, "a", s.canary())
	file := filepath.Join(t.TempDir(), "ca.crt")
	harness.WriteFile(t, file, certs.NewCA(t, "another").PEM())
	a := s.serve(t, "--file=a=a", "--ca-file="+file)
	a.says(t, "retrying: ")
	a.says(t, file+" does not have the CA of "+s.DecryptURL)
	harness.WriteFile(t, file, string(harness.ReadFile(t, s.CAFile)))
	s.has(t, "a", value)
	a.stop(t)
}

// TestServeSignals: the process with a name gets the signal after the files have changed, its workers do not.
func TestServeSignals(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	name := "target-" + strings.ToLower(harness.Canary()[7:14]) // the kernel keeps 15 characters
	program, dir := filepath.Join(t.TempDir(), name), t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %[1]s/pid-$1\ntrap 'cat %[2]s/a >> %[1]s/$1' USR2 USR1\n"+
		"[ $1 = worker ] || %[3]s worker &\nwhile :; do sleep 0.05; done\n", dir, s.dir, program)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	target := &agent{command: s.command(t, "").command, exited: make(chan error, 1)}
	target.command.Path, target.command.Args, target.command.Stdout, target.command.Stderr = program, []string{program, "main"}, nil, nil
	target.command.SysProcAttr.Setpgid = true
	target.start(t)
	t.Cleanup(func() { _ = syscall.Kill(-target.command.Process.Pid, syscall.SIGKILL) })
	harness.Eventually(t, "both run", func() bool { return len(harness.ReadFile(t, dir+"/pid-worker")) > 0 })
	want := ""
	for _, to := range [][]string{{"--signal=USR2", "--process=" + name}, {"--signal=SIGUSR1", "--pid-file=" + dir + "/pid-main"}} {
		a := s.serve(t, append(to, "--file=a=a")...)
		harness.Eventually(t, "there is a file", func() bool { return s.file(t, "a") != "" })
		value := s.canary()
		s.write(t, value)
		want += value
		harness.Eventually(t, "the process has the signal", func() bool { return string(harness.ReadFile(t, dir+"/main")) == want })
		a.stop(t)
	}
	if got := harness.ReadFile(t, dir+"/worker"); len(got) > 0 {
		t.Error("the worker has a signal too")
	}
	a := s.serve(t, "--signal=HUP", "--process=nobody-has-this-name", "--file=a=a")
	harness.Eventually(t, "there is a set", func() bool { return s.file(t, "a") != "" })
	s.write(t, s.canary())
	a.says(t, "sending HUP: no such process; a sidecar needs shareProcessNamespace: true")
	a.stop(t)
}
