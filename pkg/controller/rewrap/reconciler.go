// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// reconciler moves one stale value at a time to the write key.
type reconciler struct {
	cache    client.Reader
	server   *server
	keys     *keyTracker
	failures *failures
	gate     *gate
	limiter  *rate.Limiter
	metrics  *metrics
	events   events
	// otherKey is how long a value waits that was answered by a replica with another write key.
	otherKey time.Duration
}

var _ reconcile.Reconciler = (*reconciler)(nil)

// stale reports whether another key than the write key seals a value; false while the write key is not known, and for a
// deleted object without a ciphertext. What an older version of the server left of one is dropped by the rewrap.
func (r *reconciler) stale(obj client.Object) bool {
	sv, ok := obj.(*v1beta1.SecureValue)
	key := r.keys.key()
	return ok && key != "" && sv.Status.Key != key && !emptied(sv)
}

// emptied reports whether an object is deleted, and its ciphertext gone: it only waits for its finalizers.
func emptied(sv *v1beta1.SecureValue) bool { return sv.DeletionTimestamp != nil && sv.Status.Key == "" }

// Reconcile rewraps the value if it is stale. It never returns an error of the server: what fails is tried again after a
// time of its own.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if err := r.gate.wait(ctx); err != nil {
		return reconcile.Result{}, nil //nolint:nilerr // the controller stops
	}
	sv := &v1beta1.SecureValue{}
	if err := r.cache.Get(ctx, request.NamespacedName, sv); err != nil {
		r.failures.forget(request.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !r.stale(sv) {
		r.failures.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	if err := r.limiter.Wait(ctx); err != nil {
		return reconcile.Result{}, nil //nolint:nilerr // the controller stops
	}
	status, err := r.server.rewrap(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{RequeueAfter: r.failed(ctx, sv, err)}, nil
	}
	return reconcile.Result{RequeueAfter: r.answered(request.NamespacedName, status)}, nil
}

// answered notes what the server said and returns when to look again, 0 for never.
func (r *reconciler) answered(name types.NamespacedName, status v1beta1.SecureValueRewrapStatus) time.Duration {
	r.works()
	if r.failures.forget(name) {
		klog.InfoS("A value that could not be rewrapped before is", "securevalue", klog.KRef(name.Namespace, name.Name), "key", status.Key)
	}
	switch {
	case status.Key == "": // the object was deleted meanwhile
		r.metrics.count(resultGone)
	case status.Key != r.keys.key():
		// A replica that has not read its configuration yet, or a rotation that has just begun: the probe tells.
		r.metrics.count(resultOtherKey)
		return r.otherKey
	case status.Rewrapped:
		r.metrics.count(resultRewrapped)
	default:
		r.metrics.count(resultUnchanged)
	}
	return 0
}

// failed finds out whose fault an error is, and returns when to try again, 0 for never.
func (r *reconciler) failed(ctx context.Context, sv *v1beta1.SecureValue, err error) time.Duration {
	name := client.ObjectKeyFromObject(sv)
	if ctx.Err() != nil {
		return 0
	}
	if apierrors.IsNotFound(err) {
		r.failures.forget(name)
		r.metrics.count(resultGone)
		return 0
	}
	if !r.answersFor(ctx, name, err) {
		r.metrics.count(resultUnavailable)
		return r.unavailable(err)
	}
	r.works()
	r.metrics.count(resultFailed)
	wait, first := r.failures.note(name)
	klog.ErrorS(err, "Could not rewrap a value; the others go on", "securevalue", klog.KObj(sv), "key", sv.Status.Key, "retryAfter", wait)
	if first {
		r.events.failed(sv, err)
	}
	return wait
}

// answersFor reports whether the server can rewrap at all, so that the fault is this value's. The server answers 503 both
// when the KMS of its write key is unavailable and when that of one value is; only in the latter case does it name its write key.
func (r *reconciler) answersFor(ctx context.Context, name types.NamespacedName, err error) bool {
	if apierrors.IsTooManyRequests(err) || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return false
	}
	_, err = r.server.probe(ctx, name)
	return err == nil || apierrors.IsNotFound(err)
}

// unavailable holds all workers back.
func (r *reconciler) unavailable(err error) time.Duration {
	var asked time.Duration
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		asked = time.Duration(seconds) * time.Second
	}
	pause, first := r.gate.shut(asked)
	if first {
		klog.ErrorS(err, "The server cannot rewrap now; waiting until it can")
	}
	return pause
}

func (r *reconciler) works() {
	if r.gate.open() {
		klog.InfoS("The server can rewrap again")
	}
}
