// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// Event is one event of a watch.
type Event struct {
	Type            string `json:"type"`
	Name            string `json:"name"`
	ResourceVersion int64  `json:"resourceVersion"`
	Op              string `json:"op"`
}

// Segment is what a watch saw without a gap: everything behind From.
type Segment struct {
	Server int     `json:"server"`
	From   int64   `json:"from"`
	Events []Event `json:"events"`
}

// watcher watches through one server, goes on where it was when the connection ends, and lists again after 410.
type watcher struct {
	server  int
	env     *environment
	history *History

	mu       sync.Mutex
	segments []Segment
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		from, ok := w.list(ctx)
		if ok {
			w.mu.Lock()
			w.segments = append(w.segments, Segment{Server: w.server, From: from})
			w.mu.Unlock()
			for ctx.Err() == nil && w.watch(ctx) {
				wait(ctx, 20*time.Millisecond)
			}
		}
		wait(ctx, 50*time.Millisecond)
	}
}

// last is the revision that the watch has come to.
func (w *watcher) last() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.segments) == 0 {
		return 0
	}
	segment := w.segments[len(w.segments)-1]
	if len(segment.Events) == 0 {
		return segment.From
	}
	return segment.Events[len(segment.Events)-1].ResourceVersion
}

func (w *watcher) request(ctx context.Context, query string) (*http.Response, error) {
	s := w.env.servers[w.server].get()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+harness.Collection(namespace)+query, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	return s.HTTPClient().Do(request)
}

func (w *watcher) list(ctx context.Context) (int64, bool) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	response, err := w.request(ctx, "?limit=1")
	if err != nil {
		return 0, false
	}
	defer func() { _ = response.Body.Close() }()
	var list object
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&list) != nil {
		return 0, false
	}
	from, err := strconv.ParseInt(list.Metadata.ResourceVersion, 10, 64)
	return from, err == nil
}

// watchTime ends a watch of a server that was killed while it was stopped, say. The next one goes on from there.
const watchTime = 15 * time.Second

// watch reads one stream, and reports false when its revision is gone.
func (w *watcher) watch(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	response, err := w.request(ctx, fmt.Sprintf("?watch=true&resourceVersion=%d", w.last()))
	if err != nil {
		return true
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode != http.StatusGone
	}
	decoder := json.NewDecoder(response.Body)
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if decoder.Decode(&event) != nil {
			return true
		}
		if strings.Contains(string(event.Object), canaryMark) {
			w.history.complain("an event of a watch holds a value")
		}
		if event.Type == "ERROR" {
			return !strings.Contains(string(event.Object), `"code":410`)
		}
		w.take(event.Type, event.Object)
	}
}

func (w *watcher) take(kind string, raw json.RawMessage) {
	var obj object
	if err := json.Unmarshal(raw, &obj); err != nil {
		w.history.complain("an event of a watch holds no object")
		return
	}
	out := obj.output()
	w.mu.Lock()
	defer w.mu.Unlock()
	segment := &w.segments[len(w.segments)-1]
	segment.Events = append(segment.Events, Event{kind, obj.Metadata.Name, out.ResourceVersion, out.Op})
}
