// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// SealingKeys open and make the texts of spec.sealedValue; *sealed.SealingKeys implements it.
type SealingKeys interface {
	// List returns the public halves, the active one first, and the revision of etcd.
	List(ctx context.Context) ([]sealed.SealingKey, int64, error)
	Open(ctx context.Context, text sealing.Text, binding sealing.Binding) (sensitive.Value, error)
	// Seal seals to the active key.
	Seal(ctx context.Context, v sensitive.Value, binding sealing.Binding) (string, error)
}

var pathSealedValue = field.NewPath("spec", "sealedValue")

// The faults of a text. They are constant: one text stands for all that a stranger could try to tell apart.
const (
	faultNotForThis = "does not open here: it was changed, expired, or sealed for another namespace, name or list of " +
		"decrypters; seal the value again (kubectl securevalue seal)"
	faultOtherList = "it was sealed for another list of decrypters: seal the value again for this one, or set " +
		"spec.sealedValue to null to keep the stored value"
	faultNoKey = "its sealing key is not on this server: it was retired, or the value was sealed for another server; " +
		"seal it again (kubectl securevalue seal)"
	faultBoth   = "must not be set together with another value: set one of spec.value and spec.sealedValue"
	faultNoName = "is bound to a name: set metadata.name instead of metadata.generateName"
)

// sealedInput is what became of the spec.sealedValue of a request. The strategy reports the fault with all others.
type sealedInput struct {
	fault *field.Error
	// What was opened last, and for what: registry.Store may try a request several times.
	value   sensitive.Value
	text    string
	binding []string
}

// sealedFaults returns the fault of the request's text.
func sealedFaults(ctx context.Context) field.ErrorList {
	if write, ok := ctx.Value(writeRequestKey{}).(*writeRequest); ok && write.sealed.fault != nil {
		return field.ErrorList{write.sealed.fault}
	}
	return nil
}

// create opens the text of a new object into spec.value.
func (s *sealedInput) create(ctx context.Context, keys SealingKeys, sv *secret.SecureValue) error {
	switch {
	case sv.Spec.SealedValue == "":
		return nil
	case sv.Spec.Value != nil:
		s.refuse(faultBoth)
		return nil
	case sv.Name == "":
		s.refuse(faultNoName)
		return nil
	}
	return s.open(ctx, keys, sv, sv.Name, faultNotForThis)
}

// update decides what the text of a changed object means. The one that the stored value came from is not a new value,
// unless it should now be opened for another list of decrypters; any other is opened into spec.value. A plain value
// removes the text.
//
// An apply of a new object is an update too: stored is empty then, and the name that of the request.
func (s *sealedInput) update(ctx context.Context, keys SealingKeys, name string, sv, stored *secret.SecureValue) error {
	s.fault, sv.SealedFrom = nil, stored.SealedFrom
	text := sv.Spec.SealedValue
	same := text != "" && bytes.Equal(digest(text), stored.SealedFrom)
	switch {
	case sv.Spec.Value != nil && text != "" && !same:
		s.refuse(faultBoth)
		return nil
	case sv.Spec.Value != nil:
		sv.Spec.SealedValue, sv.SealedFrom = "", nil
		return nil
	case text == "", same && sets.New(sv.Spec.Decrypters...).Equal(sets.New(stored.Spec.Decrypters...)):
		return nil
	case same:
		return s.open(ctx, keys, sv, name, faultOtherList)
	default:
		return s.open(ctx, keys, sv, name, faultNotForThis)
	}
}

func (s *sealedInput) refuse(detail string) {
	s.fault = field.Invalid(pathSealedValue, field.OmitValueType{}, detail)
}

// open opens the text of sv into spec.value, or notes its fault.
func (s *sealedInput) open(ctx context.Context, keys SealingKeys, sv *secret.SecureValue, name,
	notForThis string) error {
	namespace := request.NamespaceValue(ctx)
	binding := append([]string{namespace, name}, sv.Spec.Decrypters...)
	if s.text != sv.Spec.SealedValue || !slices.Equal(s.binding, binding) {
		v, fault, err := openText(ctx, keys, sv.Spec.SealedValue, namespace, name, sv.Spec.Decrypters, notForThis)
		if err != nil || fault != nil {
			s.fault = fault
			return err
		}
		s.text, s.binding, s.value = sv.Spec.SealedValue, binding, v
	}
	v := s.value
	sv.Spec.Value, sv.SealedFrom = &v, digest(s.text)
	return nil
}

// openText opens a text for an object and checks what is inside. The fault is for the client; the error is not about
// the text.
func openText(ctx context.Context, keys SealingKeys, text, namespace, name string, decrypters []string,
	notForThis string) (sensitive.Value, *field.Error, error) {
	invalid := func(detail string) (sensitive.Value, *field.Error, error) {
		return "", field.Invalid(pathSealedValue, field.OmitValueType{}, detail), nil
	}
	parsed, err := sealing.Parse(text)
	if errors.Is(err, sealing.ErrNotForThis) {
		return invalid(notForThis)
	}
	if err != nil {
		return invalid(err.Error())
	}
	v, err := keys.Open(ctx, parsed, sealing.Binding{
		Namespace: namespace, Name: name, Decrypters: decrypters, NotAfter: parsed.NotAfter(),
	})
	expires := parsed.NotAfter()
	switch {
	case errors.Is(err, sealed.ErrNoSealingKey):
		return invalid(faultNoKey)
	case errors.Is(err, sealing.ErrNotForThis), err == nil && !expires.IsZero() && time.Now().After(expires):
		return invalid(notForThis)
	case err != nil:
		return "", nil, err
	}
	if errs := validation.Value(&v, pathSealedValue, true); len(errs) > 0 {
		return "", errs[0], nil
	}
	return v, nil, nil
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// droppedSealedValue warns that a plain value replaced a text which a manager applies: it will apply it again.
func droppedSealedValue(sv, stored *secret.SecureValue) string {
	if sv.Spec.Value == nil || sv.Spec.SealedValue != "" || stored.Spec.SealedValue == "" {
		return ""
	}
	var managers []string
	for _, entry := range stored.ManagedFields {
		fields := &fieldpath.Set{}
		if entry.FieldsV1 != nil && fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) == nil &&
			fields.Has(fieldpath.MakePathOrDie("spec", "sealedValue")) {
			managers = append(managers, fmt.Sprintf("%q", entry.Manager))
		}
	}
	if len(managers) == 0 {
		return ""
	}
	slices.Sort(managers)
	return fmt.Sprintf("spec.sealedValue was removed, since a value was written; it belongs to %s, which brings its "+
		"value back when it applies its manifest again: change it there", strings.Join(slices.Compact(managers), ", "))
}
