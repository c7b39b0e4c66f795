// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a connection that keeps what it is told.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// A request with a body has a deadline until the body is complete, and not longer: net/http reads on while the handler
// works, and would take the passing of the deadline for a client that went away.
func TestBodyTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		body         io.Reader
		read         int64
		armed, ended bool
	}{
		"no body":             {},
		"body not read":       {strings.NewReader("body"), 0, true, false},
		"body read in part":   {strings.NewReader("body"), 3, true, false},
		"whole body":          {strings.NewReader("body"), 5, true, true},
		"body without length": {io.MultiReader(strings.NewReader("body")), 5, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			before := time.Now()
			handler := withBodyTimeout(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.CopyN(io.Discard, r.Body, test.read)
			}))
			handler.ServeHTTP(conn, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", test.body))
			if armed := len(conn.set) > 0 && !conn.set[0].Before(before.Add(BodyTimeout)); armed != test.armed {
				t.Errorf("deadlines %v: want one to be set: %v", conn.set, test.armed)
			}
			if ended := len(conn.set) > 1 && conn.set[len(conn.set)-1].IsZero(); ended != test.ended {
				t.Errorf("deadlines %v: want it to be lifted: %v", conn.set, test.ended)
			}
		})
	}
}

// pipes is a listener whose connections are in memory, so that their deadlines follow the clock of a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// A body that does not come within BodyTimeout is an error that says so, to the moment, by net/http itself. Meanwhile
// it takes bytes of the pool for what came, not for what was promised, and none afterwards.
func TestBodyThatDoesNotCome(t *testing.T) {
	for name, header := range map[string]string{
		"one byte of fifty":      "Content-Length: 50\r\n\r\n{",
		"nothing of a gigabyte":  "Content-Length: 1000000000\r\n\r\n",
		"chunked":                "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"100-continue, no body":  "Expect: 100-continue\r\nContent-Length: 50\r\n\r\n",
		"half a chunk size line": "Transfer-Encoding: chunked\r\n\r\n1",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				errs, taken := make(chan error, 1), make(chan int64, 1)
				receiving.Peak()
				server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: withBodyTimeout(http.HandlerFunc(
					func(_ http.ResponseWriter, r *http.Request) {
						errs <- Receive(r.Context(), User("a"), 1<<20)
						taken <- receiving.Peak()
					}))}
				listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
				go func() { _ = server.Serve(listener) }()
				client, conn := net.Pipe()
				listener.conns <- conn
				go func() { _, _ = io.Copy(io.Discard, client) }()
				started := time.Now()
				if _, err := fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: x\r\n%s", header); err != nil {
					t.Fatal(err)
				}
				if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v, want the deadline", err)
				}
				if took := time.Since(started); took != BodyTimeout {
					t.Errorf("after %s, want %s", took, BodyTimeout)
				}
				if peak := <-taken; peak < 1 || peak > requestBytes+firstBytes {
					t.Errorf("it took %d bytes, want at most %d", peak, requestBytes+firstBytes)
				}
				if held := receiving.Peak(); held != 0 {
					t.Errorf("%d bytes are still held", held)
				}
				_ = client.Close()
				_ = server.Close()
				time.Sleep(time.Minute) // of the bubble: net/http lingers before it closes
			})
		})
	}
}

// through sends a body through WithTimeouts to a handler.
func through(ctx context.Context, body io.Reader, length int64, handler func(r *http.Request)) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", body)
	r.ContentLength = length
	WithTimeouts(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request) {
		handler(r)
	})).ServeHTTP(httptest.NewRecorder(), r)
}

