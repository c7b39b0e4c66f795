// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// probeTries is the number of values that a probe tries: some may be gone meanwhile.
const probeTries = 3

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// prober asks for the write key at an interval and queues stale values. It is a Runnable of the manager.
type prober struct {
	*reconciler
	interval time.Duration
	tally    *tally
	queue    atomic.Pointer[queue]

	silent bool // the last probe had no answer
	moving bool // there were stale values
}

// keepQueue is a source without events: it keeps the controller's queue.
func (p *prober) keepQueue(_ context.Context, q queue) error {
	p.queue.Store(&q)
	return nil
}

// NeedLeaderElection starts the probe with the controller.
func (p *prober) NeedLeaderElection() bool { return true }

// Start runs until ctx ends.
func (p *prober) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, p.turn, p.interval)
	return nil
}

// turn asks for the write key and queues every stale value that has no backoff.
func (p *prober) turn(ctx context.Context) {
	status, ok := p.ask(ctx)
	if !ok {
		return
	}
	before := p.keys.key()
	if p.keys.observe(status.WriteKey) {
		klog.InfoS("The write key has changed", "key", status.WriteKey, "before", before,
			"stale", p.tally.stale(status.WriteKey))
		p.failures.clear()
	}
	if key := p.keys.unsettled(); key != "" {
		klog.InfoS("The server has a new write key, which has to settle; if this persists, its replicas have "+
			"different configurations",
			"key", key, "current", p.keys.key())
	}
	p.report()
	p.sweep(ctx)
}

// report sends the events about the start and the end of a rotation.
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
		klog.InfoS("All values are encrypted with the write key", "key", key)
		p.events.complete(key)
	}
	if p.moving = stale > 0; !p.moving {
		p.metrics.lastComplete.SetToCurrentTime()
	}
}

// ask returns the status of a dry run on any value. Without values there is nothing to rewrap.
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
			klog.ErrorS(err, "Could not get the write key of the server; retrying", "every", p.interval)
		}
		p.silent = true
	}
	return v1beta1.SecureValueRewrapStatus{}, false
}

// sweep queues stale values. The queue contains each once.
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

// events are the Events in a cluster. A standalone server has none, and a nil recorder.
type events struct {
	recorder recorder.EventRecorder
}

// apiService is the object of events about a whole rotation: the values have no other object in common.
var apiService = &corev1.ObjectReference{
	APIVersion: "apiregistration.k8s.io/v1", Kind: "APIService",
	Name: v1beta1.SchemeGroupVersion.Version + "." + v1beta1.GroupName,
}

const action = "Rewrap"

func (e events) failed(sv *v1beta1.SecureValue, err error) {
	if e.recorder != nil {
		e.recorder.Eventf(sv, nil, corev1.EventTypeWarning, "RewrapFailed", action,
			"sealed under key %s, cannot be moved to another: %v", sv.Status.Key, err)
	}
}

func (e events) started(writeKey string, stale int) {
	if e.recorder != nil {
		e.recorder.Eventf(apiService, nil, corev1.EventTypeNormal, "KeyRotationStarted", action,
			"moving %d values to key %s", stale, writeKey)
	}
}

func (e events) complete(writeKey string) {
	if e.recorder != nil {
		e.recorder.Eventf(apiService, nil, corev1.EventTypeNormal, "KeyRotationComplete", action,
			"every value is sealed under key %s; prove it with: secret-apiserver keys report", writeKey)
	}
}
