// SPDX-License-Identifier: Apache-2.0

package safecodec

import (
	"errors"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// fieldFault is the one form of strict decoding error that names a field and quotes nothing else
// (sigs.k8s.io/json/internal/golang/encoding/json/kubernetes_patch.go).
var fieldFault = regexp.MustCompile(`^(json patch )?(unknown|duplicate) field "[^"]{1,256}"$`)

// typeFault is what safeError writes of a field whose type is wrong.
var typeFault = regexp.MustCompile(`^[A-Za-z.]{1,256} must be (a string|true or false|a list|an object|a number)$`)

// What stands for strict faults that are not repeated.
var (
	errYAMLKeys = errors.New("a YAML mapping has the same key twice")
	errOddField = errors.New("a field with an overlong or quoted name is unknown or given twice")
)

// strictPrefix starts the text of runtime.NewStrictDecodingError.
const strictPrefix = "strict decoding error: "

// safeStrict keeps the faults that name a field and makes the others constant.
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

// SafeDetail returns the text if it is one that this package wrote, and a constant text otherwise. Handlers of patches
// repeat decoding errors inside longer texts that hold the whole object.
func SafeDetail(text string) string {
	for _, known := range []error{ErrUndecodable, ErrWrongKind, sensitive.ErrNotString, sensitive.ErrNotUTF8, validation.ErrManagedFields} {
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
