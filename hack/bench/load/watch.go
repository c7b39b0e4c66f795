// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/wire"
)

// watchPatience is how long an event may be in flight before it counts as lost.
const watchPatience = 60 * time.Second

// Fanout is a number of watchers of a namespace in which one client sets labels.
type Fanout struct {
	// Slice says where and how; its Op, For, Limit and Rate are not used, its Clients are the watchers.
	Slice Slice
	// Writes is how many labels are set, one after the other.
	Writes int
	// Pause is between two writes; 0 writes as fast as it goes.
	Pause time.Duration
	// Measured is called when all watchers are there and before the first write that counts; nil is not.
	Measured func() error
}

// FanoutOutcome has a latency for each event at each watcher, from before the write was sent. An event that did not
// come is a failure.
type FanoutOutcome struct {
	*measure.Recorder
	// Elapsed is from the first write to the last event, Received the bytes that the watchers got meanwhile.
	Elapsed  time.Duration
	Received int64
}

// Run watches from the current state on.
func (f *Fanout) Run(ctx context.Context) (*FanoutOutcome, error) {
	s := &f.Slice
	stored, err := Count(ctx, s.Address, s.TLS, s.Kind, s.Namespace)
	if err != nil {
		return nil, err
	}
	run := &fanout{Fanout: f, sent: make([]atomic.Int64, f.Writes+1), base: time.Now()}
	defer run.stop()
	path := s.Kind.Collection(s.Namespace) + "?watch=1&resourceVersion=" + stored.ResourceVersion
	if err := run.watch(ctx, path); err != nil {
		return nil, err
	}
	if err := run.write(ctx, 0); err != nil { // shows that every watcher is there
		return nil, err
	}
	if !run.await(ctx, int64(s.Clients)) {
		return nil, fmt.Errorf("of %d watchers only %d got the first event", s.Clients, run.events.Load())
	}
	if f.Measured != nil {
		if err := f.Measured(); err != nil {
			return nil, err
		}
	}
	return run.measure(ctx)
}

type fanout struct {
	*Fanout

	base     time.Time
	sent     []atomic.Int64 // when write N was sent, since base; set before the event of it can come
	watchers []*watcher
	writer   *wire.Conn
	events   atomic.Int64
	last     atomic.Int64 // when the last event came, since base
	group    sync.WaitGroup
	requests requests
}

// watcher counts the events on a connection. The events of a watch come in the order of the writes.
type watcher struct {
	run        *fanout
	connection *wire.Conn
	recorder   *measure.Recorder
	split      splitter
	seen       int
	mutex      sync.Mutex
}

func (r *fanout) watch(ctx context.Context, path string) (err error) {
	s := &r.Slice
	s.Op = Patch
	r.requests = requests{slice: s, random: newRandom()}
	if r.writer, err = wire.Dial(ctx, s.Address, s.TLS); err != nil {
		return err
	}
	for i := range s.Clients {
		connection, err := wire.Dial(ctx, s.Address, s.TLS)
		if err != nil {
			return fmt.Errorf("watcher %d: %w", i, err)
		}
		w := &watcher{run: r, connection: connection, recorder: measure.NewRecorder(), split: splitter{encoding: s.Encoding}}
		w.split.event = w.event
		r.watchers = append(r.watchers, w)
		r.group.Go(func() {
			// Ends by stop; what did not come by then is counted by those that wait.
			_, _ = connection.Watch(wire.Request{Method: http.MethodGet, Path: path, Accept: s.Encoding.accept()}, w.split.write)
		})
	}
	return nil
}

func (r *fanout) write(ctx context.Context, number int) error {
	request, _ := r.requests.next(int64(number))
	r.sent[number].Store(int64(time.Since(r.base)))
	status, err := r.writer.Do(request, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("write %d was answered %d", number, status)
	}
	return errors.Join(err, ctx.Err())
}

