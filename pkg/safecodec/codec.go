// SPDX-License-Identifier: Apache-2.0

// Package safecodec wraps the group's serializers so that no decoding error quotes the request body. Upstream's errors
// quote the first bytes of an invalid body, a literal of the wrong type, a YAML anchor. Such a text would reach the
// client, the audit log and the server log, so it is replaced where it is created.
package safecodec

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// Constant errors for what cannot be decoded.
var (
	ErrUndecodable = errors.New("the body cannot be decoded: check its syntax, its Content-Type and the types of " +
		"its fields")
	ErrWrongKind = errors.New("the body's apiVersion and kind must match the URL, or be absent")
)

// Wrap returns codecs whose decoding errors quote nothing.
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

// Decode returns the default kind with every error: without a kind, upstream's handlers add the body's first bytes.
func (d decoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object,
	*schema.GroupVersionKind, error) {
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

// checkManagedFields refuses what upstream's field manager would take seconds to merge, before any registry is called.
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

// jsonType names the type of a field in the terms of RFC 8259.
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

// fieldFault is the one form of strict decoding error that names a field and quotes nothing else
// (sigs.k8s.io/json/internal/golang/encoding/json/kubernetes_patch.go).
var fieldFault = regexp.MustCompile(`^(json patch )?(unknown|duplicate) field "[^"]{1,256}"$`)

// typeFault matches safeError's text for a field of the wrong type.
var typeFault = regexp.MustCompile(`^[A-Za-z.]{1,256} must be (a string|true or false|a list|an object|a number)$`)

// Replacements for strict errors that may quote.
var (
	errYAMLKeys = errors.New("a YAML mapping has the same key twice")
	errOddField = errors.New("a field with an overlong or quoted name is unknown or given twice")
)

// strictPrefix starts the text of runtime.NewStrictDecodingError.
const strictPrefix = "strict decoding error: "

// safeStrict keeps the errors that only name a field and replaces the others.
func safeStrict(faults []error) error {
	safe := make([]error, 0, len(faults))
	for _, fault := range faults {
		switch {
		case fieldFault.MatchString(fault.Error()):
		case strings.Contains(fault.Error(), "already set in map"):
			fault = errYAMLKeys
		default:
			fault = errOddField
		}
		safe = append(safe, fault)
	}
	return runtime.NewStrictDecodingError(safe)
}

// SafeDetail returns the text if it is from this package, and a constant text otherwise. Upstream's patch handlers
// embed decoding errors in texts that quote the whole object.
func SafeDetail(text string) string {
	for _, known := range []error{ErrUndecodable, ErrWrongKind, sensitive.ErrNotString, sensitive.ErrNotUTF8,
		validation.ErrManagedFields} {
		if text == known.Error() {
			return text
		}
	}
	if typeFault.MatchString(text) {
		return text
	}
	faults, ok := strings.CutPrefix(text, strictPrefix)
	if !ok {
		return ErrUndecodable.Error()
	}
	for fault := range strings.SplitSeq(faults, ", ") {
		if !fieldFault.MatchString(fault) && fault != errYAMLKeys.Error() && fault != errOddField.Error() {
			return ErrUndecodable.Error()
		}
	}
	return text
}
