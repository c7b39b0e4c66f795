// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	appsv1apply "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

const (
	// name is that of the controller, of its Lease and of the manager of the fields that it applies.
	name = "securevalue-restarter"
	// wanted is the annotation of a Deployment that names secure values of its namespace, separated by commas.
	wanted = "example.com/restart-on"
	// running is the annotation of the Pod template with the versions that the Pods were started for. All state is in
	// it.
	running = "example.com/securevalues"
	// byName is the index of Deployments by what they name.
	byName = "securevalue"
)

// restarter writes the versions of the secure values that a Deployment names into its Pod template. Another text there
// is a rollout.
type restarter struct {
	client.Client
	events recorder.EventRecorder
}

var _ reconcile.Reconciler = (*restarter)(nil)

// setup adds the controller to a manager.
func setup(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &appsv1.Deployment{}, byName, names); err != nil {
		return fmt.Errorf("indexing Deployments: %w", err)
	}
	r := &restarter{Client: mgr.GetClient(), events: mgr.GetEventRecorder(name)}
	return ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(&appsv1.Deployment{}).
		Watches(&v1beta1.SecureValue{}, handler.EnqueueRequestsFromMapFunc(r.users)).
		Complete(r)
}

// names are the secure values that a Deployment names, sorted and each once.
func names(object client.Object) []string {
	all := strings.FieldsFunc(object.GetAnnotations()[wanted], func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(all)
	return slices.Compact(all)
}

// users are the Deployments that name a secure value.
func (r *restarter) users(ctx context.Context, sv client.Object) []reconcile.Request {
	var deployments appsv1.DeploymentList
	err := r.List(ctx, &deployments, client.InNamespace(sv.GetNamespace()), client.MatchingFields{byName: sv.GetName()})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing Deployments")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(deployments.Items))
	for i := range deployments.Items {
		name := client.ObjectKeyFromObject(&deployments.Items[i])
		requests = append(requests, reconcile.Request{NamespacedName: name})
	}
	return requests
}

// Reconcile rolls a Deployment out when its Pods were started for other versions. While a value is absent it leaves the
// Deployment as it is: new Pods would not come up. The watch reports when the value exists.
func (r *restarter) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var deployment appsv1.Deployment
	if err := r.Get(ctx, request.NamespacedName, &deployment); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if len(names(&deployment)) == 0 || !deployment.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	versions, err := r.versions(ctx, &deployment)
	if apierrors.IsNotFound(err) {
		ctrl.LoggerFrom(ctx).Info("Waiting for a secure value", "reason", err.Error())
		return reconcile.Result{}, nil
	}
	if err != nil || deployment.Spec.Template.Annotations[running] == versions {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.rollOut(ctx, &deployment, versions)
}

// versions says which values a Deployment would get now. status.version grows with each value that is written, and with
// nothing else: not with a label, a description or a new key. The uid tells a new object of an old name.
func (r *restarter) versions(ctx context.Context, deployment *appsv1.Deployment) (string, error) {
	var all []string
	for _, n := range names(deployment) {
		var sv v1beta1.SecureValue
		if err := r.Get(ctx, client.ObjectKey{Namespace: deployment.Namespace, Name: n}, &sv); err != nil {
			return "", err
		}
		all = append(all, fmt.Sprintf("%s=%s/%d", n, sv.UID, sv.Status.Version))
	}
	return strings.Join(all, ","), nil
}

// rollOut applies the one annotation, which no other manager owns, so that GitOps tools see no drift.
func (r *restarter) rollOut(ctx context.Context, deployment *appsv1.Deployment, versions string) error {
	change := appsv1apply.Deployment(deployment.Name, deployment.Namespace).
		WithUID(deployment.UID).                         // never re-creates one that was just deleted
		WithResourceVersion(deployment.ResourceVersion). // never rolls out twice because of a stale cache
		WithSpec(appsv1apply.DeploymentSpec().WithTemplate(
			corev1apply.PodTemplateSpec().WithAnnotations(map[string]string{running: versions})))
	err := r.Apply(ctx, change, client.FieldOwner(name), client.ForceOwnership)
	if apierrors.IsConflict(err) {
		return nil // the event that brings the cache up to date leads here again
	}
	if err != nil {
		return fmt.Errorf("rolling out: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("Rolled out", "securevalues", versions)
	r.events.Eventf(deployment, nil, corev1.EventTypeNormal,
		"SecureValueChanged", "RollOut", "the Pods start for %s", versions)
	return nil
}
