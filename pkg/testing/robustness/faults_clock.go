// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/clock"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// farthest is how far a clock jumps at most, to either side.
const farthest = 72 * time.Hour

// clockFaults need a server that is built for them: see package clock.
var clockFaults = []fault{
	{"jump the clock of a server", func(t *testing.T, e *environment, random *rand.Rand) injection {
		r := e.servers[random.IntN(replicas)]
		offset := time.Duration(random.Int64N(int64(2*farthest))) - farthest
		offset = offset.Truncate(time.Second)
		if offset.Abs() < time.Minute {
			offset = time.Minute // so that it shows
		}
		r.shifts = append(r.shifts, offset)
		r.clock.Jump(t, offset)
		return injection{
			effect: func() bool { return (time.Until(wallClock(t.Context(), r.get())) - offset).Abs() < offset.Abs()/2 },
			heal:   func() { r.clock.Jump(t, 0) },
		}
	}},
}

// wallClock is the time that a server gives its answers.
func wallClock(ctx context.Context, s *harness.Server) (now time.Time) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/livez", http.NoBody)
	if err != nil {
		return time.Time{}
	}
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		return time.Time{}
	}
	_ = response.Body.Close()
	now, _ = http.ParseTime(response.Header.Get("Date"))
	return now
}

// withClocks gives each server its own clock, which jumps.
func (e *environment) withClocks(t testing.TB) {
	t.Helper()
	program := clock.Server(t)
	for _, r := range e.servers {
		r.clock = clock.New(t)
		r.options.Program, r.options.Env = program, []string{r.clock.Env()}
	}
}

// shifts are how far the clock of each server was off.
func (e *environment) shifts() (all [replicas][]time.Duration) {
	for i, r := range e.servers {
		all[i] = r.shifts
	}
	return all
}
