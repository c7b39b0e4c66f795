// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/apiserver/pkg/warning"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// Config is what the registry needs from the server.
type Config struct {
	// Scheme holds the group's types.
	Scheme *runtime.Scheme
	// RESTOptions must be the sealing getter of pkg/sealed.
	RESTOptions generic.RESTOptionsGetter
	// DryRunCodec copies objects in memory on a dry run. It must encode a value, which the codec for etcd refuses.
	DryRunCodec runtime.Codec
	// Authorizer decides on the verb extend.
	Authorizer authorizer.Authorizer
	// Rewrapper re-seals stored values; it belongs to RESTOptions.
	Rewrapper Rewrapper
	// Servers returns the running servers.
	Servers func(context.Context) ([]sealed.Server, error)
	// SealingKeys open spec.sealedValue.
	SealingKeys SealingKeys
	// AllowedDecrypters is the list of --allowed-decrypters.
	AllowedDecrypters []string
	// Standalone means running without a garbage collector, which acts on owner references and its finalizers.
	Standalone bool
}

// REST serves SecureValue. It wraps registry.Store so that no method returns an object with a value.
type REST struct {
	*genericregistry.Store
	authorizer  authorizer.Authorizer
	rewrapper   Rewrapper
	servers     func(context.Context) ([]sealed.Server, error)
	sealingKeys SealingKeys
	standalone  bool
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
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: config.RESTOptions,
		AttrFunc: attributes}); err != nil {
		return nil, fmt.Errorf("building the storage of %s: %w", secret.Resource, err)
	}
	store.Storage.Codec = config.DryRunCodec
	return &REST{Store: store, authorizer: config.Authorizer, rewrapper: config.Rewrapper,
		servers: config.Servers, sealingKeys: config.SealingKeys, standalone: config.Standalone}, nil
}

// ShortNames lets people type `kubectl get sv`.
func (*REST) ShortNames() []string { return []string{"sv"} }

// Categories is empty: `kubectl get all` lists no secrets.
func (*REST) Categories() []string { return nil }

// Create stores a new object.
func (r *REST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc,
	options *metav1.CreateOptions) (runtime.Object, error) {
	httpguard.GrowStack() // upstream starts a goroutine for each write
	if err := checkMetadata(obj); err != nil {
		return nil, clientError(ctx, nameOf(obj), err)
	}
	ctx, write := withWriteRequest(ctx, dryrun.IsDryRun(options.DryRun))
	if err := write.sealed.create(ctx, r.sealingKeys, obj.(*secret.SecureValue)); err != nil {
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
	ctx, update := withWriteRequest(ctx, dryrun.IsDryRun(options.DryRun))
	info = updatedObject{UpdatedObjectInfo: info, request: update, keys: r.sealingKeys, name: name}
	out, created,
		err := r.Store.Update(ctx, name, info, validateCreate, r.guardDecrypters(validateUpdate), forceAllowCreate,
		options)
	if err != nil {
		return nil, false, clientError(ctx, name, err)
	}
	for _, text := range update.warnings {
		warning.AddWarning(ctx, "", text)
	}
	return withoutPlaintext(out), created, nil
}

// withoutPlaintext clears the value where registry.Store returns its input: on a dry run, and on a PUT that removes the
// last finalizer. Only this request uses the object.
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

// Get reads one object. It answers 400 for an invalid resourceVersion, upstream 500.
func (r *REST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	out, err := r.Store.Get(ctx, name, options)
	if invalid, ok := errors.AsType[storage.InvalidError](err); ok {
		err = apierrors.NewInvalid(secret.GroupKind, name, invalid.Errs)
	}
	if err != nil {
		return nil, clientError(ctx, name, err)
	}
	return out, nil
}

// Watch streams changes. It answers 400 for an invalid resourceVersion, upstream 500.
func (r *REST) Watch(ctx context.Context, options *internalversion.ListOptions) (watch.Interface, error) {
	w, err := r.Store.Watch(ctx, options)
	if invalid, ok := errors.AsType[storage.InvalidError](err); ok {
		err = apierrors.NewInvalid(secret.GroupKind, "", invalid.Errs)
	}
	if err != nil {
		return nil, clientError(ctx, "", err)
	}
	return w, nil
}

// Delete removes an object and its value. The answer is a Status with code 200, as the API documentation shows, or the
// object without its value while finalizers are pending.
func (r *REST) Delete(
	ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions,
) (runtime.Object, bool, error) {
	httpguard.GrowStack()
	// With finalizers a delete first writes the object without its ciphertext: it may use the reserved disk space.
	out, deleted, err := r.Store.Delete(etcd.Reserved(ctx), name, validate, r.deleteOptions(options))
	if err != nil {
		return nil, false, clientError(ctx, name, err)
	}
	if status, ok := out.(*metav1.Status); ok && status.Status == metav1.StatusSuccess {
		status.Code = http.StatusOK
	}
	return withoutPlaintext(out), deleted, nil
}

// DeleteCollection removes the objects that the options select.
func (r *REST) DeleteCollection(
	ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions,
	list *internalversion.ListOptions,
) (runtime.Object, error) {
	out, err := r.Store.DeleteCollection(etcd.Reserved(ctx), validate, r.deleteOptions(options), list)
	if err != nil {
		return nil, clientError(ctx, "", err)
	}
	return out, nil
}

// unreadableDeleter is upstream's deleter of unreadable records, with the errors of this server.
type unreadableDeleter struct{ rest.GracefulDeleter }

// GetCorruptObjDeleter implements rest.CorruptObjectDeleterProvider.
func (r *REST) GetCorruptObjDeleter() rest.GracefulDeleter {
	deleter := r.Store.GetCorruptObjDeleter()
	if deleter == nil {
		return nil
	}
	return unreadableDeleter{deleter}
}

// Delete removes an unreadable record, whatever its finalizers were.
func (d unreadableDeleter) Delete(
	ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions,
) (runtime.Object, bool, error) {
	out, deleted, err := d.GracefulDeleter.Delete(etcd.Reserved(ctx), name, validate, options)
	if err != nil {
		return nil, false, clientError(ctx, name, err)
	}
	return out, deleted, nil
}

// deleteOptions returns the effective options. The policies Foreground and Orphan add finalizers for a garbage
// collector; a standalone server has none, so it uses Background, which adds none and drops those that are set. The
// caller's options are not changed: upstream's handler reads them again for the status code.
func (r *REST) deleteOptions(options *metav1.DeleteOptions) *metav1.DeleteOptions {
	if !r.standalone {
		return options
	}
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	options = options.DeepCopy()
	options.OrphanDependents = nil //nolint:staticcheck // deprecated, and still sent
	options.PropagationPolicy = new(metav1.DeletePropagationBackground)
	return options
}
