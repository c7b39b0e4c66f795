// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// Metadata is the storage of the API port, whose objects have no value. *sealed.RESTOptionsGetter is one.
type Metadata interface {
	// Follow streams the changes of all secure values after a revision, which it returns.
	Follow(ctx context.Context) (events watch.Interface, since uint64, err error)
	// Lookup returns a secure value as it was at a revision or is now, and nil if there is none.
	Lookup(ctx context.Context, namespace, name string, since uint64) (*secret.SecureValue, error)
}

// state is what a stream tells about a name. Without a version there is nothing to open: the secure value does not
// exist or is deleted.
type state struct {
	revision   uint64
	uid        types.UID
	version    int64
	decrypters []string
}

func stateOf(sv *secret.SecureValue) state {
	revision, _ := strconv.ParseUint(sv.ResourceVersion, 10, 64) // the store sets it
	if sv.DeletionTimestamp != nil {
		return state{revision: revision}
	}
	return state{revision, sv.UID, sv.Status.Version, sv.Spec.Decrypters}
}

// same reports whether two states are the same for a caller.
func (s state) same(other state) bool {
	return s.uid == other.uid && s.version == other.version && slices.Equal(s.decrypters, other.decrypters)
}

// Changes follows all secure values by one watch in this process, and tells each feed about the names that it is for.
//
// When that watch ends, every feed is lost: its stream ends, and the client that comes again gets what is in force.
type Changes struct {
	metadata Metadata

	mu    sync.Mutex
	since uint64 // where the watch began; 0 while there is none
	feeds map[types.NamespacedName]map[*feed]struct{}
}

// NewChanges returns Changes that follow nothing before Run.
func NewChanges(metadata Metadata) *Changes { return &Changes{metadata: metadata} }

// Run follows until ctx ends. A watch that ended is started again after a second.
func (c *Changes) Run(ctx context.Context) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		err := c.follow(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case apierrors.IsTooManyRequests(err): // the watch cache is not filled yet, as at every start
			klog.V(2).InfoS("Waiting for the watch cache before following the changes of secure values")
		default:
			klog.ErrorS(err, "Could not follow the changes of secure values: streams on the decrypt port end")
		}
	}, time.Second)
}

// follow runs one watch to its end. Upstream's watch cache ends it when etcd was unavailable.
func (c *Changes) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, since, err := c.metadata.Follow(ctx)
	if err != nil {
		return err
	}
	defer events.Stop()
	c.mu.Lock()
	c.since, c.feeds = since, map[types.NamespacedName]map[*feed]struct{}{}
	c.mu.Unlock()
	defer c.lose()
	for event := range events.ResultChan() {
		object := event.Object
		if shared, ok := object.(runtime.CacheableObject); ok { // several watches of the API share its encoding
			object = shared.GetObject()
		}
		sv, ok := object.(*secret.SecureValue)
		if !ok {
			return apierrors.FromObject(object)
		}
		now := stateOf(sv)
		if event.Type == watch.Deleted {
			now = state{revision: now.revision}
		}
		c.tell(types.NamespacedName{Namespace: sv.Namespace, Name: sv.Name}, now)
	}
	return nil
}

func (c *Changes) tell(key types.NamespacedName, now state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.feeds[key] {
		f.tell(key.Name, now)
	}
}

// lose ends all feeds: they would miss what happens before the next watch begins.
func (c *Changes) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[*feed]struct{}{}
	for _, feeds := range c.feeds {
		maps.Copy(all, feeds)
	}
	for f := range all {
		close(f.lost)
	}
	c.since, c.feeds = 0, nil
}

// errNotFollowing is returned between two watches.
var errNotFollowing = errors.New("the changes of secure values are not followed at the moment")

// feed collects what became of some names of a namespace. Of several changes of one name it has the last.
type feed struct {
	names []types.NamespacedName
	// woken has an element when there are changes; lost is closed when there will be none.
	woken, lost chan struct{}

	mu      sync.Mutex
	changes map[string]state
}

// subscribe returns a feed, which needs an unsubscribe, and the states with which it begins.
func (c *Changes) subscribe(ctx context.Context, namespace string, names []string) (*feed, map[string]state, error) {
	f := &feed{woken: make(chan struct{}, 1), lost: make(chan struct{}), changes: map[string]state{}}
	for _, name := range names {
		f.names = append(f.names, types.NamespacedName{Namespace: namespace, Name: name})
	}
	since := c.add(f)
	if since == 0 {
		return nil, nil, errNotFollowing
	}
	now := make(map[string]state, len(names))
	for _, name := range names { // after add, so that no change is missed in between
		sv, err := c.metadata.Lookup(ctx, namespace, name, since)
		if err != nil {
			c.unsubscribe(f)
			return nil, nil, err
		}
		if sv != nil {
			now[name] = stateOf(sv)
		}
	}
	return f, now, nil
}

func (c *Changes) add(f *feed) (since uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == 0 {
		return 0
	}
	for _, key := range f.names {
		if c.feeds[key] == nil {
			c.feeds[key] = map[*feed]struct{}{}
		}
		c.feeds[key][f] = struct{}{}
	}
	return c.since
}

func (c *Changes) unsubscribe(f *feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range f.names {
		delete(c.feeds[key], f)
		if len(c.feeds[key]) == 0 {
			delete(c.feeds, key)
		}
	}
}

func (f *feed) tell(name string, now state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes[name] = now
	select {
	case f.woken <- struct{}{}:
	default: // it is awake
	}
}

// take merges the changes into known and returns the names that changed. A change from before known is dropped.
func (f *feed) take(known map[string]state) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var changed []string
	for name, now := range f.changes {
		if now.revision > known[name].revision {
			known[name] = now
			changed = append(changed, name)
		}
	}
	clear(f.changes)
	return changed
}