func (r *fanout) measure(ctx context.Context) (*FanoutOutcome, error) {
	before := r.received()
	start := time.Since(r.base)
	for number := 1; number <= r.Writes; number++ {
		if err := r.write(ctx, number); err != nil {
			return nil, err
		}
		if r.Pause > 0 {
			time.Sleep(r.Pause)
		}
	}
	want := int64((r.Writes + 1) * len(r.watchers))
	r.await(ctx, want)
	outcome := &FanoutOutcome{
		Recorder: measure.NewRecorder(), Elapsed: time.Duration(r.last.Load()) - start, Received: r.received() - before,
	}
	for _, w := range r.watchers {
		w.mutex.Lock()
		outcome.Merge(w.recorder)
		w.mutex.Unlock()
	}
	for range int64(r.Writes*len(r.watchers)) - outcome.Total() {
		outcome.Add(watchPatience, 0, nil)
	}
	return outcome, ctx.Err()
}

// await waits until as many events came in all, and gives up when none came for long.
func (r *fanout) await(ctx context.Context, want int64) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for seen, since := int64(0), time.Now(); ; {
		now := r.events.Load()
		if now >= want {
			return true
		}
		if now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) > watchPatience || ctx.Err() != nil {
			return false
		}
		<-tick.C
	}
}

func (r *fanout) received() (n int64) {
	for _, w := range r.watchers {
		_, received := w.connection.Bytes()
		n += received
	}
	return n
}

func (r *fanout) stop() {
	for _, w := range r.watchers {
		w.connection.Interrupt()
	}
	r.group.Wait()
	for _, w := range r.watchers {
		_ = w.connection.Close()
	}
	if r.writer != nil {
		_ = r.writer.Close()
	}
}

// event is called for each event; the first one is not measured.
func (w *watcher) event() {
	now := time.Since(w.run.base)
	if w.seen > 0 && w.seen < len(w.run.sent) {
		w.mutex.Lock()
		w.recorder.Add(now-time.Duration(w.run.sent[w.seen].Load()), http.StatusOK, nil)
		w.mutex.Unlock()
	}
	w.seen++
	w.run.last.Store(int64(now))
	w.run.events.Add(1)
}

// splitter finds the ends of events in a stream: JSON is a line each, protobuf has a length of four bytes before each.
type splitter struct {
	encoding Encoding
	event    func()
	head     []byte
	left     uint32
}

func (s *splitter) write(part []byte) {
	if s.encoding == JSON {
		for _, b := range part {
			if b == '\n' {
				s.event()
			}
		}
		return
	}
	for len(part) > 0 {
		if s.left == 0 {
			n := min(len(part), 4-len(s.head))
			s.head, part = append(s.head, part[:n]...), part[n:]
			if len(s.head) < 4 {
				return
			}
			s.left, s.head = binary.BigEndian.Uint32(s.head), s.head[:0]
			continue
		}
		n := min(len(part), int(s.left))
		part, s.left = part[n:], s.left-uint32(n) //nolint:gosec // n is at most left
		if s.left == 0 {
			s.event()
		}
	}
}

// Stored is what a server says of a collection.
type Stored struct {
	Objects         int64
	ResourceVersion string
}

// Count asks a server how many objects it has in a namespace, apart from what this program counted.
func Count(ctx context.Context, address string, config *tls.Config, kind Kind, namespace string) (Stored, error) {
	connection, err := wire.Dial(ctx, address, config)
	if err != nil {
		return Stored{}, err
	}
	defer func() { _ = connection.Close() }()
	body, err := connection.Fetch(kind.Collection(namespace) + "?limit=1")
	if err != nil {
		return Stored{}, err
	}
	var list struct {
		Metadata struct {
			ResourceVersion    string `json:"resourceVersion"`
			RemainingItemCount int64  `json:"remainingItemCount"`
		} `json:"metadata"`
		Items []struct{} `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return Stored{}, fmt.Errorf("list of %s in %s: %w", kind, namespace, err)
	}
	return Stored{
		Objects: int64(len(list.Items)) + list.Metadata.RemainingItemCount, ResourceVersion: list.Metadata.ResourceVersion,
	}, nil
}
