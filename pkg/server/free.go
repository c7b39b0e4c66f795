// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// freeRetry is how long a failed attempt to free deleted objects is waited for.
const freeRetry = 10 * time.Second

// startFreeing frees the deleted objects of a standalone server once it is ready. The returned function ends that and returns
// when it has ended.
func startFreeing(ctx context.Context, loopback *restclient.Config) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := waitReady(ctx, loopback); err != nil {
			return // the server stops before it was ready
		}
		_ = wait.PollUntilContextCancel(ctx, freeRetry, true, func(ctx context.Context) (bool, error) {
			err := freeDeleted(ctx, loopback)
			if err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Could not free deleted secure values; trying again", "in", freeRetry)
			}
			return err == nil, nil
		}) // an error says only that ctx ended
	}()
	return func() {
		cancel()
		<-ended
	}
}

// freeDeleted deletes again each deleted object that an earlier version of the server, or a cluster that the data is from, left with a
// finalizer of the garbage collector or with its ciphertext. The second delete drops both; finalizers of users stay.
func freeDeleted(ctx context.Context, loopback *restclient.Config) error {
	config := restclient.CopyConfig(loopback)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	values, freed := client.SecretV1beta1(), 0
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return values.SecureValues(metav1.NamespaceAll).List(ctx, options)
	})
	err = pages.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		sv := obj.(*v1beta1.SecureValue)
		if !stuck(sv) {
			return nil
		}
		freed++
		return deleteAgain(ctx, values, sv)
	})
	if freed > 0 {
		klog.InfoS("Freed deleted secure values that waited for a garbage collector, or still had their ciphertext", "count", freed)
	}
	return err
}

func deleteAgain(ctx context.Context, values typedv1beta1.SecureValuesGetter, sv *v1beta1.SecureValue) error {
	err := values.SecureValues(sv.Namespace).Delete(ctx, sv.Name, *metav1.NewPreconditionDeleteOptions(string(sv.UID)))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone, or another object by now
	}
	return err
}

// stuck reports whether a deleted object waits for a garbage collector, or has a ciphertext, whose key status.key names.
func stuck(sv *v1beta1.SecureValue) bool {
	return sv.DeletionTimestamp != nil && (sv.Status.Key != "" ||
		slices.Contains(sv.Finalizers, metav1.FinalizerDeleteDependents) || slices.Contains(sv.Finalizers, metav1.FinalizerOrphanDependents))
}
