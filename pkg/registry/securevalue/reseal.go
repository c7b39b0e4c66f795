// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// SubresourceReseal is the subresource that moves a text to the active sealing key: verb create on securevalues/reseal
// in RBAC.
const SubresourceReseal = "reseal"

// ResealREST serves securevalues/NAME/reseal. It keeps what a text is bound to, so that it can neither give a value to
// another reader nor prolong it, and shows none.
type ResealREST struct{ keys SealingKeys }

var (
	_ rest.NamedCreater = ResealREST{}
	_ rest.Storage      = ResealREST{}
)

// NewResealREST returns the subresource of r.
func NewResealREST(r *REST) ResealREST { return ResealREST{r.sealingKeys} }

// New returns the type of the request body.
func (ResealREST) New() runtime.Object { return &secret.SecureValueReseal{} }

// Destroy does nothing.
func (ResealREST) Destroy() {}

// Create seals the value in a text again. The object need not exist: the text may be of one that is still to be made.
func (r ResealREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc,
	_ *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*secret.SecureValueReseal)
	if !ok {
		return nil, apierrors.NewBadRequest("the body must be a SecureValueReseal")
	}
	namespace := request.NamespaceValue(ctx)
	if err := checkNames(&in.ObjectMeta, namespace, name); err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, in.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	v, fault, err := r.open(ctx, in, namespace, name)
	if fault != nil {
		err = apierrors.NewInvalid(secret.GroupKind, name, field.ErrorList{fault})
	}
	if err != nil {
		return nil, clientError(ctx, name, err)
	}
	return &secret.SecureValueReseal{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       in.Spec,
		Status:     secret.SecureValueResealStatus{SealedValue: v},
	}, nil
}

// open returns the new text.
func (r ResealREST) open(ctx context.Context, in *secret.SecureValueReseal, namespace, name string) (string,
	*field.Error, error) {
	switch {
	case in.Spec.SealedValue == "":
		return "", field.Required(pathSealedValue, "set the text to seal again"), nil
	case len(in.Spec.Decrypters) > secret.MaxDecrypters:
		path := field.NewPath("spec", "decrypters")
		return "", field.TooMany(path, len(in.Spec.Decrypters), secret.MaxDecrypters), nil
	}
	v, fault, err := openText(ctx, r.keys, in.Spec.SealedValue, namespace, name, in.Spec.Decrypters, faultNotForThis)
	if fault != nil || err != nil {
		return "", fault, err
	}
	parsed, err := sealing.Parse(in.Spec.SealedValue)
	if err != nil {
		return "", nil, err
	}
	text, err := r.keys.Seal(ctx, v, sealing.Binding{
		Namespace: namespace, Name: name, Decrypters: in.Spec.Decrypters, NotAfter: parsed.NotAfter(),
	})
	return text, nil, err
}
