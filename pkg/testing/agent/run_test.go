// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// child is a command of run that writes its process id to a file, and what a script adds.
type child struct{ pids string }

func newChild(t *testing.T) child { return child{filepath.Join(t.TempDir(), "pids")} }

func (c child) script(script string) []string {
	wait := fmt.Sprintf("echo $$ >> %s; while :; do sleep 0.05; done", c.pids)
	return []string{"--", "sh", "-c", script + "\n" + wait}
}

// started waits for the n-th start and returns its process id.
func (c child) started(t *testing.T, n int) int {
	t.Helper()
	var pids []string
	harness.Eventually(t, "the child starts", func() bool {
		text := string(harness.ReadFile(t, c.pids))
		pids = strings.Fields(text)
		return len(pids) >= n && strings.HasSuffix(text, "\n")
	})
	pid, err := strconv.Atoi(pids[n-1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// environ returns the environment of a process.
func environ(t *testing.T, pid int) string {
	t.Helper()
	return string(harness.ReadFile(t, fmt.Sprintf("/proc/%d/environ", pid)))
}

// run prepares secret-agent run.
func (s *suite) run(t *testing.T, flags, command []string) *agent {
	t.Helper()
	return s.command(t, "run", slices.Concat(flags, command)...)
}

// TestRun: the values are in the environment of the child and nowhere else, and replace variables of the agent.
func TestRun(t *testing.T) {
	t.Parallel()
	s, c := start(t), newChild(t)
	password, key := s.create(t, "password", s.canary()), s.create(t, "key", s.canary()+"\n'\"$x")
	flags := []string{"--env=PASSWORD=password", "--env=KEY=key", "--file=key=key"}
	a := s.run(t, flags, c.script("trap 'exit 7' TERM; trap 'kill -TERM $$' USR1"))
	a.command.Env = append(os.Environ(), "PASSWORD=other", "OTHER=kept")
	a.start(t)
	pid := c.started(t, 1)
	got := strings.Split(environ(t, pid), "\x00")
	for _, want := range []string{"PASSWORD=" + password, "KEY=" + key, "OTHER=kept"} {
		if !slices.Contains(got, want) {
			t.Errorf("the environment of the child lacks %s", want)
		}
	}
	if slices.Contains(got, "PASSWORD=other") || s.file(t, "key") != key {
		t.Error("a variable is set twice, or the file differs")
	}
	if found := s.holders(t, pid); len(found) > 0 {
		t.Errorf("values are in %v", found)
	}
	if err := a.command.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if code := a.end(t); code != 7 {
		t.Errorf("exit code %d: %s", code, a.output())
	}
}

// holders returns the environments and command lines with values, of all processes but the child and its children.
func (s *suite) holders(t *testing.T, child int) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, _ := os.ReadFile(file) // fails for processes that have gone
			dir := filepath.Dir(file)
			status, err := os.ReadFile(filepath.Join(dir, "status"))
			ours := filepath.Base(dir) == strconv.Itoa(child) || strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", child))
			if err == nil && !ours && len(harness.Find(text, s.canaries...)) > 0 {
				found = append(found, file)
			}
		}
	}
	return found
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	s.create(t, "large", strings.Repeat("x", 24<<10))
	nul := s.create(t, "nul", s.canary()+"\x00")
	file := filepath.Join(t.TempDir(), "file")
	harness.WriteFile(t, file, "text")
	var large []string
	for i := range 120 {
		large = append(large, fmt.Sprintf("--env=V%d=large", i))
	}
	for name, test := range map[string]struct {
		flags, command []string
		code           int
		want           string
	}{
		"success":         {nil, []string{"true"}, 0, ""},
		"a code":          {nil, []string{"sh", "-c", "exit 42"}, 42, ""},
		"a signal":        {nil, []string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		"flags of it":     {nil, []string{"sh", "-c", "exit $#", "sh", "--env=x", "--help"}, 2, ""},
		"no command":      {nil, nil, 1, "expected the command to start after --"},
		"not there":       {nil, []string{"/nowhere/x"}, 127, "/nowhere/x"},
		"not executable":  {nil, []string{file}, 127, "permission denied"},
		"too large":       {large, []string{"true"}, 126, "too large for the environment of a process; use --file"},
		"a NUL byte":      {[]string{"--env=B=nul"}, []string{"true"}, 1, "secure value nul: a variable cannot hold a NUL byte; use --file"},
		"a bad signal":    {[]string{"--on-change=SIGNO"}, []string{"true"}, 1, `--on-change: unknown signal "SIGNO"`},
		"an unknown name": {[]string{"--env=B=absent", "--on-change=restart"}, []string{"true"}, 1, "default/absent: not found"},
	} {
		a := s.run(t, append(test.flags, "--env=A=a"), append([]string{"--"}, test.command...)).start(t)
		if code := a.end(t); code != test.code || !strings.Contains(a.output(), test.want) || test.want == "" && a.output() != "" {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, test.code, a.output())
		}
	}
	if nul == "" {
		t.Error("no value")
	}
}

