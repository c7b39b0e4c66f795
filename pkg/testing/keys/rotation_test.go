// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// Two rotations under writers and readers, with the controller and the server killed in the middle, end with the proof
// that nothing is left under an old key, and with every value as its last writer wrote it.
func TestRotateTwiceUnderLoadWithKills(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	options := harness.Options{Args: []string{"--secure-port=" + port, "--rewrap=false", "-v=2"}}
	s := harness.Start(t, options)
	options.DataDir = s.DataDir
	values := s.Values(t, "", namespace)
	stored := create(t, values, "value", 300)
	first := slices.Collect(maps.Keys(byKey(t, values)))[0]
	var restarts window
	l := startLoad(t, values, &restarts, stored, 2)
	moved := func(key string) int { return byKey(t, values)["aesgcm/"+key] }

	s.Rotate(t, "second")
	c := startController(t, s, "--rewrap-qps=40")
	harness.Eventually(t, "the rotation is in progress", func() bool { return moved("second") > 40 })
	c.kill()
	if left := len(stored) - moved("second"); left == 0 {
		t.Fatal("the controller was not killed in the middle")
	}
	controllers := []*controller{startController(t, s, "--rewrap-qps=40"), startController(t, s, "--rewrap-qps=40")}
	harness.Eventually(t, "two controllers have ended the rotation", func() bool { return moved("second") == len(stored) })

	s.Rotate(t, "third")
	harness.Eventually(t, "the second rotation is in progress", func() bool { return moved("third") > 40 })
	restarts.open()
	s.Kill()
	s = harness.Start(t, options)
	restarts.close()
	if moved("third") == len(stored) {
		t.Fatal("the server was not killed in the middle")
	}
	harness.Eventually(t, "the second rotation has ended", func() bool { return moved("third") == len(stored) })
	l.end()
	if l.writes.Load() == 0 {
		t.Error("nobody wrote meanwhile")
	}

	wantNoWrites(t, s, func() map[string]string { return versions(t, values) })
	for _, c := range controllers {
		c.kill()
	}
	s.Stop(t)
	for _, key := range []string{first, "aesgcm/second"} {
		keysTool(t, 0, []string{"retire", key, "--data-dir=" + s.DataDir})
	}
	_, stderr, code := harness.Tool(t, "keys", "report", "--data-dir="+s.DataDir, "--fail-on="+first, "--fail-on=aesgcm/second")
	if code != 0 {
		t.Errorf("keys report ended with %d: %s", code, stderr)
	}
	l.check(t, harness.OpenAll(t, s.DataDir))
	leaks(t, s, controllers, l.written)
}

// SIGHUP, which operators send to what reads files, does not end the controller manager: it re-encrypts after the next
// rotation. pkg/testing/process has the same test of the server.
func TestControllerManagerOutlivesHangup(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}})
	values := s.Values(t, "", namespace)
	create(t, values, "value", 1)
	c := startController(t, s)
	logs := func(text string) func() bool {
		return func() bool { return strings.Contains(string(harness.ReadFile(t, c.logFile)), text) }
	}
	harness.Eventually(t, "it runs", logs("Starting the controllers"))
	if err := c.command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "it got SIGHUP", logs("SIGHUP: "))
	s.Rotate(t, "fresh")
	harness.Eventually(t, "it re-encrypts", func() bool { return byKey(t, values)["aesgcm/fresh"] == 1 })
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.command.Wait(); err != nil {
		t.Errorf("after SIGTERM it ended with %v", err)
	}
}

// wantNoWrites watches fresh values while controllers look at them several times.
func wantNoWrites(t *testing.T, s *harness.Server, versions func() map[string]string) {
	t.Helper()
	const probes = `secret_rewraps_total{result="unchanged"}`
	before, from := versions(), s.Metric(t, probes)
	harness.Eventually(t, "the controllers have looked again", func() bool { return s.Metric(t, probes) >= from+6 })
	if after := versions(); !maps.Equal(before, after) {
		t.Error("a fresh value was written")
	}
}

// leaks searches what the controllers and the server wrote.
func leaks(t *testing.T, s *harness.Server, controllers []*controller, written map[string]map[string]bool) {
	t.Helper()
	var all []string
	for _, may := range written {
		all = slices.AppendSeq(all, maps.Keys(may))
	}
	s.Leaks(t, all...)
	for _, c := range controllers {
		for _, found := range harness.Find(harness.ReadFile(t, c.logFile), all...) {
			t.Errorf("the controller logged %s", found)
		}
	}
}

