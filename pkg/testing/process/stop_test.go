// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// Watches end with an orderly end of the stream, not with a reset, and the exit code is 0 on SIGINT too.
func TestGracefulStop(t *testing.T) {
	for name, test := range map[string]struct {
		signal os.Signal
		args   []string
	}{
		"SIGTERM":                     {syscall.SIGTERM, nil},
		"SIGINT, without watch cache": {syscall.SIGINT, []string{"--watch-cache=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Args: test.args})
			stream := watch(t, s, "stop")
			created := create(t, s, "stop", "seen", harness.Canary())
			events := bufio.NewReader(stream)
			if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, `"ADDED"`) {
				t.Fatalf("first event: %v %s", err, line)
			}
			s.Signal(t, test.signal)
			if rest, err := io.ReadAll(events); err != nil {
				t.Errorf("the watch was cut after %q: %v", rest, err)
			}
			if err := s.Wait(t); err != nil {
				t.Errorf("the server ended with %v", err)
			}
			wantStopOrder(t, s)
			wantKept(t, harness.Start(t, harness.Options{DataDir: s.DataDir, Args: test.args}), created)
		})
	}
}

func watch(t *testing.T, s *harness.Server, namespace string) io.Reader {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+harness.Collection(namespace)+"?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("watch: %d", response.StatusCode)
	}
	return response.Body
}

// With --etcd-servers nothing of etcd is in the data folder.
func TestExternalEtcd(t *testing.T) {
	db, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), LogOutput: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Stop)
	servers := "--etcd-servers=" + strings.Join(db.Endpoints(), ",")
	s := harness.Start(t, harness.Options{Args: []string{servers, "--etcd-prefix=/elsewhere"}})
	canary := harness.Canary()
	created := create(t, s, "external", "one", canary)
	if _, err := os.Stat(filepath.Join(s.DataDir, "etcd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data folder has an etcd: %v", err)
	}
	record, err := db.Client().Get(t.Context(), "/elsewhere/", clientv3.WithPrefix())
	if err != nil || len(record.Kvs) != 1 {
		t.Fatalf("the record in etcd: %v %v", record, err)
	}
	if found := harness.Find(record.Kvs[0].Value, canary); len(found) > 0 {
		t.Errorf("etcd holds %v", found)
	}
	s.Stop(t)
	wantKept(t, harness.Start(t, harness.Options{DataDir: s.DataDir, Args: []string{servers, "--etcd-prefix=/elsewhere"}}), created)
	s.Leaks(t, canary)
}

// idleLimit is the memory that an idle server may take, in kB.
const idleLimit = 150 * 1000

func TestIdleMemory(t *testing.T) {
	if strings.HasSuffix(harness.Binary(t), "-race") {
		t.Log("the race detector multiplies memory: only the start is tested")
		harness.Start(t, harness.Options{})
		return
	}
	s := harness.Start(t, harness.Options{})
	status := harness.ReadFile(t, "/proc/"+strconv.Itoa(s.PID())+"/status")
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmRSS in %s", status)
	}
	if rss, err := strconv.Atoi(string(found[1])); err != nil || rss > idleLimit {
		t.Errorf("an idle server takes %d kB (%v), want at most %d", rss, err, idleLimit)
	} else {
		t.Logf("idle: %d kB", rss)
	}
}
