// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// childEnv names what a child of this test binary does instead of running tests.
const childEnv = "SECRET_AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "full":
		fullChild()
	case "storm":
		stormChild()
	default:
		os.Exit(m.Run())
	}
}

// child runs this test binary as a child that gets the configuration as its only line of input.
func child(t *testing.T, mode string, c Config) *exec.Cmd {
	t.Helper()
	c.Heads = nil
	input, err := json.Marshal(c)
	must(t, err)
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childEnv+"="+mode)
	command.Stdin = strings.NewReader(string(input))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command
}

func childLog() (Config, *Log) {
	var c Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		fail(err)
	}
	l, err := Open(context.Background(), c)
	if err != nil {
		fail(err)
	}
	return c, l
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(3)
}

// TestFullDisk writes against a limit on the size of files, which the kernel enforces in the middle of a write as a
// full disk does.
func TestFullDisk(t *testing.T) {
	c := testConfig(t)
	out, err := child(t, "full", c).Output()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	report := mustVerify(t, c)
	want := strings.Fields(string(out))
	if len(want) < 12 || int(report.Allowed) != len(want) {
		t.Errorf("%d records are in the log, %d were acknowledged", report.Allowed, len(want))
	}
	data := string(read(t, c.Path))
	for _, name := range want {
		if strings.Count(data, `"name":"`+name+`"`) != 1 {
			t.Errorf("%s was acknowledged and is not there once", name)
		}
	}
}

// fullChild prints the name of each record that was acknowledged, while the disk fills up, is full, and has room again.
func fullChild() {
	signal.Ignore(syscall.SIGXFSZ)
	c, l := childLog()
	var names []string
	write := func(name string) error {
		batch := []Record{allowed(name + "-a"), allowed(name + "-b")} // so that a limit falls between two lines too
		err := l.Record(context.Background(), batch...)
		if err == nil {
			names = append(names, name+"-a", name+"-b")
		}
		return err
	}
	for round := range 4 {
		info, err := os.Stat(c.Path)
		if err != nil {
			fail(err)
		}
		limit(uint64(info.Size()) + 1500 + 333*uint64(round))
		full := 0
		for i := range 10 {
			if err := write(fmt.Sprintf("round-%d-%d", round, i)); errors.Is(err, syscall.EFBIG) {
				full++
			} else if err != nil {
				fail(err)
			}
		}
		if full == 0 || full == 10 {
			fail(fmt.Errorf("round %d: %d of 10 writes found the disk full", round, full))
		}
		if info, err := os.Stat(c.Path); err != nil || info.Size() != l.file.size {
			fail(fmt.Errorf("round %d: the file has %d bytes, the log counts %d", round, info.Size(), l.file.size))
		}
		limit(syscall.RLIM_INFINITY & (1<<63 - 1))
		if err := write(fmt.Sprint("room-again-", round)); err != nil {
			fail(err)
		}
	}
	if err := l.Close(); err != nil {
		fail(err)
	}
	fmt.Println(strings.Join(names, "\n")) //nolint:forbidigo // what the parent reads
	os.Exit(0)
}

func limit(size uint64) {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		fail(err)
	}
	now.Cur = min(size, now.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		fail(err)
	}
}

// TestFullDiskAtARotation has no room for the first line of the next file.
func TestFullDiskAtARotation(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	recordNames(t, l, "n", 3)
	l.stop() // from here on this test is the writer
	l.done.Wait()
	l.closeFile(openRotated)
	must(t, os.Rename(c.dir(), c.dir()+"-away")) // the file cannot be made
	if err := l.commit(nil); err == nil {
		t.Fatal("no error")
	}
	must(t, os.Rename(c.dir()+"-away", c.dir()))
	must(t, l.commit(nil))
	if report := mustVerify(t, c, l.Head()); report.Files != 2 || report.Lines != 5 {
		t.Errorf("report = %+v, want 5 lines in 2 files", report)
	}
	if o, _ := lastOpening(t, c); o.Reason != openRotated {
		t.Errorf("opening %+v", o)
	}
}

// TestKillDuringAStorm kills a process that records as fast as it can: every record that it acknowledged is in the log,
// and the chain holds, over several such ends.
func TestKillDuringAStorm(t *testing.T) {
	for _, mode := range []Fsync{FsyncAlways, FsyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			c := testConfig(t)
			c.Fsync, c.MaxSize = mode, 200_000 // some kills hit a rotation
			acknowledged := map[string]bool{}
			for run := range 5 {
				for _, name := range storm(t, c, 300*(run+1)) {
					acknowledged[fmt.Sprintf("%d-%s", run, name)] = true
				}
				mustClose(t, mustOpen(t, c)) // repairs what the kill left, as the next start does
				report := mustVerify(t, c)
				if int(report.Allowed) < len(acknowledged) {
					t.Fatalf("run %d: %d records are in the log, %d were acknowledged", run, report.Allowed, len(acknowledged))
				}
			}
			written := map[string]int{}
			older, err := olderFiles(c.Path)
			must(t, err)
			paths := []string{c.Path}
			for _, s := range older {
				paths = append(paths, s.path)
			}
			for _, path := range paths {
				for _, line := range readLines(t, path) {
					if _, name, found := strings.Cut(line, `"name":"`); found {
						name, _, _ = strings.Cut(name, `"`)
						written[name]++
					}
				}
			}
			for name := range acknowledged {
				if _, plain, _ := strings.Cut(name, "-"); written[plain] == 0 {
					t.Errorf("%s was acknowledged and is not in the log", name)
				}
			}
		})
	}
}

// storm runs a child until it acknowledged n records, kills it, and returns all that it acknowledged.
func storm(t *testing.T, c Config, n int) []string {
	t.Helper()
	command := child(t, "storm", c)
	out, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	var names []string
	lines := bufio.NewReader(out)
	for {
		name, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // an unfinished line was not acknowledged yet
		}
		must(t, err)
		names = append(names, strings.TrimSpace(name))
		if len(names) == n {
			must(t, command.Process.Kill())
		}
	}
	if err := command.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return names
}

// stormChild records from many goroutines and prints each name once it is acknowledged.
func stormChild() {
	_, l := childLog()
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("p%d-%d-%d", os.Getpid(), worker, i)
				if err := l.Record(context.Background(), allowed(name)); err != nil {
					fail(err)
				}
				mu.Lock()
				_, _ = os.Stdout.WriteString(name + "\n")
				mu.Unlock()
			}
		})
	}
	all.Wait()
}
