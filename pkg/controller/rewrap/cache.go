// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// CacheOptions says what the cache of a manager keeps for this controller.
func CacheOptions() cache.Options {
	return cache.Options{
		ByObject:                 map[client.Object]cache.ByObject{&v1beta1.SecureValue{}: {Transform: slim}},
		DefaultWatchErrorHandler: watchError,
	}
}

// watchError leaves out the end of a watch that this process asked for: it is no error.
func watchError(ctx context.Context, r *toolscache.Reflector, err error) {
	if ctx.Err() == nil {
		toolscache.DefaultWatchErrorHandler(ctx, r, err)
	}
}

// slim keeps of an object what identifies it and the name of its key, as it may be logged and shown: a hundred thousand of
// them are some tens of megabytes.
func slim(obj any) (any, error) {
	sv, ok := obj.(*v1beta1.SecureValue)
	if !ok {
		return obj, nil
	}
	return &v1beta1.SecureValue{
		TypeMeta: sv.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sv.Namespace, Name: sv.Name, UID: sv.UID, ResourceVersion: sv.ResourceVersion,
			DeletionTimestamp: sv.DeletionTimestamp,
		},
		Status: v1beta1.SecureValueStatus{Key: secret.ShowKey(sv.Status.Key)},
	}, nil
}
