// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// events tell people in a cluster. A standalone server has no Event objects, and a nil recorder.
type events struct {
	recorder recorder.EventRecorder
}

// apiService is what the events of a whole rotation are about: the values have no other object in common.
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
