// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// probeTries is how many values a probe asks about before it gives up: some may be gone meanwhile.
const probeTries = 3

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// prober asks for the write key now and then, and queues what is stale. It is a Runnable of the manager.
type prober struct {
	*reconciler
	interval time.Duration
	tally    *tally
	queue    atomic.Pointer[queue]

	silent bool // the last probe had no answer
	moving bool // there was something stale
}

// keepQueue is a source that yields nothing: it learns the controller's queue.
func (p *prober) keepQueue(_ context.Context, q queue) error {
	p.queue.Store(&q)
	return nil
}

// NeedLeaderElection makes the probe start with the controller.
func (p *prober) NeedLeaderElection() bool { return true }

// Start runs until ctx ends.
func (p *prober) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, p.turn, p.interval)
	return nil
}

// turn learns the write key and queues every stale value that does not wait for its own turn.
func (p *prober) turn(ctx context.Context) {
	status, ok := p.ask(ctx)
	if !ok {
		return
	}
	before := p.keys.key()
	if p.keys.observe(status.WriteKey) {
		klog.InfoS("The server seals with another key", "key", status.WriteKey, "before", before, "stale", p.tally.stale(status.WriteKey))
		p.failures.clear()
	}
	if key := p.keys.unsettled(); key != "" {
		klog.InfoS("The server names a key that is not believed yet; if this goes on, its replicas read different configurations",
			"key", key, "believed", p.keys.key())
	}
	p.report()
	p.sweep(ctx)
}

// report tells when a rotation begins and ends.
func (p *prober) report() {
	key := p.keys.key()
	if key == "" {
		return
	}
	stale := p.tally.stale(key)
	switch {
	case stale > 0 && !p.moving:
		p.events.started(key, stale)
	case stale == 0 && p.moving:
		klog.InfoS("Every value is sealed under the write key", "key", key)
		p.events.complete(key)
	}
	if p.moving = stale > 0; !p.moving {
		p.metrics.lastComplete.SetToCurrentTime()
	}
}

// ask returns the answer to a dry run on any value. Without a value there is nothing to ask, and nothing to rewrap.
func (p *prober) ask(ctx context.Context) (v1beta1.SecureValueRewrapStatus, bool) {
	var some v1beta1.SecureValueList
	if err := p.cache.List(ctx, &some, client.Limit(probeTries)); err != nil {
		return v1beta1.SecureValueRewrapStatus{}, false // the cache stops with ctx
	}
	var err error
	for i := range some.Items {
		var status v1beta1.SecureValueRewrapStatus
		if status, err = p.server.probe(ctx, client.ObjectKeyFromObject(&some.Items[i])); err == nil {
			p.works()
			p.silent = false
			return status, true
		}
	}
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		p.metrics.probeErrors.Inc()
		if !p.silent {
			klog.ErrorS(err, "The server does not say which key it seals with; asking again", "every", p.interval)
		}
		p.silent = true
	}
	return v1beta1.SecureValueRewrapStatus{}, false
}

// sweep queues stale values. The queue holds each once.
func (p *prober) sweep(ctx context.Context) {
	q := p.queue.Load()
	if q == nil || p.tally.stale(p.keys.key()) == 0 {
		return
	}
	var all v1beta1.SecureValueList
	if err := p.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache stops with ctx
	}
	for i := range all.Items {
		name := client.ObjectKeyFromObject(&all.Items[i])
		if p.stale(&all.Items[i]) && !p.failures.has(name) {
			(*q).Add(reconcile.Request{NamespacedName: name})
		}
	}
}