// TestRunRestarts: a child that ends on SIGTERM, then one that ignores it; then SIGTERM for the agent.
func TestRunRestarts(t *testing.T) {
	t.Parallel()
	s, c := start(t), newChild(t)
	first := s.create(t, "a", s.canary())
	a := s.run(t, []string{"--env=A=a", "--file=a=a", "--on-change=restart", "--grace=1s"}, c.script(
		fmt.Sprintf(`if [ -e %s ]; then trap "" TERM; fi`, c.pids))).start(t)
	if pid := c.started(t, 1); !strings.Contains(environ(t, pid), "A="+first+"\x00") {
		t.Error("the first child lacks the value")
	}
	for n := 2; n <= 3; n++ {
		value := s.canary()
		s.write(t, value)
		if pid := c.started(t, n); !strings.Contains(environ(t, pid), "A="+value+"\x00") || s.file(t, "a") != value {
			t.Errorf("child %d lacks the new value", n)
		}
	}
	if !strings.Contains(a.output(), "did not end within 1s: killing it") {
		t.Errorf("output: %s", a.output())
	}
	if err := syscall.Kill(c.started(t, 3), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := a.end(t); code != 128+9 {
		t.Errorf("exit code %d: %s", code, a.output())
	}
}

// TestRunStopsDuringARestart: a stop that arrives while a child that ignores SIGTERM is to be restarted is the end.
func TestRunStopsDuringARestart(t *testing.T) {
	t.Parallel()
	s, c := start(t), newChild(t)
	s.create(t, "a", s.canary())
	a := s.run(t, []string{"--env=A=a", "--on-change=restart"}, c.script(`trap 'sleep 1; exit 5' TERM`)).start(t)
	c.started(t, 1)
	s.write(t, s.canary())
	harness.Eventually(t, "the restart begins", func() bool { return strings.Contains(a.output(), "restarting sh") })
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := a.end(t); code != 5 || len(strings.Fields(string(harness.ReadFile(t, c.pids)))) != 1 {
		t.Errorf("exit code %d: %s", code, a.output())
	}
}

// TestRunSignals: the files are new when the signal arrives.
func TestRunSignals(t *testing.T) {
	t.Parallel()
	s, c := start(t), newChild(t)
	s.create(t, "a", s.canary())
	copied := filepath.Join(t.TempDir(), "copied")
	a := s.run(t, []string{"--file=a=a", "--on-change=hup"}, c.script(
		fmt.Sprintf(`trap 'cat %s/a > %s.new; mv %[2]s.new %[2]s' HUP`, s.dir, copied))).start(t)
	c.started(t, 1)
	value := s.canary()
	s.write(t, value)
	harness.Eventually(t, "the child has the signal", func() bool { return len(harness.ReadFile(t, copied)) > 0 })
	if got := string(harness.ReadFile(t, copied)); got != value {
		t.Errorf("the child read %q after the signal", got)
	}
	_ = a.command.Process.Signal(syscall.SIGTERM) // ends it
	if code := a.end(t); code != 128+15 {
		t.Errorf("exit code %d", code)
	}
}

// children counts the children of a process, those that ended and were not reaped too.
func children(parent int) (count int) {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		status, _ := os.ReadFile(file) // fails for processes that have gone
		if strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			count++
		}
	}
	return count
}

// TestRunAsTheFirstProcess: processes that lost their parent are reaped, as in a container.
func TestRunAsTheFirstProcess(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	ready := filepath.Join(t.TempDir(), "ready")
	a := s.run(t, []string{"--env=A=a"}, []string{"--", "sh", "-c",
		"for i in 1 2 3 4 5; do (sh -c 'sleep 1' &); done; touch " + ready + "; while :; do sleep 1; done"})
	a.command.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	if err := a.command.Start(); err != nil {
		t.Skipf("a new PID namespace needs root: %v", err)
	}
	go func() { a.exited <- a.command.Wait() }()
	harness.Eventually(t, "the child is ready", func() bool { _, err := os.Stat(ready); return err == nil })
	seen := 0
	harness.Eventually(t, "orphans are reaped", func() bool {
		now := children(a.command.Process.Pid)
		seen = max(seen, now)
		return seen > 1 && now == 1
	})
	_ = a.command.Process.Kill() // with it the namespace ends
	a.end(t)
}
