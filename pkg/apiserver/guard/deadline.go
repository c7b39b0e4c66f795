// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"io"
	"net/http"
	"time"
)

// BodyTimeout is how long the body of a request may take, from when its header was read. A request in flight is one of
// --max-mutating-requests-inflight, so a client that sends one byte a minute would otherwise keep a place from the others for as
// long as --request-timeout; and a stranger could keep a connection for good, because net/http waits for the body of a request
// that is answered.
const BodyTimeout = 10 * time.Second

// WithTimeouts ends requests whose clients stand still: whose body does not come within BodyTimeout, or who take nothing of their
// answer for WriteTimeout; over HTTP/1.1 the latter is the part of NewListener. It belongs outside of everything that answers,
// authentication too.
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
		if controller.SetReadDeadline(time.Now().Add(BodyTimeout)) != nil {
			handler.ServeHTTP(w, r)
			return
		}
		timed := r.WithContext(r.Context())
		timed.Body = &timedBody{ReadCloser: r.Body, lift: func() { _ = controller.SetReadDeadline(time.Time{}) }}
		handler.ServeHTTP(w, timed)
	})
}

// timedBody lifts the deadline once the body is complete: net/http goes on reading, to learn whether the client went away.
type timedBody struct {
	io.ReadCloser
	lift func()
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.lift()
	}
	return n, err
}
