// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestKillDuringAStorm kills a process that records as fast as it can: every record that it acknowledged is in the log, and
// the chain holds, over several such ends.
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
			older, err := segments(c.Path)
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
