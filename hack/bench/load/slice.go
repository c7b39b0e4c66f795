// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/wire"
)

// Slice is one stretch of load on one server.
type Slice struct {
	Address string
	TLS     *tls.Config

	Kind      Kind
	Encoding  Encoding
	Gzip      bool // ask for compressed responses, as client-go does
	Namespace string
	Op        Op
	// Size is that of values in bytes.
	Size int
	// Names are the objects: those to choose from, and for Delete those to delete, each once.
	Names []string
	// Prefix starts the names of Create; no two slices of a namespace may share one.
	Prefix string
	// Clients is how many connections there are, each with one request at a time.
	Clients int
	// For is how long requests are started. The slice ends when the last one has ended.
	For time.Duration
	// Limit ends the slice after that many requests; 0 sets no limit. Delete has that of Names.
	Limit int64
	// Rate is how many requests are due each second: an open loop. 0 is a closed loop: the next when one has ended.
	Rate float64
	// Progress is called with the number of requests that have ended, from many goroutines; nil is not.
	Progress func(done int64)
}

// Outcome is what came of a slice.
type Outcome struct {
	*measure.Recorder
	// Elapsed is from the first request to the end of the last one.
	Elapsed time.Duration
	// Sent and Received are bytes on the wire, those of connecting left out.
	Sent, Received int64
	// Made are the names that Create has made, or may have made: those with no response are among them.
	Made []string
}

// Run does what the slice says. An error means that it could not start.
func (s *Slice) Run(ctx context.Context) (*Outcome, error) {
	clients := make([]*client, s.Clients)
	for i := range clients {
		connection, err := wire.Dial(ctx, s.Address, s.TLS)
		if err != nil {
			return nil, fmt.Errorf("client %d: %w", i, err)
		}
		clients[i] = newClient(s, connection)
	}
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	if s.Op == Delete {
		s.Limit = int64(len(s.Names))
	}
	schedule := &schedule{start: time.Now(), length: s.For, limit: s.Limit}
	if s.Rate > 0 {
		schedule.interval = time.Duration(float64(time.Second) / s.Rate)
	}
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() { c.run(ctx, schedule) })
	}
	group.Wait()
	outcome := &Outcome{Recorder: measure.NewRecorder(), Elapsed: time.Since(schedule.start)}
	for _, c := range clients {
		outcome.Merge(c.recorder)
		sent, received := c.bytes()
		outcome.Sent, outcome.Received = outcome.Sent+sent, outcome.Received+received
		outcome.Made = append(outcome.Made, c.made...)
	}
	return outcome, ctx.Err()
}

func (s *Slice) newName(number int64) string { return fmt.Sprintf("%s-%07d", s.Prefix, number) }

// schedule hands out the requests of a slice.
type schedule struct {
	start    time.Time
	length   time.Duration
	limit    int64
	interval time.Duration // between two requests of an open loop; 0 in a closed one
	taken    atomic.Int64
	done     atomic.Int64
}

// take returns the number of the next request and when it is due. ok is false at the end of the slice: by time in a
// closed loop, by due time in an open one, so that a server that is too slow is not spared the requests that were due.
func (s *schedule) take() (number int64, due time.Time, ok bool) {
	number = s.taken.Add(1) - 1
	if s.limit > 0 && number >= s.limit {
		return number, due, false
	}
	if s.interval > 0 {
		due = s.start.Add(time.Duration(number) * s.interval)
		return number, due, s.length == 0 || due.Sub(s.start) < s.length
	}
	due = time.Now()
	return number, due, s.length == 0 || due.Sub(s.start) < s.length
}

// redialPause keeps a client whose server is away from counting failures as fast as it can.
const redialPause = 10 * time.Millisecond

// client is one connection with one request at a time.
type client struct {
	slice    *Slice
	requests requests
	recorder *measure.Recorder
	made     []string

	connection               *wire.Conn
	sentBefore, readBefore   int64 // by connecting
	sentEarlier, readEarlier int64 // by connections that broke
}

func newClient(s *Slice, connection *wire.Conn) *client {
	c := &client{slice: s, requests: requests{slice: s, random: newRandom()}, recorder: measure.NewRecorder()}
	c.use(connection)
	return c
}

func (c *client) use(connection *wire.Conn) {
	c.connection = connection
	c.sentBefore, c.readBefore = connection.Bytes()
}

// run works until the schedule ends.
func (c *client) run(ctx context.Context, schedule *schedule) {
	for ctx.Err() == nil {
		number, due, ok := schedule.take()
		if !ok {
			return
		}
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		request, name := c.requests.next(number)
		status, err := c.do(ctx, request)
		c.recorder.Add(time.Since(due), status, err)
		if c.slice.Op == Create && (status == http.StatusCreated || err != nil) {
			c.made = append(c.made, name)
		}
		if done := schedule.done.Add(1); c.slice.Progress != nil {
			c.slice.Progress(done)
		}
	}
}

// do connects again when the connection is broken, and sends the request once.
func (c *client) do(ctx context.Context, request wire.Request) (int, error) {
	if c.connection.Broken() != nil {
		connection, err := wire.Dial(ctx, c.slice.Address, c.slice.TLS)
		if err != nil {
			time.Sleep(redialPause)
			return 0, err
		}
		c.sentEarlier, c.readEarlier = c.bytes()
		c.use(connection)
	}
	return c.connection.Do(request, nil)
}

// bytes are those of requests and responses so far.
func (c *client) bytes() (sent, received int64) {
	sent, received = c.connection.Bytes()
	return c.sentEarlier + sent - c.sentBefore, c.readEarlier + received - c.readBefore
}

func (c *client) close() { _ = c.connection.Close() }
