// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	// diskBytes hold what a server takes for a start, its margin of 64 MiB, and some values.
	diskBytes = 400 << 20
	noRoom    = "the disk of the database is nearly full"
)

// onDisk are the options of a server whose values user reader may open.
func onDisk(dir string, args ...string) harness.Options {
	return harness.Options{DataDir: dir, Args: args}.WithK6("default")
}

// writers store values until they are stopped, and remember what was acknowledged.
type writers struct {
	s       *harness.Server
	group   sync.WaitGroup
	stop    chan struct{}
	refused atomic.Int64

	mutex sync.Mutex
	acked map[string]string // value by name
}

// startWriters writes as fast as it can. Refused writes must say why.
func startWriters(t *testing.T, s *harness.Server, prefix string) *writers {
	t.Helper()
	w := &writers{s: s, stop: make(chan struct{}), acked: map[string]string{}}
	for worker := range 4 {
		w.group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-w.stop:
					return
				default:
				}
				name := fmt.Sprintf("%s-%d-%d", prefix, worker, i)
				if value := harness.Canary() + strings.Repeat("x", 20<<10); w.write(t, name, value) {
					w.mutex.Lock()
					w.acked[name] = value
					w.mutex.Unlock()
				}
			}
		})
	}
	return w
}

func (w *writers) write(t *testing.T, name, value string) bool {
	t.Helper()
	got := store(t, w.s, name, value)
	switch {
	case got.Code == http.StatusCreated:
		return true
	case got.Code != http.StatusServiceUnavailable:
		t.Errorf("writing %s: %d %.300s", name, got.Code, got.Body)
	default:
		w.refused.Add(1)
		if status := got.Status(t); got.Header.Get("Retry-After") == "" || !strings.Contains(status.Message, noRoom) ||
			string(status.Reason) != "ServiceUnavailable" {
			t.Errorf("a refused write: %v %+v", got.Header, status)
		}
	}
	return false
}

func (w *writers) count() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.acked)
}

func (w *writers) end() map[string]string {
	close(w.stop)
	w.group.Wait()
	return w.acked
}

func store(t *testing.T, s *harness.Server, name, value string) harness.Response {
	t.Helper()
	return s.Do(t, harness.Request{Method: http.MethodPost, Path: harness.Collection("default"), Token: s.AdminToken, Body: fmt.Sprintf(
		`{"metadata":{"name":%q},"spec":{"description":"test","value":%q,"decrypters":["k6-cloud"]}}`, name, value)})
}

// open asks the decrypt port.
func open(t *testing.T, s *harness.Server, name string) harness.Response {
	t.Helper()
	return s.OnDecryptPort().Get(t, harness.DecryptPath("default", name), harness.K6Token)
}

// wantServing wants reads, lists and decrypts to go on.
func wantServing(t *testing.T, s *harness.Server, values map[string]string) {
	t.Helper()
	if got := s.Get(t, harness.Collection("default"), s.AdminToken).Code; got != http.StatusOK {
		t.Errorf("list: %d", got)
	}
	if got := s.Get(t, "/readyz", s.AdminToken).Code; got != http.StatusOK {
		t.Errorf("readyz: %d", got)
	}
	checked := 0
	for name, value := range values {
		if got := s.Get(t, harness.Collection("default")+"/"+name, s.AdminToken).Code; got != http.StatusOK {
			t.Errorf("get %s: %d", name, got)
		}
		var body struct{ Plaintext string }
		if got := open(t, s, name); json.Unmarshal(got.Body, &body) != nil || body.Plaintext != value {
			t.Errorf("decrypt %s: %d %.200s", name, got.Code, got.Body)
		}
		if checked++; checked == 50 {
			break
		}
	}
}

// writable reports whether a write is accepted.
func writable(t *testing.T, s *harness.Server, name string) func() bool {
	t.Helper()
	n := 0
	return func() bool {
		n++
		got := store(t, s, fmt.Sprintf("%s-%d", name, n), "v")
		return got.Code == http.StatusCreated
	}
}

