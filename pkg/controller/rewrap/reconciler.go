// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// reconciler re-encrypts stale values with the write key.
type reconciler struct {
	cache    client.Reader
	server   *server
	keys     *keyTracker
	failures *failures
	gate     *gate
	limiter  *rate.Limiter
	metrics  *metrics
	events   events
	// otherKey is the delay before the next rewrap of a value by a replica that has another write key.
	otherKey time.Duration
}

var _ reconcile.Reconciler = (*reconciler)(nil)

// stale reports whether a value is encrypted with another key than the write key. It is false while the write key is
// not known, and for a deleted object without ciphertext. A ciphertext that an older version left is dropped by the
// rewrap.
func (r *reconciler) stale(obj client.Object) bool {
	sv, ok := obj.(*v1beta1.SecureValue)
	key := r.keys.key()
	return ok && key != "" && sv.Status.Key != key && !emptied(sv)
}

// emptied reports whether an object is deleted without its ciphertext: it only waits for its finalizers.
func emptied(sv *v1beta1.SecureValue) bool { return sv.DeletionTimestamp != nil && sv.Status.Key == "" }

// Reconcile rewraps the value if it is stale. It never returns an error of the server: a failed value has its own
// backoff.
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

// answered records an answer of the server and returns when to reconcile again, 0 for never.
func (r *reconciler) answered(name types.NamespacedName, status v1beta1.SecureValueRewrapStatus) time.Duration {
	r.works()
	if r.failures.forget(name) {
		klog.InfoS("Rewrapped a value that had failed", "securevalue", klog.KRef(name.Namespace, name.Name), "key",
			status.Key)
	}
	switch {
	case status.Key == "": // the object was deleted meanwhile
		r.metrics.count(resultGone)
	case status.Key != r.keys.key():
		// A replica has not read its configuration yet, or a rotation has just started: the probe finds out.
		r.metrics.count(resultOtherKey)
		return r.otherKey
	case status.Rewrapped:
		r.metrics.count(resultRewrapped)
	default:
		r.metrics.count(resultUnchanged)
	}
	return 0
}

// failed records an error of a value or of the server, and returns when to retry, 0 for never.
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
	klog.ErrorS(err, "Could not rewrap a value; others continue", "securevalue", klog.KObj(sv), "key", sv.Status.Key,
		"retryAfter", wait)
	if first {
		r.events.failed(sv, err)
	}
	return wait
}

// answersFor reports whether the server can rewrap other values. It answers 503 both when the KMS of its write key is
// unavailable and when that of one value is; only in the latter case does it name its write key.
func (r *reconciler) answersFor(ctx context.Context, name types.NamespacedName, err error) bool {
	if apierrors.IsTooManyRequests(err) || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return false
	}
	_, err = r.server.probe(ctx, name)
	return err == nil || apierrors.IsNotFound(err)
}

// unavailable stops all workers for the returned time.
func (r *reconciler) unavailable(err error) time.Duration {
	var suggested time.Duration
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		suggested = time.Duration(seconds) * time.Second
	}
	pause, first := r.gate.shut(suggested)
	if first {
		klog.ErrorS(err, "The server cannot rewrap now; waiting")
	}
	return pause
}

func (r *reconciler) works() {
	if r.gate.open() {
		klog.InfoS("The server can rewrap again")
	}
}

// callTimeout limits one request. A KMS plugin may take seconds.
const callTimeout = 30 * time.Second

// server is the subresource securevalues/rewrap.
type server struct {
	client typed.SecureValuesGetter
}

// rewrap re-encrypts a value with the write key.
func (s *server) rewrap(ctx context.Context, name types.NamespacedName) (v1beta1.SecureValueRewrapStatus, error) {
	return s.post(ctx, name, metav1.CreateOptions{})
}

// probe returns the write key and changes nothing. The error for a value that cannot be decrypted names it, too.
func (s *server) probe(ctx context.Context, name types.NamespacedName) (v1beta1.SecureValueRewrapStatus, error) {
	status, err := s.post(ctx, name, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if cause, ok := apierrors.StatusCause(err, secret.CauseWriteKey); ok {
		return v1beta1.SecureValueRewrapStatus{WriteKey: secret.ShowKey(cause.Message)}, nil
	}
	return status, err
}

func (s *server) post(ctx context.Context, name types.NamespacedName,
	options metav1.CreateOptions) (v1beta1.SecureValueRewrapStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.SecureValues(name.Namespace).CreateRewrap(ctx, name.Name, &v1beta1.SecureValueRewrap{},
		options)
	if err != nil {
		return v1beta1.SecureValueRewrapStatus{}, err
	}
	answer.Status.Key, answer.Status.WriteKey = secret.ShowKey(answer.Status.Key),
		secret.ShowKey(answer.Status.WriteKey)
	return answer.Status, nil
}
