// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/apiserver/pkg/warning"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// Config is what the registry needs of the server.
type Config struct {
	// Scheme holds the group's types.
	Scheme *runtime.Scheme
	// RESTOptions must be the sealing getter of pkg/sealed.
	RESTOptions generic.RESTOptionsGetter
	// DryRunCodec copies objects in memory on a dry run. It must encode a value, which the codec for etcd refuses.
	DryRunCodec runtime.Codec
	// Authorizer answers for the verb extend.
	Authorizer authorizer.Authorizer
	// Rewrapper seals stored values again; it belongs to RESTOptions.
	Rewrapper Rewrapper
	// AllowedDecrypters is the list of --allowed-decrypters.
	AllowedDecrypters []string
	// Standalone is set where no garbage collector runs, which would act on owner references and on its own finalizers.
	Standalone bool
}

// REST serves SecureValue. It wraps registry.Store so that no method returns an object with a value.
type REST struct {
	*genericregistry.Store
	authorizer authorizer.Authorizer
	rewrapper  Rewrapper
	standalone bool
}

var (
	_ rest.StandardStorage      = (*REST)(nil)
	_ rest.ShortNamesProvider   = (*REST)(nil)
	_ rest.CategoriesProvider   = (*REST)(nil)
	_ rest.SingularNameProvider = (*REST)(nil)
	_ rest.ResetFieldsStrategy  = (*REST)(nil)
)

// NewREST returns the storage of securevalues.
func NewREST(config Config) (*REST, error) {
	registerMetrics()
	s := strategy{
		ObjectTyper: config.Scheme, NameGenerator: names.SimpleNameGenerator,
		validator: validation.New(config.AllowedDecrypters), standalone: config.Standalone,
	}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &secret.SecureValue{} },
		NewListFunc:               func() runtime.Object { return &secret.SecureValueList{} },
		PredicateFunc:             match,
		DefaultQualifiedResource:  secret.GroupResource,
		SingularQualifiedResource: schema.GroupResource{Group: secret.GroupName, Resource: "securevalue"},
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		ResetFieldsStrategy:       s,
		TableConvertor:            tableConvertor{},
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: config.RESTOptions, AttrFunc: attributes}); err != nil {
		return nil, fmt.Errorf("building the storage of %s: %w", secret.Resource, err)
	}
	store.Storage.Codec = config.DryRunCodec
	return &REST{Store: store, authorizer: config.Authorizer, rewrapper: config.Rewrapper, standalone: config.Standalone}, nil
}

// ShortNames lets people type `kubectl get sv`.
func (*REST) ShortNames() []string { return []string{"sv"} }

// Categories is empty: `kubectl get all` lists no secrets.
func (*REST) Categories() []string { return nil }

// Create stores a new object.
func (r *REST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	httpguard.GrowStack() // upstream starts a goroutine for each write
	if err := checkMetadata(obj); err != nil {
		return nil, clientError(ctx, nameOf(obj), err)
	}
	out, err := r.Store.Create(ctx, obj, validate, options)
	if err != nil {
		return nil, clientError(ctx, nameOf(obj), err)
	}
	return withoutPlaintext(out), nil
}

// Update replaces, patches or applies an object.
func (r *REST) Update(
	ctx context.Context, name string, info rest.UpdatedObjectInfo, validateCreate rest.ValidateObjectFunc,
	validateUpdate rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	httpguard.GrowStack()
	ctx, update := withUpdateRequest(ctx, dryrun.IsDryRun(options.DryRun))
	info = updatedObject{UpdatedObjectInfo: info, request: update, name: name}
	out, created, err := r.Store.Update(ctx, name, info, validateCreate, r.guardDecrypters(validateUpdate), forceAllowCreate, options)
	if err != nil {
		return nil, false, clientError(ctx, name, err)
	}
	warning.AddWarning(ctx, "", update.warning)
	return withoutPlaintext(out), created, nil
}

// withoutPlaintext clears the value where registry.Store hands back what it was given: on a dry run, and on a
// replacement that empties the finalizers. The object is the request's own and nobody else's.
func withoutPlaintext(obj runtime.Object) runtime.Object {
	if sv, ok := obj.(*secret.SecureValue); ok {
		sv.Spec.Value = nil
		sv.Sealed = nil
	}
	return obj
}

func nameOf(obj runtime.Object) string {
	if sv, ok := obj.(*secret.SecureValue); ok {
		return sv.Name
	}
	return ""
}
