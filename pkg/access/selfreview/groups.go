// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// NewAPIGroups returns the two API groups, ready for GenericAPIServer.InstallAPIGroups. The scheme must have been given
// to AddToScheme and know the meta types of version v1; the authorizer is the one that guards the API, and without the group
// system:masters the one that guards the decrypt port.
func NewAPIGroups(scheme *runtime.Scheme, codecs serializer.CodecFactory, access authorizer.UnconditionalAuthorizer, rules authorizer.RuleResolver) []genericapiserver.APIGroupInfo {
	parameters := runtime.NewParameterCodec(scheme)
	group := func(name, version string, resources map[string]rest.Storage) genericapiserver.APIGroupInfo {
		info := genericapiserver.NewDefaultAPIGroupInfo(name, scheme, parameters, codecs)
		info.VersionedResourcesStorageMap[version] = resources
		return info
	}
	return []genericapiserver.APIGroupInfo{
		group(authorizationv1.GroupName, authorizationv1.SchemeGroupVersion.Version, map[string]rest.Storage{
			"selfsubjectaccessreviews": &accessReviews{authorizer: access},
			"selfsubjectrulesreviews":  &rulesReviews{resolver: rules, port: decryptPort{access}},
		}),
		group(authenticationv1.GroupName, authenticationv1.SchemeGroupVersion.Version, map[string]rest.Storage{
			"selfsubjectreviews": &selfReviews{},
		}),
	}
}

// virtual is what the three resources share: cluster-wide, and nothing is stored.
type virtual struct{}

// NamespaceScoped returns false: the namespace asked about stands in the body.
func (virtual) NamespaceScoped() bool { return false }

// Destroy has nothing to release.
func (virtual) Destroy() {}

type storage interface {
	rest.Storage
	rest.Creater
	rest.Scoper
	rest.SingularNameProvider
}

var (
	_ storage = &accessReviews{}
	_ storage = &rulesReviews{}
	_ storage = &selfReviews{}
)
