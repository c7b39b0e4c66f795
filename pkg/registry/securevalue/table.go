// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

var columns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "Name of the secure value."},
	{Name: "Description", Type: "string", Description: "What the value is for."},
	{Name: "Decrypters", Type: "string", Description: "Services that may open the value."},
	{Name: "Version", Type: "integer", Description: "How many values have been written."},
	{Name: "Age", Type: "string", Description: "Time since creation."},
	{Name: "Keeper", Type: "string", Priority: 1, Description: "Backend that holds the value."},
	{Name: "Key", Type: "string", Priority: 1, Description: "Name of the key that seals the value."},
	{Name: "Sealed", Type: "string", Priority: 1, Description: "Id of the sealing key of spec.sealedValue."},
}

// tableConvertor prints `kubectl get securevalues`.
type tableConvertor struct{}

var _ rest.TableConvertor = tableConvertor{}

// ConvertToTable makes one row for each object.
func (tableConvertor) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if opts, ok := tableOptions.(*metav1.TableOptions); !ok || !opts.NoHeaders {
		table.ColumnDefinitions = columns
	}
	switch obj := object.(type) {
	case *secret.SecureValue:
		table.ResourceVersion = obj.ResourceVersion
		table.Rows = append(table.Rows, row(obj))
	case *secret.SecureValueList:
		table.ListMeta = obj.ListMeta
		for i := range obj.Items {
			table.Rows = append(table.Rows, row(&obj.Items[i]))
		}
	default:
		if meta.IsListType(object) {
			return nil, fmt.Errorf("printing a table: expected a SecureValueList, got %T", object)
		}
		return nil, fmt.Errorf("printing a table: expected a SecureValue, got %T", object)
	}
	return table, nil
}

func row(sv *secret.SecureValue) metav1.TableRow {
	return metav1.TableRow{
		Cells: []any{
			sv.Name, sv.Spec.Description, orNone(strings.Join(sv.Spec.Decrypters, ",")), sv.Status.Version,
			age(sv.CreationTimestamp), sv.Status.Keeper, keyOf(sv),
			orNone(secret.SealingKeyOf(sv.Spec.SealedValue)),
		},
		Object: runtime.RawExtension{Object: sv},
	}
}

// keyOf distinguishes a deleted object that waits for its finalizers and has no value from a damaged one.
func keyOf(sv *secret.SecureValue) string {
	if sv.DeletionTimestamp != nil {
		return "<deleted>"
	}
	return orNone(sv.Status.Key)
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

func age(created metav1.Time) string {
	if created.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(created.Time))
}
