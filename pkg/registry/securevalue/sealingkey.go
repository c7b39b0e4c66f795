// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

var sealingKeyResource = schema.GroupResource{Group: secret.GroupName, Resource: secret.SealingKeyResource}

// SealingKeyREST serves SealingKey, read-only. It never sees a private half.
type SealingKeyREST struct{ keys SealingKeys }

var (
	_ rest.Storage              = SealingKeyREST{}
	_ rest.Scoper               = SealingKeyREST{}
	_ rest.Getter               = SealingKeyREST{}
	_ rest.Lister               = SealingKeyREST{}
	_ rest.SingularNameProvider = SealingKeyREST{}
)

// NewSealingKeyREST returns the storage of sealingkeys.
func NewSealingKeyREST(keys SealingKeys) SealingKeyREST { return SealingKeyREST{keys} }

// New returns an empty object.
func (SealingKeyREST) New() runtime.Object { return &secret.SealingKey{} }

// NewList returns an empty list.
func (SealingKeyREST) NewList() runtime.Object { return &secret.SealingKeyList{} }

// Destroy does nothing.
func (SealingKeyREST) Destroy() {}

// NamespaceScoped is false: a key is for all namespaces.
func (SealingKeyREST) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (SealingKeyREST) GetSingularName() string { return "sealingkey" }

// Get returns one key.
func (r SealingKeyREST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	list, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Name == name {
			return &list.Items[i], nil
		}
	}
	return nil, apierrors.NewNotFound(sealingKeyResource, name)
}

// List returns the keys that the options select, always the current ones and on one page: there are few.
func (r SealingKeyREST) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	list, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	if options == nil {
		return list, nil
	}
	selected := list.Items[:0]
	for _, key := range list.Items {
		if (options.LabelSelector == nil || options.LabelSelector.Matches(labels.Set{})) &&
			(options.FieldSelector == nil || options.FieldSelector.Matches(fields.Set{"metadata.name": key.Name})) {
			selected = append(selected, key)
		}
	}
	list.Items = selected
	return list, nil
}

func (r SealingKeyREST) list(ctx context.Context) (*secret.SealingKeyList, error) {
	found, revision, err := r.keys.List(ctx)
	if reason := etcd.NoRoom(err); reason != nil {
		return nil, noRoom("", reason)
	}
	if operation, ok := errors.AsType[*sealed.OperationError](err); ok {
		klog.ErrorS(operation.Err, "Could not make a sealing key")
		return nil, unavailable("", "cannot make a sealing key: the encryption key of the server is unavailable or "+
			"retired; retry later")
	}
	if err != nil {
		return nil, err
	}
	list := &secret.SealingKeyList{}
	list.ResourceVersion = strconv.FormatInt(revision, 10)
	for i, key := range found {
		out := secret.SealingKey{
			Spec:   secret.SealingKeySpec{PublicKey: key.Public.Bytes(), Suite: sealing.Suite},
			Status: secret.SealingKeyStatus{Active: i == 0},
		}
		out.Name, out.CreationTimestamp = key.ID, metav1.NewTime(key.Created)
		list.Items = append(list.Items, out)
	}
	return list, nil
}

var sealingKeyColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "Id of the key."},
	{Name: "Suite", Type: "string", Description: "How values are sealed to it."},
	{Name: "Active", Type: "boolean", Description: "Whether it is the key to seal to."},
	{Name: "Age", Type: "string", Description: "Time since it was made."},
}

// ConvertToTable prints `kubectl get sealingkeys`.
func (SealingKeyREST) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if options, ok := tableOptions.(*metav1.TableOptions); !ok || !options.NoHeaders {
		table.ColumnDefinitions = sealingKeyColumns
	}
	var items []secret.SealingKey
	switch obj := object.(type) {
	case *secret.SealingKey:
		items = []secret.SealingKey{*obj}
	case *secret.SealingKeyList:
		table.ListMeta, items = obj.ListMeta, obj.Items
	default:
		return nil, fmt.Errorf("printing a table: expected sealing keys, got %T", object)
	}
	for i := range items {
		key := &items[i]
		table.Rows = append(table.Rows, metav1.TableRow{
			Cells:  []any{key.Name, key.Spec.Suite, key.Status.Active, age(key.CreationTimestamp)},
			Object: runtime.RawExtension{Object: key},
		})
	}
	return table, nil
}
