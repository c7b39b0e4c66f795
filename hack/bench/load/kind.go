// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// Encoding is how bodies travel.
type Encoding string

// The encodings that typed clients send. Controllers ask for protobuf, which both servers speak; kubectl, curl and a
// client-go that was not told otherwise send JSON.
const (
	Protobuf Encoding = "protobuf"
	JSON     Encoding = "json"
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
	patchType    = "application/merge-patch+json"
	eitherType   = protobufType + "," + jsonType
)

// Kind is what is stored.
type Kind string

// The kinds that are compared.
const (
	Secrets      Kind = "secrets"
	SecureValues Kind = "securevalues"
)

// Collection is the path of the kind in a namespace.
func (k Kind) Collection(namespace string) string {
	if k == Secrets {
		return "/api/v1/namespaces/" + namespace + "/secrets"
	}
	return "/apis/" + v1beta1.SchemeGroupVersion.String() + "/namespaces/" + namespace + "/securevalues"
}

var protobufSerializer = func() *protobuf.Serializer {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	return protobuf.NewSerializer(scheme, scheme)
}()

// object is what a user would write: a name and a value, and for a SecureValue what it requires besides.
func (k Kind) object(name, value string) runtime.Object {
	meta := metav1.ObjectMeta{Name: name}
	if k == Secrets {
		return &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta,
			Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"value": []byte(value)},
		}
	}
	return &v1beta1.SecureValue{
		TypeMeta: metav1.TypeMeta{APIVersion: v1beta1.SchemeGroupVersion.String(), Kind: "SecureValue"}, ObjectMeta: meta,
		Spec: v1beta1.SecureValueSpec{Description: "benchmark", Value: sensitive.New(value), Decrypters: []string{"k6-cloud"}},
	}
}

// contentType is that of bodies, accept what is asked for.
func (e Encoding) contentType() string {
	if e == Protobuf {
		return protobufType
	}
	return jsonType
}

func (e Encoding) accept() string {
	if e == Protobuf {
		return eitherType
	}
	return jsonType
}

// encode returns the body of an object. An error is a fault of this program.
func (e Encoding) encode(object runtime.Object) []byte {
	var out bytes.Buffer
	var err error
	if e == Protobuf {
		err = protobufSerializer.Encode(object, &out)
	} else {
		err = json.NewEncoder(&out).Encode(object)
	}
	if err != nil {
		panic(fmt.Sprintf("encoding a %T: %v", object, err))
	}
	return out.Bytes()
}

var deleteOptions = &metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}}
