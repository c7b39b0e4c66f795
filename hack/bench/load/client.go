// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"net/http"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/wire"
)

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
