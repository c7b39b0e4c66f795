// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// ByObject says what a manager's cache keeps for this controller.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&v1beta1.SecureValue{}: {Transform: slim}}
}

// slim keeps of an object what identifies it and the name of its key: a hundred thousand of them are some tens of
// megabytes.
func slim(obj any) (any, error) {
	sv, ok := obj.(*v1beta1.SecureValue)
	if !ok {
		return obj, nil
	}
	return &v1beta1.SecureValue{
		TypeMeta: sv.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sv.Namespace, Name: sv.Name, UID: sv.UID, ResourceVersion: sv.ResourceVersion,
		},
		Status: v1beta1.SecureValueStatus{Key: sv.Status.Key},
	}, nil
}
