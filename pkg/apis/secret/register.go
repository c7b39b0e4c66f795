// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group served by this project.
const GroupName = "secret.grafana.app"

// Resource is the plural name of SecureValue in URLs and RBAC rules.
const Resource = "securevalues"

// SealingKeyResource is the resource name of the public keys to which values are sealed.
const SealingKeyResource = "sealingkeys"

// SchemeGroupVersion is the hub version of the group.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: runtime.APIVersionInternal}

// GroupResource names securevalues.secret.grafana.app, also as it stands in an EncryptionConfiguration.
var GroupResource = schema.GroupResource{Group: GroupName, Resource: Resource}

// GroupKind names SecureValue in errors.
var GroupKind = schema.GroupKind{Group: GroupName, Kind: "SecureValue"}

var (
	// SchemeBuilder collects what AddToScheme registers.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme registers the hub types.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &SecureValue{}, &SecureValueList{}, &SecureValueRewrap{},
		&SecureValueReseal{}, &SealingKey{}, &SealingKeyList{})
	return nil
}
