// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestOutage: while the decrypt port is away, files and children stay as they are. AGENT_OUTAGE is how long it is away
// (10m); without it that is until the agents have asked a few times in vain.
func TestOutage(t *testing.T) {
	t.Parallel()
	s, c := start(t), newChild(t)
	first, ready := s.create(t, "a", s.canary()), filepath.Join(t.TempDir(), "ready")
	serve := s.serve(t, "--file=a=a", "--ready-file="+ready)
	run := s.run(t, []string{"--env=A=a", "--on-change=restart"}, c.script("")).start(t)
	s.has(t, "a", first)
	pid := c.started(t, 1)
	set, _ := os.Readlink(filepath.Join(s.dir, "..data"))

	s.Stop(t)
	asked, stop := harness.HangUp(t, s.DecryptURL)
	began, text := time.Now(), os.Getenv("AGENT_OUTAGE")
	if text != "" {
		outage, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(outage)
	}
	harness.Eventually(t, "the agents ask in vain", func() bool { return asked.Load() >= 20 })
	stop()
	t.Logf("%d connections of two agents in %v; they printed\n%s%s", asked.Load(), time.Since(began), serve.output(), run.output())

	if now, _ := os.Readlink(filepath.Join(s.dir, "..data")); s.file(t, "a") != first || now != set {
		t.Error("the files have changed")
	}
	if _, err := os.Stat(ready); err != nil {
		t.Errorf("not ready any more: %v", err)
	}
	if !strings.Contains(environ(t, pid), "A="+first+"\x00") || len(strings.Fields(string(harness.ReadFile(t, c.pids)))) != 1 {
		t.Error("the child was restarted")
	}

	s.OutputLeaks(t, s.canaries...)
	s.Server = s.Again(t, options())
	back, value := time.Now(), s.canary()
	s.write(t, value)
	s.has(t, "a", value)
	t.Logf("%v after the server was back the file is new", time.Since(back))
	if pid := c.started(t, 2); !strings.Contains(environ(t, pid), "A="+value+"\x00") {
		t.Error("the child has the old value")
	}
	serve.stop(t)
	_ = run.command.Process.Signal(syscall.SIGTERM)
	if code := run.end(t); code != 128+15 {
		t.Errorf("exit code %d: %s", code, run.output())
	}
}

// TestServeOnAFullVolume: the files stay, and are new once they can be written, without another event.
func TestServeOnAFullVolume(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.mount(t)
	value := s.create(t, "a", s.canary())
	a := s.serve(t, "--file=a=a", "--file=b=a")
	s.has(t, "b", value)
	ballast := filepath.Join(s.dir, "ballast")
	for _, fault := range []struct {
		says       string
		make, mend func()
	}{
		{"no space left on device", func() {
			if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); err == nil {
				t.Error("the volume is not full")
			}
		}, func() { _ = os.Remove(ballast) }},
		{"read-only file system", func() { s.remount(t, syscall.MS_RDONLY) }, func() { s.remount(t, 0) }},
	} {
		fault.make()
		newest := s.canary()
		s.write(t, newest)
		a.says(t, fault.says)
		if s.file(t, "a") != value || s.file(t, "b") != value {
			t.Errorf("%s: the files have changed", fault.says)
		}
		fault.mend()
		s.has(t, "a", newest)
		value = newest
	}
	if !strings.Contains(a.output(), "nothing was changed: writing to "+s.dir) {
		t.Errorf("output: %s", a.output())
	}
	a.stop(t)
}
