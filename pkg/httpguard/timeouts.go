// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

const (
	// BodyTimeout bounds the time from a request's header to the end of its body. Without it a client that sends one
	// byte a minute would keep its body in memory, and even an unauthenticated one its connection, because net/http
	// waits for the body of a request that is already answered.
	BodyTimeout = 5 * time.Second
	// MaxReceivingBytes bounds the bodies in flight on both ports together. One caller gets at most a quarter.
	MaxReceivingBytes = 64 << 20
	// requestBytes is charged for each of them beside its buffer: about the memory of a waiting request. It limits one
	// caller to 512 requests with unfinished bodies, however little it sent and over however many connections.
	requestBytes = 32 << 10
	// firstBytes is the maximum size of the first buffer, whatever the Content-Length.
	firstBytes = 4 << 10
)

// receiving is global, as the memory of the process is.
var receiving = NewPool("bodies", MaxReceivingBytes)

// WithTimeouts ends requests of stalled clients: whose body does not arrive within BodyTimeout, or who read nothing of
// the answer for WriteTimeout (over HTTP/1.1 NewListener does that). It must wrap everything that answers, including
// authentication, and lets Receive find the body of a request.
func WithTimeouts(handler http.Handler) http.Handler {
	return withStreamTimeout(withBodyTimeout(handler))
}

// withBodyTimeout fails reads of a body after BodyTimeout with os.ErrDeadlineExceeded. Over HTTP/1.1 net/http then
// closes the connection, sometimes before the answer is written. Connections without deadlines, as in tests, have no
// timeout.
func withBodyTimeout(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 || r.Body == nil {
			handler.ServeHTTP(w, r)
			return
		}
		controller := http.NewResponseController(w)
		b := &body{ReadCloser: r.Body, promised: r.ContentLength}
		if controller.SetReadDeadline(time.Now().Add(BodyTimeout)) == nil {
			b.complete = func() { _ = controller.SetReadDeadline(time.Time{}) }
		}
		timed := r.WithContext(context.WithValue(r.Context(), bodyKey{}, b))
		timed.Body = b
		handler.ServeHTTP(w, timed)
	})
}

type bodyKey struct{}

// Receive reads the body of a request that passed WithTimeouts, at most limit bytes if limit is positive. Call it
// before the request takes a slot: a stalled body must not occupy one. Afterwards the body of the request returns the
// same bytes from memory, and then the error of Receive:
//
//   - ErrBusy if the caller's share of MaxReceivingBytes is used up,
//   - os.ErrDeadlineExceeded if it did not arrive within BodyTimeout,
//   - *http.MaxBytesError if it is longer than limit,
//   - any other error of the connection.
//
// Nil means that the body is complete or absent. A second call returns the result of the first.
func Receive(ctx context.Context, caller Caller, limit int64) error {
	b, ok := ctx.Value(bodyKey{}).(*body)
	if !ok {
		return nil
	}
	return b.receive(caller, limit)
}

// body reads from the connection until receive is called, then from memory.
type body struct {
	io.ReadCloser
	// promised is the Content-Length, -1 if there is none.
	promised int64
	// complete clears the deadline: net/http keeps reading to notice when the client disconnects.
	complete func()

	received bool
	whole    []byte
	read     int
	err      error // io.EOF if the body is complete
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if !b.received {
		return b.readOn(p)
	}
	if b.read < len(b.whole) {
		n := copy(p, b.whole[b.read:])
		b.read += n
		return n, nil
	}
	return 0, b.err
}

func (b *body) readOn(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.complete != nil {
		b.complete()
	}
	return n, err
}

func (b *body) receive(caller Caller, limit int64) error {
	if !b.received {
		b.whole, b.err = b.readAll(caller, limit)
		b.received = true
	}
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// readAll charges the pool for its buffer, which grows with the bytes received and not with the Content-Length.
func (b *body) readAll(caller Caller, limit int64) (whole []byte, err error) {
	taken := int64(0)
	defer func() { receiving.Return(caller, taken) }()
	for {
		if len(whole) == cap(whole) {
			size := b.grown(int64(cap(whole)), limit)
			if !receiving.Take(caller, requestBytes+size-taken) {
				return nil, ErrBusy
			}
			taken = requestBytes + size
			whole = append(make([]byte, 0, size), whole...)
		}
		n, err := b.readOn(whole[len(whole):cap(whole)])
		whole = whole[:len(whole)+n]
		switch {
		case limit > 0 && int64(len(whole)) > limit:
			return whole[:limit], &http.MaxBytesError{Limit: limit}
		case errors.Is(err, io.EOF):
			return whole, err
		case err != nil:
			return nil, err
		}
	}
}

// grown returns the next size of a buffer, with one spare byte so that EOF is read without growing again.
func (b *body) grown(size, limit int64) int64 {
	next := max(firstBytes, 2*size)
	if limit > 0 {
		next = min(next, limit+1)
	}
	if b.promised > 0 {
		next = min(next, b.promised+1)
	}
	return max(next, size+1)
}

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