// A standalone server rotates by itself and shows how far it is, a kill and a second rotation in the middle included.
func TestStandaloneRotatesByItself(t *testing.T) {
	t.Parallel()
	options := harness.Options{Args: []string{"--rewrap-probe-interval=500ms", "--rewrap-qps=20", "-v=2"}}
	s := harness.Start(t, options)
	stored := create(t, s.Values(t, "", namespace), "value", 100)
	s.Rotate(t, "fresh")
	count := func() float64 { return s.Metric(t, `secret_values{key="aesgcm/fresh"}`) }
	harness.Eventually(t, "the rotation is in progress", func() bool { return count() > 5 })
	if stale := s.Metric(t, "secret_values_stale"); stale <= 0 {
		t.Errorf("secret_values_stale is %v in the middle of a rotation", stale)
	}
	s.Kill()
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	s.Rotate(t, "fresher") // in the middle of the first rotation
	count = func() float64 { return s.Metric(t, `secret_values{key="aesgcm/fresher"}`) }
	harness.Eventually(t, "both rotations have ended", func() bool { return count() == float64(len(stored)) })
	harness.Eventually(t, "the metrics say so", func() bool {
		return s.Metric(t, "secret_values_stale") == 0 && s.Metric(t, "secret_rewrap_controller_last_complete_timestamp_seconds") > 0
	})
	s.Stop(t)
	opened := harness.OpenAll(t, s.DataDir)
	for name, value := range stored {
		if opened[namespace+"/"+name] != value {
			t.Errorf("%s does not open to what was stored", name)
		}
	}
}

// A value whose ciphertext does not open is named, breaks neither lists nor watches, and the others are moved.
func TestOneThatDoesNotOpenStopsNoOther(t *testing.T) {
	t.Parallel()
	lost, good, fresh := secretKey(), secretKey(), secretKey()
	config := t.TempDir() + "/encryption.yaml"
	harness.WriteFile(t, config, configHead+aesgcm("lost", lost))
	options := harness.Options{Args: []string{"--encryption-provider-config=" + config, "--rewrap-probe-interval=500ms", "-v=2"}}
	s := harness.Start(t, options)
	options.DataDir = s.DataDir
	create(t, s.Values(t, "", namespace), "broken", 3)
	s.Stop(t)

	harness.WriteFile(t, config, configHead+aesgcm("good", good))
	options.Args[1] = "--rewrap=false"
	s = harness.Start(t, options)
	create(t, s.Values(t, "", namespace), "value", 50)
	s.Stop(t)

	harness.WriteFile(t, config, configHead+aesgcm("fresh", fresh, "good", good))
	options.Args[1] = "--rewrap-probe-interval=500ms"
	s = harness.Start(t, options)
	values := s.Values(t, "", namespace)
	harness.Eventually(t, "all others are moved", func() bool {
		counts := byKey(t, values)
		return counts["aesgcm/fresh"] == 50 && counts["aesgcm/lost"] == 3
	})
	harness.Eventually(t, "the failures are counted", func() bool { return s.Metric(t, "secret_rewrap_controller_failing_values") == 3 })
	log := s.Log(t)
	for i := range 3 {
		if name := fmt.Sprintf(`securevalue="%s/broken-%d"`, namespace, i); !containsBoth(log, "Could not rewrap a value", name) {
			t.Errorf("the log does not name %s", name)
		}
	}
	w, err := values.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for range 53 {
		<-w.ResultChan()
	}

	_, stderr, code := harness.Tool(t, "keys", "report", "--data-dir="+s.DataDir, "--fail-on=aesgcm/lost")
	if code != 1 || !containsBoth(stderr, "3 values are still under aesgcm/lost", namespace+"/broken-1") {
		t.Errorf("keys report ended with %d: %s", code, stderr)
	}
	// Written again, they are as good as any.
	for i := range 3 {
		name := fmt.Sprintf("broken-%d", i)
		if _, err := values.Update(t.Context(), harness.NewValue(name, harness.Canary()), metav1.UpdateOptions{}); err != nil {
			t.Errorf("writing a new value over one that does not open: %v", err)
		}
	}
	harness.Eventually(t, "nothing fails any more", func() bool { return s.Metric(t, "secret_rewrap_controller_failing_values") == 0 })
}
