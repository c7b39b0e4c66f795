// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/net/http2"

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
			stream := s.Watch(t, harness.Collection("stop")+"?watch=true", s.AdminToken)
			created := s.Create(t, "stop", "seen", harness.Canary())
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

// A stop tells each HTTP/2 connection once that it should end. One whose handshake ends after that hears nothing, and
// holds up the stop for a while, but not for a minute. The log says that it was left behind.
func TestStopWithALateHandshake(t *testing.T) {
	for name, port := range map[string]func(*harness.Server) string{
		"API port":     func(s *harness.Server) string { return s.URL },
		"decrypt port": func(s *harness.Server) string { return s.DecryptURL },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{})
			address := strings.TrimPrefix(port(s), "https://")
			// net/http ends a connection that says nothing for five seconds: for a slow stop, younger ones join the
			// first.
			late := []net.Conn{dial(t, address)}
			told := make(chan struct{})
			witness := http2Conn(t, s, dial(t, address))
			go func() {
				defer close(told)
				readUntilGoAway(witness)
			}()
			s.Signal(t, syscall.SIGTERM)
			for open := true; open; {
				select {
				case <-told:
					open = false
				case <-time.After(50 * time.Millisecond):
					if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
						t.Cleanup(func() { _ = conn.Close() })
						late = append(late, conn)
					}
				}
			}
			slices.Reverse(late)
			if !slices.ContainsFunc(late, func(conn net.Conn) bool { return http2Conn(t, s, conn) != nil }) {
				t.Fatalf("none of %d connections could end its handshake", len(late))
			}
			if err := s.Wait(t); err != nil {
				t.Error(err)
			}
			if !strings.Contains(s.Log(t), "Failed to shutdown server: context deadline exceeded") {
				t.Error("the connection held up nothing: this test shows nothing")
			}
		})
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// http2Conn ends the handshake of conn and greets; nil if the server does not want it any more.
func http2Conn(t *testing.T, s *harness.Server, conn net.Conn) *http2.Framer {
	t.Helper()
	secured := tls.Client(conn, s.TLS(http2.NextProtoTLS))
	if secured.HandshakeContext(t.Context()) != nil {
		return nil
	}
	framer := http2.NewFramer(secured, secured)
	if _, err := io.WriteString(secured, http2.ClientPreface); err != nil || framer.WriteSettings() != nil {
		return nil
	}
	if _, err := framer.ReadFrame(); err != nil {
		return nil
	}
	return framer
}

// readUntilGoAway returns when the server says that it ends the connection, or ends it.
func readUntilGoAway(framer *http2.Framer) {
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			return
		}
	}
}

// With --etcd-servers nothing of etcd is in the data folder.
func TestExternalEtcd(t *testing.T) {
	db := harness.Etcd(t, t.TempDir())
	servers := harness.EtcdServers(db)
	s := harness.Start(t, harness.Options{Args: []string{servers, "--etcd-prefix=/elsewhere"}})
	canary := harness.Canary()
	created := s.Create(t, "external", "one", canary)
	if _, err := os.Stat(filepath.Join(s.DataDir, "etcd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data folder has an etcd: %v", err)
	}
	record, err := db.Client().Get(t.Context(), "/elsewhere/secret.grafana.app/", clientv3.WithPrefix())
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
