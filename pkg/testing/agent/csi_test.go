// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/csidriver"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// csi is a provider and the driver of its node.
type csi struct {
	*suite
	*agent
	*csidriver.Driver
	socket, monitoring string
}

// csi starts secret-agent csi.
func (s *suite) csi(t *testing.T, flags ...string) *csi {
	t.Helper()
	c := &csi{suite: s, monitoring: harness.FreeAddress(t)}
	dir, err := os.MkdirTemp("", "csi") // a socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.socket = filepath.Join(dir, "secret-agent.sock")
	c.Driver = csidriver.Dial(t, c.socket)
	c.agent = c.provider(t, flags...).start(t)
	t.Cleanup(func() {
		if strings.Contains(c.output(), harness.K6Token) {
			t.Error("a token is in the output")
		}
	})
	return c
}

// provider prepares secret-agent csi for the socket.
func (c *csi) provider(t *testing.T, flags ...string) *agent {
	t.Helper()
	a := c.suite.command(t, "csi")
	a.command.Args = append([]string{a.command.Path, "csi", "--server=" + c.DecryptURL, "--ca-file=" + c.CAFile,
		"--socket-dir=" + filepath.Dir(c.socket), "--metrics-bind-address=" + c.monitoring}, flags...)
	return a
}

// pod is a request for a volume of a Pod in namespace shop, with objects in YAML.
func pod(uid, objects string) csidriver.Request {
	return csidriver.NewRequest("shop", "checkout", uid, map[string]string{"namespace": "default", "objects": objects},
		map[string]string{"secret.grafana.app": harness.K6Token, "https://kubernetes.default.svc": "another"})
}

// mount mounts what must mount.
func (c *csi) mount(t *testing.T, r csidriver.Request) csidriver.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := c.Mount(ctx, r)
	if err != nil || answer.Code != "" || len(answer.Versions) == 0 {
		t.Fatalf("Mount: %v, %d versions, code %q", err, len(answer.Versions), answer.Code)
	}
	return answer
}

