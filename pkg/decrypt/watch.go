// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
)

const (
	// watchCheck is how often a stream checks the credentials and permissions of its caller. A heartbeat follows.
	watchCheck = 30 * time.Second
	// watchLife is the shortest life of a stream, and half of the longest: so clients spread over the servers.
	watchLife = 30 * time.Minute
)

// Identify authenticates the caller of a stream again. Its error ends the stream.
type Identify func() (user.Info, error)

// Watch sends an event for each name, and another for each change of what the caller can open. No value is read.
//
// It returns nil when the client should come again, at the end of its life or because the client is gone, and otherwise
// a *connect.Error. The names that a caller may not decrypt are, as in Decrypt, no secret to a caller that may decrypt
// none: that is an error.
func (s *Service) Watch(
	ctx context.Context, r Request, identify Identify, send func(*secretwatchv1.WatchEvent) error,
) error {
	if err := r.normalise(); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	w := &watching{Service: s, caller: newCaller(r.User, r.Namespace), names: r.Names, send: send}
	started := time.Now()
	// Before anything is looked up.
	granted, err := w.authorize(ctx, w.caller, r.Names)
	if err != nil {
		return unavailableUnlessGone(ctx, err, authorizerDown, textAuthorizerDown)
	}
	if err := s.recordWatch(ctx, &r, &granted); err != nil {
		return err
	}
	feed, known, err := s.changes.subscribe(ctx, r.Namespace, r.Names)
	if err != nil {
		return unavailableUnlessGone(ctx, err, "Could not begin a stream of changes",
			"storage unavailable; retry later")
	}
	defer s.changes.unsubscribe(feed)
	w.known = known
	if err := w.begin(ctx, &granted, started); err != nil {
		return err
	}
	return w.follow(ctx, feed, identify)
}

// recordWatch writes the one audit record of a stream, and refuses a caller that may decrypt none of the names.
func (s *Service) recordWatch(ctx context.Context, r *Request, granted *grants) error {
	refused, ok := outcome{}, false
	for _, name := range r.Names {
		if refused, ok = granted.refusal(name); ok {
			refused = released
			break
		}
	}
	record := audit.Record{
		AuditID: r.AuditID, User: r.User.GetName(), UserUID: r.User.GetUID(), Source: r.Source, Namespace: r.Namespace,
		Name: strings.Join(r.Names, ","), Watch: true, Decision: refused.decision(), Reason: refused.reason,
	}
	if err := s.recorder.Record(ctx, record); err != nil {
		return unavailableUnlessGone(ctx, err, "The decrypt audit log cannot be written: no stream begins",
			"the decrypt audit log cannot be written; retry later, or ask the operator")
	}
	if refused != released {
		return connect.NewError(refused.code, errors.New(refused.message))
	}
	return nil
}

// watching is one stream.
type watching struct {
	*Service
	caller caller
	names  []string
	send   func(*secretwatchv1.WatchEvent) error

	// known are the states of the names, sent those that the caller was told.
	known, sent map[string]state
}

// begin tells all names.
func (w *watching) begin(ctx context.Context, granted *grants, started time.Time) error {
	visible, _, err := w.visibleBy(ctx, w.names, granted)
	if err != nil {
		return err
	}
	if err := w.keepPace(ctx, started, len(visible) < len(w.names)); err != nil {
		return err
	}
	w.sent = visible
	for _, name := range w.names {
		if err := w.tell(name, visible[name]); err != nil {
			return err
		}
	}
	return nil
}

func (w *watching) follow(ctx context.Context, feed *feed, identify Identify) error {
	check, life := time.NewTicker(watchCheck), time.NewTimer(wait.Jitter(watchLife, 1))
	defer check.Stop()
	defer life.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return callerGone(ctx)
		case <-life.C:
			return nil
		case <-feed.lost: // or the server stops
			return unavailable(errNotFollowing.Error() + "; call again")
		case <-feed.woken:
			_, err = w.update(ctx, feed.take(w.known))
		case <-check.C:
			err = w.check(ctx, identify)
		}
		if err != nil {
			return err
		}
	}
}

// check ends the stream of a caller whose credentials or permissions are withdrawn.
func (w *watching) check(ctx context.Context, identify Identify) error {
	who, err := identify()
	if err != nil {
		return err
	}
	w.caller = newCaller(who, w.caller.namespace)
	allowed, err := w.update(ctx, w.names)
	switch {
	case err != nil:
		return err
	case !allowed:
		return connect.NewError(notAuthorized.code, errors.New(notAuthorized.message))
	}
	return w.send(&secretwatchv1.WatchEvent{})
}

// update tells what changed of some names. allowed is false if the caller may decrypt none of them.
func (w *watching) update(ctx context.Context, names []string) (allowed bool, err error) {
	visible, allowed, err := w.visible(ctx, names)
	if err != nil {
		return allowed, err
	}
	for _, name := range names {
		now := visible[name]
		if now.same(w.sent[name]) {
			continue
		}
		if w.sent[name] = now; now.version == 0 {
			delete(w.sent, name)
		}
		if err := w.tell(name, now); err != nil {
			return allowed, err
		}
	}
	return allowed, nil
}

func (w *watching) tell(name string, now state) error {
	return w.send(&secretwatchv1.WatchEvent{Name: name, Version: now.version, Uid: string(now.uid)})
}

// visible is visibleBy the permissions of now.
func (w *watching) visible(ctx context.Context, names []string) (open map[string]state, allowed bool, err error) {
	granted, err := w.authorize(ctx, w.caller, names)
	if err != nil {
		return nil, false, unavailableUnlessGone(ctx, err, authorizerDown, textAuthorizerDown)
	}
	return w.visibleBy(ctx, names, &granted)
}

// visibleBy returns the states of those names that the caller can open. allowed is false if it may decrypt none.
func (w *watching) visibleBy(
	ctx context.Context, names []string, granted *grants,
) (open map[string]state, allowed bool, err error) {
	if w.access.any {
		decrypters := sets.New[string]()
		for _, name := range names {
			decrypters.Insert(w.known[name].decrypters...)
		}
		if granted.use, err = w.access.mayUse(ctx, w.caller, sets.List(decrypters)); err != nil {
			return nil, false, unavailableUnlessGone(ctx, err, authorizerDown, textAuthorizerDown)
		}
	}
	open = map[string]state{}
	for _, name := range names {
		if _, ok := granted.refusal(name); !ok {
			continue
		}
		allowed = true
		if now := w.known[name]; slices.ContainsFunc(now.decrypters, granted.use.Has) {
			open[name] = now
		}
	}
	return open, allowed, nil
}
