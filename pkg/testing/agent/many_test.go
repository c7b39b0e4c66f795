// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestManyAgents writes values while several agents follow, as the Pods of one Deployment do, and prints how long after
// the acknowledged write each has the new file. AGENTS is how many there are.
func TestManyAgents(t *testing.T) {
	s, count := start(t), int(harness.Setting(t, "AGENTS", 3))
	value := s.create(t, "a", s.canary())
	var links []string
	for i := range count {
		dir := filepath.Join(s.dir, strconv.Itoa(i))
		s.serve(t, "--file=a=a", "--dir="+dir)
		links = append(links, filepath.Join(dir, "..data"))
	}
	sets := make([]string, count)
	// changed waits until all agents have another set, and returns when each was seen.
	changed := func(since time.Time) (took []time.Duration) {
		t.Helper()
		harness.Eventually(t, "all agents have the value", func() bool {
			for rest := count - len(took); rest > 0 && time.Since(since) < time.Minute; time.Sleep(time.Millisecond) {
				for i, link := range links {
					if now, err := os.Readlink(link); err == nil && now != sets[i] {
						sets[i], took, rest = now, append(took, time.Since(since)), rest-1
					}
				}
			}
			return len(took) == count
		})
		for i := range count {
			if s.file(t, filepath.Join(strconv.Itoa(i), "a")) != value {
				t.Errorf("agent %d has another value", i)
			}
		}
		return took
	}
	changed(time.Now())
	harness.Eventually(t, "all agents follow", func() bool { return s.Metric(t, "secret_decrypt_watches") == float64(count) })
	var took []time.Duration
	for range 10 {
		value = s.canary()
		s.write(t, value)
		took = append(took, changed(time.Now())...)
	}
	slices.Sort(took)
	load, _, _ := strings.Cut(string(harness.ReadFile(t, "/proc/loadavg")), " ")
	t.Logf("%d agents: from an acknowledged write to the new file %v in the median, %v at p99, %v at most; load %s; %d MiB resident in the server, %d in an agent",
		count, took[len(took)/2], took[len(took)*99/100], took[len(took)-1], load,
		resident(t, s.PID())>>10, resident(t, s.agents[0].command.Process.Pid)>>10)
	for _, a := range s.agents {
		a.stop(t)
	}
}
