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
	"k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

const (
	// readyPoll is the interval of readiness checks during the start.
	readyPoll = 20 * time.Millisecond
	// freeRetry is the time after a failed attempt to free deleted objects until the next one.
	freeRetry = 10 * time.Second
	// rewrapRestart is the time after a failure of the rewrap controller until it is started again. The server runs on.
	rewrapRestart = 10 * time.Second
	// rewrapStop bounds waiting for the rewrap controller at the end. A manager of controller-runtime that is stopped
	// while its cache is filled waits for the cache, and the server that would fill it is gone. It holds nothing that
	// needs closing.
	rewrapStop = 5 * time.Second
)

// waitReady returns nil once /readyz answers 200 to the server's own loopback client, and an error when ctx ends
// before. A KMS that was never reached matters to load balancers only, not to the callers of waitReady.
func waitReady(ctx context.Context, loopback *restclient.Config) error {
	config := restclient.CopyConfig(loopback)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := restclient.UnversionedRESTClientFor(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		return client.Get().AbsPath("/readyz").Param("exclude", keys.StartupCheckName).Do(ctx).Error() == nil, nil
	})
}

// background runs work in a goroutine once the server is ready. stop cancels it and returns the channel that is closed
// when it ended.
func background(
	ctx context.Context, loopback *restclient.Config, work func(ctx context.Context),
) (stop func() <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if waitReady(ctx, loopback) == nil {
			work(ctx)
		}
	}()
	return func() <-chan struct{} {
		cancel()
		return ended
	}
}

// startRewrap runs the rewrap controller through the loopback client.
func startRewrap(ctx context.Context, loopback *restclient.Config, opts *options.StandaloneOptions) (stop func()) {
	if !opts.RunRewrap {
		return func() {}
	}
	cancel := background(ctx, loopback, func(ctx context.Context) {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			if err := rewrap.Run(ctx, loopback, opts.Rewrap); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "The rewrap controller failed; restarting it", "in", rewrapRestart)
			}
		}, rewrapRestart)
	})
	return func() {
		select {
		case <-cancel():
		case <-time.After(rewrapStop):
			klog.InfoS("The rewrap controller did not stop in time", "after", rewrapStop)
		}
	}
}

// startFreeing frees the deleted objects of a standalone server.
func startFreeing(ctx context.Context, loopback *restclient.Config) (stop func()) {
	cancel := background(ctx, loopback, func(ctx context.Context) {
		_ = wait.PollUntilContextCancel(ctx, freeRetry, true, func(ctx context.Context) (bool, error) {
			err := freeDeleted(ctx, loopback)
			if err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Could not free deleted secure values; trying again", "in", freeRetry)
			}
			return err == nil, nil
		}) // an error means only that ctx ended
	})
	return func() { <-cancel() }
}

// freeDeleted deletes each deleted object again that an earlier version of the server, or the cluster that the data
// comes from, left with a finalizer of the garbage collector or with its ciphertext. The second delete drops both;
// finalizers of users stay.
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
		klog.InfoS("Freed deleted secure values that waited for a garbage collector, or still had their ciphertext",
			"count", freed)
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

// stuck reports whether a deleted object waits for a garbage collector or still has a ciphertext, the key of which is
// in status.key.
func stuck(sv *v1beta1.SecureValue) bool {
	return sv.DeletionTimestamp != nil && (sv.Status.Key != "" ||
		slices.Contains(sv.Finalizers, metav1.FinalizerDeleteDependents) ||
		slices.Contains(sv.Finalizers, metav1.FinalizerOrphanDependents))
}
