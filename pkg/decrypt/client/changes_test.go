// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
)

// changes is a stream of changes that a test moves.
type changes struct {
	mu      sync.Mutex
	states  map[string]state
	streams map[*sending]struct{}
	opened  [][]string    // names of each stream that was asked for
	refuse  error         // what they end with, when set
	hold    chan struct{} // when set, streams send nothing before it is closed
}

// sending is an open stream.
type sending struct {
	names  []string
	events chan *secretwatchv1.WatchEvent
	end    chan error
}

// Watch implements the service.
func (c *changes) Watch(
	ctx context.Context, request *connect.Request[secretwatchv1.WatchRequest], stream *connect.ServerStream[secretwatchv1.WatchEvent],
) error {
	names := request.Msg.GetNames()
	c.mu.Lock()
	c.opened = append(c.opened, names)
	if c.refuse != nil {
		defer c.mu.Unlock()
		return c.refuse
	}
	s := &sending{names: names, events: make(chan *secretwatchv1.WatchEvent, 10000), end: make(chan error, 1)}
	for _, name := range names {
		s.events <- c.event(name)
	}
	c.streams[s] = struct{}{}
	hold := c.hold
	c.mu.Unlock()
	defer func() { c.mu.Lock(); defer c.mu.Unlock(); delete(c.streams, s) }()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	for {
		select {
		case event := <-s.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		case err := <-s.end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *changes) event(name string) *secretwatchv1.WatchEvent {
	return &secretwatchv1.WatchEvent{Name: name, Uid: c.states[name].uid, Version: c.states[name].version}
}

// send changes a state and sends it. A version of 0 is a deletion.
func (c *changes) send(name, uid string, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states[name] = state{uid: uid, version: version}
	for s := range c.streams {
		if name == "" || slices.Contains(s.names, name) {
			s.events <- c.event(name)
		}
	}
}

// beat sends a heartbeat.
func (c *changes) beat() { c.send("", "", 0) }

// cut ends all streams.
func (c *changes) cut(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.streams {
		select {
		case s.end <- err:
		default:
		}
	}
}

func (c *changes) state(name string) state {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[name]
}

func (c *changes) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// requests returns the names of each stream that was asked for.
func (c *changes) requests() [][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.opened)
}

// now returns the names of the open streams.
func (c *changes) now() (names [][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.streams {
		names = append(names, s.names)
	}
	return names
}

func (c *changes) lengths() (lengths []int) {
	for _, names := range c.now() {
		lengths = append(lengths, len(names))
	}
	slices.Sort(lengths)
	return lengths
}

// piped is a server in memory, for tests in which time passes only when everything waits.
type piped struct {
	mu      sync.Mutex
	handler http.Handler
}

func (p *piped) serve(handler http.Handler) { p.mu.Lock(); defer p.mu.Unlock(); p.handler = handler }

// Do implements connect.HTTPClient.
func (p *piped) Do(request *http.Request) (*http.Response, error) {
	p.mu.Lock()
	handler := p.handler
	p.mu.Unlock()
	reader, writer := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pipe: writer, began: make(chan int, 1)}
	context.AfterFunc(request.Context(), func() { _ = writer.CloseWithError(request.Context().Err()) })
	go func() {
		handler.ServeHTTP(w, request)
		w.WriteHeader(http.StatusOK)
		_ = writer.Close()
	}()
	var code int
	select {
	case code = <-w.began:
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
	return &http.Response{StatusCode: code, Header: w.header, Body: reader, ProtoMajor: 2, Trailer: http.Header{}, Request: request}, nil
}

type pipeWriter struct {
	header http.Header
	pipe   *io.PipeWriter
	once   sync.Once
	began  chan int
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) Flush()              {}
func (w *pipeWriter) WriteHeader(code int) {
	w.once.Do(func() { w.began <- code })
}

func (w *pipeWriter) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(data)
}