// After Receive the body reads the same bytes, then the same end; a second Receive changes nothing.
func TestReceive(t *testing.T) {
	const limit = 100_000
	for _, size := range []int{1, firstBytes - 1, firstBytes, firstBytes + 1, 50_000, limit, limit + 1, 10 * limit} {
		for _, length := range []int64{int64(size), -1} {
			sent := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			through(t.Context(), io.MultiReader(bytes.NewReader(sent)), length, func(r *http.Request) {
				first := Receive(r.Context(), User("a"), limit)
				second := Receive(r.Context(), User("a"), 1)
				got, err := io.ReadAll(r.Body)
				tooLarge, isTooLarge := errors.AsType[*http.MaxBytesError](first)
				if want := size > limit; isTooLarge != want || want && tooLarge.Limit != limit || !want &&
					(first != nil || err != nil) {
					t.Errorf("%d bytes: %v, then %v", size, first, err)
				}
				if !errors.Is(second, first) {
					t.Errorf("%d bytes: second %v, first %v", size, second, first)
				}
				if want := sent[:min(size, limit)]; !bytes.Equal(got, want) {
					t.Errorf("%d bytes: read %d, want %d", size, len(got), len(want))
				}
			})
		}
	}
	receiving.Peak()
	if held := receiving.Peak(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
	if err := Receive(t.Context(), User("a"), 1); err != nil {
		t.Errorf("without a body: %v", err)
	}
}

// stuck is a body of which some bytes come and the rest does not.
type stuck struct {
	io.Reader
	came    chan<- struct{}
	release <-chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	s.came <- struct{}{}
	<-s.release
	return 0, io.ErrUnexpectedEOF
}

// One caller's half-read bodies take a quarter of the bytes; then it is refused and others are not.
func TestHalfReadBodiesAreBounded(t *testing.T) {
	const limit = 1 << 20
	came, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	busy := 0
	for range 100 { // of most of a MiB each
		errs := make(chan error, 1)
		group.Go(func() {
			through(t.Context(), &stuck{bytes.NewReader(make([]byte, limit-10)), came, release}, limit,
				func(r *http.Request) {
					errs <- Receive(r.Context(), User("flood"), limit)
				})
		})
		select {
		case <-came:
		case err := <-errs:
			if !errors.Is(err, ErrBusy) {
				t.Errorf("%v, want %v", err, ErrBusy)
			}
			busy++
		}
	}
	if held := receiving.Peak(); busy == 0 || held > MaxReceivingBytes/4 {
		t.Errorf("%d of 100 were refused, and %d bytes are held", busy, held)
	}
	through(t.Context(), bytes.NewReader(make([]byte, limit)), limit, func(r *http.Request) {
		if err := Receive(r.Context(), User("other"), limit); err != nil {
			t.Errorf("another caller: %v", err)
		}
	})
	close(release)
	group.Wait()
	receiving.Peak()
	if held := receiving.Peak(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// Requests that sent next to nothing count too: by them alone a caller could take all memory.
func TestEmptyHandedRequestsAreBounded(t *testing.T) {
	came, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	waiting, refused := 0, 0
	for range 1000 {
		errs := make(chan error, 1)
		group.Go(func() {
			through(t.Context(), &stuck{strings.NewReader("{"), came, release}, 50, func(r *http.Request) {
				errs <- Receive(r.Context(), User("flood"), 1<<20)
			})
		})
		select {
		case <-came:
			waiting++
		case err := <-errs:
			if !errors.Is(err, ErrBusy) {
				t.Errorf("%v, want %v", err, ErrBusy)
			}
			refused++
		}
	}
	if waiting > 512 || refused != 1000-waiting {
		t.Errorf("%d requests wait, %d were refused", waiting, refused)
	}
	close(release)
	group.Wait()
}

// BenchmarkReceive is what a request with a body costs: its buffer, and what hangs on the request.
func BenchmarkReceive(b *testing.B) {
	sent := make([]byte, 2000)
	handler := withBodyTimeout(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := Receive(r.Context(), User("a"), 1<<20); err != nil {
			b.Error(err)
		}
	}))
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/", http.NoBody)
	r.ContentLength = int64(len(sent))
	w, reader := httptest.NewRecorder(), bytes.NewReader(sent)
	r.Body = io.NopCloser(reader)
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(sent)
		handler.ServeHTTP(w, r)
	}
}

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