// decrypts counts the values that the server has released, by its audit log.
func (s *suite) decrypts(t *testing.T) int {
	t.Helper()
	log := string(harness.ReadFile(t, filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")))
	return strings.Count(log, `"kind":"decrypt"`)
}

// get reads a page of the provider.
func (c *csi) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.monitoring+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// wantMounts compares the metric, by result.
func (c *csi) wantMounts(t *testing.T, want string) {
	t.Helper()
	_, body := c.get(t, "/metrics")
	var got []string
	for line := range strings.Lines(body) {
		if series, ok := strings.CutPrefix(line, `secret_agent_csi_mounts_total{result="`); ok {
			got = append(got, strings.Replace(strings.TrimSpace(series), `"}`, "", 1))
		}
	}
	if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
		t.Error(diff)
	}
	if found := harness.Find([]byte(body), c.canaries...); len(found) > 0 || strings.Contains(body, harness.K6Token) {
		t.Errorf("the metrics have %v, or a token", found)
	}
}

const twoFiles = "[{path: tls/key.pem, name: a}, {path: b, name: b, mode: '0400'}, {path: again, name: a}]"

// TestCSI mounts a volume, and again while nothing changes, and after changes.
func TestCSI(t *testing.T) {
	t.Parallel()
	s := start(t)
	a, b := s.create(t, "a", s.canary()), s.create(t, "b", "line\r\n\x00'"+s.canary())
	c := s.csi(t)
	files := func(a, b string) map[string]csidriver.File {
		return map[string]csidriver.File{"tls/key.pem": {Mode: 0o444, Contents: a}, "b": {Mode: 0o400, Contents: b}, "again": {Mode: 0o444, Contents: a}}
	}
	want := func(answer csidriver.Answer, files map[string]csidriver.File, decrypts int) {
		t.Helper()
		if diff := cmp.Diff(files, answer.Files); diff != "" || len(answer.Versions) != 2 {
			t.Errorf("%d versions, files that differ: %t", len(answer.Versions), diff != "")
		}
		if got := s.decrypts(t); got != decrypts {
			t.Errorf("%d values were released, want %d", got, decrypts)
		}
	}
	first := c.mount(t, pod("uid-1", twoFiles))
	want(first, files(a, b), 2)
	for range 3 { // the kubelet publishes again
		again := c.mount(t, pod("uid-1", twoFiles))
		want(again, files(a, b), 2)
		if diff := cmp.Diff(first.Versions, again.Versions); diff != "" {
			t.Error(diff)
		}
	}
	claiming := pod("uid-1", twoFiles)
	claiming.Current = first.Versions // an older driver says what is mounted
	want(c.mount(t, claiming), map[string]csidriver.File{}, 2)
	want(c.mount(t, pod("uid-1", twoFiles).Set("objects", strings.Replace(twoFiles, "0400", "0440", 1))),
		map[string]csidriver.File{"tls/key.pem": {Mode: 0o444, Contents: a}, "b": {Mode: 0o440, Contents: b}, "again": {Mode: 0o444, Contents: a}}, 2)
	want(c.mount(t, pod("uid-2", twoFiles)), files(a, b), 4) // another Pod

	a = s.canary()
	s.write(t, a)
	second := c.mount(t, claiming)
	want(second, files(a, b), 6)
	if second.Versions["default/a"] == first.Versions["default/a"] || second.Versions["default/b"] != first.Versions["default/b"] {
		t.Errorf("versions %v after %v", second.Versions, first.Versions)
	}
	s.Do(t, harness.Request{Method: http.MethodDelete, Path: harness.Collection("default") + "/b", Token: s.AdminToken}).Want(t, http.StatusOK)
	b = s.create(t, "b", s.canary()) // version 1 as before
	claiming.Current = second.Versions
	want(c.mount(t, claiming), files(a, b), 8)
	c.wantMounts(t, "decrypted 4, unchanged 5")
	if _, body := c.get(t, "/metrics"); !strings.Contains(body, "\nsecret_agent_csi_volumes 2\n") {
		t.Errorf("metrics: %s", body)
	}
	if version, err := c.Version(t.Context()); err != nil || version != [3]string{"v1alpha1", "secret-agent", "0.0.0-dev"} {
		t.Errorf("Version: %q, %v", version, err)
	}
	c.stop(t)
	if _, err := os.Lstat(c.socket); err == nil {
		t.Error("the socket is there after the end")
	}
}

// TestCSIForgets what a Pod may not have any more, and keeps what it cannot ask for.
func TestCSIForgets(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	c := s.csi(t, "--timeout=10s")
	object := "[{path: a, name: a}]"
	c.mount(t, pod("uid-1", object))
	s.Signal(t, syscall.SIGSTOP)
	c.refused(t, pod("uid-1", object), "Unavailable", "is the server running, and do the Pod of secret-agent csi and its namespace have the label")
	s.Signal(t, syscall.SIGCONT)
	c.mount(t, pod("uid-1", object))
	c.refused(t, withToken("of-nobody", pod("uid-1", object)), "Unauthenticated", "the server does not know the token of the Pod")
	c.mount(t, pod("uid-1", object))
	if got := s.decrypts(t); got != 2 {
		t.Errorf("%d values were released, want 2: one before the refusal, and one after it", got)
	}
}

// TestCSIEnds in the middle: a provider that was killed leaves its socket, and the next one sends all files again.
func TestCSIEnds(t *testing.T) {
	t.Parallel()
	s := start(t)
	value := s.create(t, "a", s.canary())
	c := s.csi(t)
	request := pod("uid-1", "[{path: a, name: a}]")
	request.Current = c.mount(t, request).Versions
	second := c.provider(t, "--metrics-bind-address=127.0.0.1:0").start(t)
	if code := second.end(t); code != 1 || !strings.Contains(second.output(), "another process serves "+c.socket) {
		t.Errorf("a second provider: exit code %d: %s", code, second.output())
	}
	if err := c.agent.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.end(t)
	if _, err := os.Lstat(c.socket); err != nil {
		t.Fatalf("the socket of a killed provider: %v", err)
	}
	c.agent = c.provider(t).start(t)
	if got := c.mount(t, request).Files["a"].Contents; got != value {
		t.Error("no files after a restart")
	}
	if info, err := os.Lstat(c.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if code, _ := c.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("health: %d", code)
	}
	if err := os.Rename(c.socket, c.socket+".old"); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, c.socket, "of another")
	if code, body := c.get(t, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "replaced") {
		t.Errorf("health without the socket: %d %s", code, body)
	}
	c.stop(t)
	if string(harness.ReadFile(t, c.socket)) != "of another" {
		t.Error("it removed a file of another")
	}
}

// TestCSIManyPods mount at the same time.
func TestCSIManyPods(t *testing.T) {
	t.Parallel()
	s := start(t)
	value := s.create(t, "a", s.canary())
	c := s.csi(t)
	for round := range 2 {
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				answer, err := c.Mount(t.Context(), pod(fmt.Sprintf("uid-%d", i), "[{path: a, name: a}]"))
				if err != nil || answer.Files["a"].Contents != value {
					t.Errorf("round %d, Pod %d: %v", round, i, err)
				}
			})
		}
		all.Wait()
	}
	c.wantMounts(t, "decrypted 200, unchanged 200")
	if got := s.decrypts(t); got != 200 {
		t.Errorf("%d values were released", got)
	}
	checkSize(t, c.agent.command.Process.Pid, 64)
	c.stop(t)
}
