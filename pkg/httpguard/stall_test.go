// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// stalledWriter is a stream whose client opens no window: a write ends once the stream is reset.
type stalledWriter struct {
	*httptest.ResponseRecorder
	resets chan time.Time
	takes  time.Duration // the client takes a write after that long; 0 means never
}

func (w *stalledWriter) wait() {
	if w.takes > 0 {
		time.Sleep(w.takes)
		return
	}
	w.resets <- <-w.resets
}

func (w *stalledWriter) Write(p []byte) (int, error) { w.wait(); return len(p), nil }
func (w *stalledWriter) Flush()                      { w.wait() }
func (w *stalledWriter) CloseNotify() <-chan bool    { return nil }

func (w *stalledWriter) SetWriteDeadline(time.Time) error {
	w.resets <- time.Now()
	return nil
}

// A write and a flush that wait for the client are ended at WriteTimeout, and each has the whole time; nothing is ended
// in between.
func TestStreamTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		major int
		takes time.Duration
		work  func(http.ResponseWriter)
		reset bool
	}{
		"write without window": {2, 0, func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) }, true},
		"flush without window": {2, 0, func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, true},
		"slow, but alive": {2, WriteTimeout - time.Second,
			func(w http.ResponseWriter) { _, _ = w.Write(nil); w.(http.Flusher).Flush(); _, _ = w.Write(nil) }, false},
		"idle between two writes": {2, time.Second,
			func(w http.ResponseWriter) { _, _ = w.Write(nil); time.Sleep(time.Hour); _, _ = w.Write(nil) }, false},
		"HTTP/1.1, by its listener": {1, WriteTimeout + time.Second,
			func(w http.ResponseWriter) { _, _ = w.Write(nil) }, false},
		"nothing written by handler": {2, 0, func(http.ResponseWriter) { time.Sleep(time.Hour) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := &stalledWriter{ResponseRecorder: httptest.NewRecorder(), resets: make(chan time.Time, 1),
					takes: test.takes}
				request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
				request.ProtoMajor = test.major
				started := time.Now()
				WithTimeouts(http.HandlerFunc(func(w http.ResponseWriter,
					_ *http.Request) {
					test.work(w)
				})).ServeHTTP(inner, request)
				select {
				case at := <-inner.resets:
					if !test.reset || at.Sub(started) != WriteTimeout {
						t.Errorf("reset after %s, want one at %s: %v", at.Sub(started), WriteTimeout, test.reset)
					}
				default:
					if test.reset {
						t.Error("never reset")
					}
				}
			})
		})
	}
}

// deadlineConn keeps the last deadline for writes.
type deadlineConn struct {
	net.Conn
	deadline time.Time
}

func (c *deadlineConn) Write(p []byte) (int, error)         { return len(p), nil }
func (c *deadlineConn) SetWriteDeadline(at time.Time) error { c.deadline = at; return nil }
func (c *deadlineConn) SetDeadline(at time.Time) error      { c.deadline = at; return nil }

type oneConn struct {
	net.Listener
	conn net.Conn
}

func (l oneConn) Accept() (net.Conn, error) { return l.conn, nil }

// Each write has WriteTimeout, but for the time in which crypto/tls or net/http set a deadline of theirs.
func TestListenerTimesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &deadlineConn{}
		conn, err := NewListener(oneConn{conn: inner}).Accept()
		if err != nil {
			t.Fatal(err)
		}
		theirs := time.Now().Add(time.Second)
		for _, step := range []struct {
			name string
			set  func() error
			own  bool
		}{
			{"fresh", func() error { return nil }, true},
			{"write deadline set", func() error { return conn.SetWriteDeadline(theirs) }, false},
			{"write deadline lifted", func() error { return conn.SetWriteDeadline(time.Time{}) }, true},
			{"both deadlines set", func() error { return conn.SetDeadline(theirs) }, false},
			{"both deadlines lifted", func() error { return conn.SetDeadline(time.Time{}) }, true},
			{"a while later", func() error { time.Sleep(time.Minute); return nil }, true},
		} {
			if err := step.set(); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			want := theirs
			if step.own {
				want = time.Now().Add(WriteTimeout)
			}
			if !inner.deadline.Equal(want) {
				t.Errorf("%s: the deadline is %s, want %s", step.name, inner.deadline, want)
			}
		}
	})
}
