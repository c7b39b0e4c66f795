// SPDX-License-Identifier: Apache-2.0

// Package safecodec wraps the group's serializers so that no decoding error quotes the request body. Upstream's
// errors do: the first bytes of a body it cannot read, the literal of a wrong type, a YAML anchor. Such a text would
// reach the client, the audit log and the server log at once, so it is replaced here, where it is made.
package safecodec

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// Constant texts for what cannot be decoded.
var (
	ErrUndecodable = errors.New("the body cannot be decoded: check its syntax, its Content-Type and the types of its fields")
	ErrWrongKind   = errors.New("the body's apiVersion and kind must be those of this URL, or absent")
)

// Wrap returns codecs whose decoders follow the rule of this package.
func Wrap(codecs runtime.NegotiatedSerializer) runtime.NegotiatedSerializer {
	return negotiated{codecs}
}

type negotiated struct {
	runtime.NegotiatedSerializer
}

// DecoderToVersion wraps the decoder that the handlers of create, update and patch use.
func (n negotiated) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return decoder{n.NegotiatedSerializer.DecoderToVersion(d, gv)}
}

type decoder struct {
	delegate runtime.Decoder
}

// Decode reports the default kind with every error: without a kind, upstream's handlers add the body's first bytes.
func (d decoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, gvk, err := d.delegate.Decode(data, defaults, into)
	if err == nil {
		if err := checkManagedFields(obj); err != nil {
			return nil, defaults, err
		}
		return obj, gvk, nil
	}
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return obj, gvk, safeStrict(strict.Errors())
	}
	return nil, defaults, safeError(err)
}

// checkManagedFields refuses here what upstream's field manager would take seconds to merge: it runs before any
// registry.
func checkManagedFields(obj runtime.Object) error {
	accessor, ok := obj.(metav1.Object)
	if !ok {
		return nil
	}
	return validation.ManagedFields(accessor.GetManagedFields())
}

func safeError(err error) error {
	var typeError *json.UnmarshalTypeError
	switch {
	case errors.Is(err, sensitive.ErrNotString):
		return sensitive.ErrNotString
	case errors.Is(err, sensitive.ErrNotUTF8):
		return sensitive.ErrNotUTF8
	case errors.As(err, &typeError) && typeError.Field != "" && typeError.Type != nil:
		return fmt.Errorf("%s must be %s", typeError.Field, jsonType(typeError.Type.Kind()))
	case runtime.IsNotRegisteredError(err), runtime.IsMissingKind(err), runtime.IsMissingVersion(err):
		return ErrWrongKind
	default:
		return ErrUndecodable
	}
}

// jsonType names what a field takes in the words of RFC 8259.
func jsonType(kind reflect.Kind) string {
	switch kind {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a number"
	}
}
