// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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

// A request with a body has a deadline until the body is complete, and not longer: net/http reads on while the handler works, and
// would take the passing of the deadline for a client that went away.
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
