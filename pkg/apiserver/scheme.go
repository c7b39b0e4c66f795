// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/runtime/serializer/versioning"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/securevalue/secret-apiserver/pkg/access/selfreview"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

var (
	// Scheme has every type of this server.
	Scheme = runtime.NewScheme()
	// Codecs serializes them, lists item by item, as NewDefaultAPIGroupInfo of k8s.io/apiserver would. Serve the group
	// with safecodec.Wrap(Codecs), whose errors quote nothing.
	Codecs = serializer.NewCodecFactory(Scheme,
		serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
)

func init() {
	install.Install(Scheme)
	utilruntime.Must(selfreview.AddToScheme(Scheme))
	metav1.AddToGroupVersion(Scheme, schema.GroupVersion{Version: "v1"})
	Scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
}

// NewExternalScheme returns a scheme of the served versions only, for the OpenAPI documents: the reviews have one Go
// type for the served and the internal version, and the internal one must not be published.
func NewExternalScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	utilruntime.Must(authorizationv1.AddToScheme(scheme))
	utilruntime.Must(authenticationv1.AddToScheme(scheme))
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme
}

// NewStorageCodec returns the codec of the object part of a stored frame: v1beta1 in protobuf.
func NewStorageCodec() runtime.Codec {
	storage := protobuf.NewSerializer(Scheme, Scheme)
	return versioning.NewDefaultingCodecForScheme(Scheme, storage, storage, v1beta1.SchemeGroupVersion,
		runtime.InternalGroupVersioner)
}
