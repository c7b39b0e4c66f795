// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// BodyTimeout is how long the body of a request may take, from when its header was read. Without it a client that sends one byte
	// a minute would keep what it sent in memory, and a stranger its connection for good, because net/http waits for the body of a
	// request that is answered.
	BodyTimeout = 5 * time.Second
	// MaxReceivingBytes bounds the bodies that are being received, on both ports together. One caller has a quarter of it at most.
	MaxReceivingBytes = 64 << 20
	// requestBytes is what each of them is charged beside its buffer: about what a request takes that waits. So one caller has at most
	// 512 requests whose bodies did not come, however little it sent, over whatever number of connections and streams.
	requestBytes = 32 << 10
	// firstBytes is the size of the first buffer at most, however much the header promises.
	firstBytes = 4 << 10
)

// receiving is of the process, as its memory is.
var receiving = NewPool("bodies", MaxReceivingBytes)

// WithTimeouts ends requests whose clients stand still: whose body does not come within BodyTimeout, or who take nothing of their
// answer for WriteTimeout; over HTTP/1.1 the latter is the part of NewListener. It belongs outside of everything that answers,
// authentication too, and lets Receive find the body of a request.
func WithTimeouts(handler http.Handler) http.Handler {
	return withStreamTimeout(withBodyTimeout(handler))
}

// withBodyTimeout lets every read of a body that is not there after BodyTimeout fail with os.ErrDeadlineExceeded. Over HTTP/1.1 the
// library then ends the connection, at times before the answer is written. A connection that knows no deadline, as in a test,
// has none.
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

// Receive reads the body of a request that came through WithTimeouts, at most limit bytes of it if limit is positive. It belongs
// before the request takes a place: a body that does not come must not keep one from others. Afterwards the body of the request
// reads the same bytes from memory, and then fails with what Receive returned:
//
//   - inflight.ErrBusy if there is no memory for it: the caller holds its share of MaxReceivingBytes,
//   - os.ErrDeadlineExceeded if it did not come within BodyTimeout,
//   - *http.MaxBytesError if it is longer than limit,
//   - any other error of the connection.
//
// Nil: all of it is there, or the request has no body. A second call returns what the first did.
func Receive(ctx context.Context, caller Caller, limit int64) error {
	b, ok := ctx.Value(bodyKey{}).(*body)
	if !ok {
		return nil
	}
	return b.receive(caller, limit)
}

// body is what the connection has of a body until receive is called, then what it read.
type body struct {
	io.ReadCloser
	// promised is the length that the header says, -1 if it says none.
	promised int64
	// complete lifts the deadline: net/http goes on reading, to learn whether the client went away.
	complete func()

	received bool
	whole    []byte
	read     int
	err      error // what ended it; io.EOF if nothing is missing
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

// readAll takes as much of the pool as its buffer has, and the buffer grows by what came and not by what was promised.
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

// grown is the next size of a buffer: one more than is needed, so that the end is read without growing again.
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
