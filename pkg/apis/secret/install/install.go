// SPDX-License-Identifier: Apache-2.0

// Package install registers all versions of secret.grafana.app in a scheme.
package install

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// Install registers the hub and every served version. It panics on a programming error only.
func Install(scheme *runtime.Scheme) {
	utilruntime.Must(secret.AddToScheme(scheme))
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	utilruntime.Must(scheme.SetVersionPriority(v1beta1.SchemeGroupVersion))
}