// A disk that somebody fills to the last byte while values are written ends nothing: not the server, and not a start on
// it.
func TestFullDisk(t *testing.T) {
	harness.WithDisk(t, diskBytes, func(t *testing.T, disk harness.Disk) {
		dir := filepath.Join(disk.Dir, "data")
		s := harness.Start(t, onDisk(dir))
		events := bufio.NewReader(s.Watch(t, harness.Collection("watched")+"?watch=true", s.AdminToken))
		w := startWriters(t, s, "first")
		harness.Eventually(t, "values are written", func() bool { return w.count() > 20 })
		disk.Fill(t)
		harness.Eventually(t, "writes are refused", func() bool { return w.refused.Load() > 8 })
		values := w.end()
		wantServing(t, s, values)
		wantRefusal(t, s, noRoom)

		disk.Free(t)
		harness.Eventually(t, "writes are accepted again", writable(t, s, "again"))
		wantRefusal(t, s, "")
		s.Create(t, "watched", "seen", "v")
		if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, `"seen"`) {
			t.Errorf("the watch ended: %v %s", err, line)
		}

		for name, end := range map[string]func(){"crash": func() { s.Kill() }, "stop": func() { s.Stop(t) }} {
			disk.Fill(t)
			end()
			disk.Fill(t) // what the end gave back
			s = harness.Start(t, onDisk(dir))
			wantServing(t, s, values)
			wantRefusal(t, s, noRoom)
			if writable(t, s, "full")() {
				t.Errorf("a write was accepted after a %s", name)
			}
			disk.Free(t)
			harness.Eventually(t, "writes are accepted again", writable(t, s, name))
		}
		s.Stop(t)
		stored := harness.OpenAll(t, dir)
		for name, value := range values {
			if stored["default/"+name] != value {
				t.Errorf("%s was acknowledged and is lost", name)
			}
		}
	})
}

// wantRefusal waits for a notice in /readyz?verbose, or for none.
func wantRefusal(t *testing.T, s *harness.Server, text string) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("/readyz?verbose has the notice %q", text), func() bool {
		got := s.Get(t, "/readyz?verbose", s.AdminToken)
		_, notice, found := strings.Cut(string(got.Body), "[+]writes-refused (")
		return got.Code == http.StatusOK && found == (text != "") && strings.Contains(notice, text)
	})
}

// The margin is a choice of the operator. A delete goes on below it: it makes room.
func TestDiskBelowTheMargin(t *testing.T) {
	s := harness.Start(t, onDisk("", "--data-dir-min-free=0"))
	kept := map[string]string{"kept": harness.Canary()}
	for name, value := range map[string]string{"kept": kept["kept"], "gone": "v"} {
		store(t, s, name, value).Want(t, http.StatusCreated)
	}
	s.Signal(t, syscall.SIGTERM)
	if err := s.Wait(t); err != nil {
		t.Fatal(err)
	}
	// Above what is free, and its fourth below.
	s = harness.Start(t, onDisk(s.DataDir, fmt.Sprintf("--data-dir-min-free=%d", 2*freeBytes(t, s.DataDir))))
	wantServing(t, s, kept)
	wantRefusal(t, s, noRoom)
	object := harness.Collection("default") + "/kept"
	for name, r := range map[string]harness.Request{
		"create":            {Method: http.MethodPost, Path: harness.Collection("default"), Body: harness.Object(t, "new", "v")},
		"update":            {Method: http.MethodPatch, Path: object, ContentType: "application/merge-patch+json", Body: `{"metadata":{"labels":{"a":"b"}}}`},
		"server-side apply": {Method: http.MethodPatch, Path: object + "?fieldManager=f", ContentType: "application/apply-patch+yaml", Body: `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"labels":{"a":"b"}}}`},
	} {
		r.Token = s.AdminToken
		if got := s.Do(t, r); got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Status(t).Message, noRoom) {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
	got := s.Do(t, harness.Request{Method: http.MethodDelete, Path: harness.Collection("default") + "/gone", Token: s.AdminToken})
	if got.Code != http.StatusOK {
		t.Errorf("delete: %d %s", got.Code, got.Body)
	}
	metrics := string(s.Get(t, "/metrics", s.AdminToken).Body)
	if !strings.Contains(metrics, `secret_writes_refused_total{reason="disk"} 3`) {
		t.Error("the refused writes are not counted")
	}
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}
