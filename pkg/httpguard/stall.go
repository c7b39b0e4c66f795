// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// WriteTimeout is how long a write to a client may block. --request-timeout does not help: upstream's handler waits for
// the write in progress before it ends a request, so a client that stops reading would keep its slot of
// --max-requests-inflight, and its answer in memory, forever.
const WriteTimeout = 30 * time.Second

// NewListener returns a listener whose connections fail when a write blocks for WriteTimeout.
func NewListener(listener net.Listener) net.Listener {
	return timedListener{listener}
}

type timedListener struct {
	net.Listener
}

// Accept implements net.Listener.
func (l timedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: conn}, nil
}

// timedConn sets a deadline for each write, unless another one is set: for a handshake, or a close.
type timedConn struct {
	net.Conn
	others atomic.Bool
}

// Write implements net.Conn.
func (c *timedConn) Write(p []byte) (int, error) {
	if !c.others.Load() {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline implements net.Conn.
func (c *timedConn) SetWriteDeadline(at time.Time) error {
	c.others.Store(!at.IsZero())
	return c.Conn.SetWriteDeadline(at)
}

// SetDeadline implements net.Conn.
func (c *timedConn) SetDeadline(at time.Time) error {
	c.others.Store(!at.IsZero())
	return c.Conn.SetDeadline(at)
}

// withStreamTimeout resets an HTTP/2 stream whose client reads the connection but opens no window for the stream.
// SetWriteDeadline is not enough: it also expires while nothing is written, as between two events of a watch.
func withStreamTimeout(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			handler.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(&timedStream{ResponseWriter: w}), r)
	})
}

type timedStream struct {
	http.ResponseWriter

	// mutex guards waiting, and a reset: net/http panics when that comes after the end of the handler.
	mutex   sync.Mutex
	waiting bool
}

// Write implements io.Writer.
func (s *timedStream) Write(p []byte) (int, error) {
	defer s.stop(s.start())
	return s.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (s *timedStream) Flush() {
	defer s.stop(s.start())
	_ = http.NewResponseController(s.ResponseWriter).Flush() // a failure shows in the next write
}

// Unwrap serves http.ResponseController and upstream's decorators.
func (s *timedStream) Unwrap() http.ResponseWriter {
	return s.ResponseWriter
}

func (s *timedStream) start() *time.Timer {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.waiting = true
	return time.AfterFunc(WriteTimeout, s.reset)
}

func (s *timedStream) stop(timer *time.Timer) {
	timer.Stop()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.waiting = false
}

func (s *timedStream) reset() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.waiting {
		// a past deadline resets the stream immediately
		_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(time.Unix(0, 0))
	}
}
