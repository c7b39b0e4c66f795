// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func convert(t *testing.T, object, options runtime.Object) *metav1.Table {
	t.Helper()
	table, err := tableConvertor{}.ConvertToTable(t.Context(), object, options)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTableColumns(t *testing.T) {
	table := convert(t, stored(), nil)
	var normal, wide []string
	for _, column := range table.ColumnDefinitions {
		if column.Priority == 0 {
			normal = append(normal, column.Name)
		} else {
			wide = append(wide, column.Name)
		}
		if column.Description == "" || column.Type == "" {
			t.Errorf("%s has no description or no type", column.Name)
		}
	}
	if diff := cmp.Diff([]string{"Name", "Description", "Decrypters", "Version", "Age"}, normal); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Keeper", "Key", "Sealed"}, wide); diff != "" {
		t.Error(diff)
	}
	if table.ColumnDefinitions[0].Format != "name" {
		t.Error("kubectl finds the name by its format")
	}
}

func TestTableRows(t *testing.T) {
	aged := stored()
	aged.CreationTimestamp = metav1.NewTime(time.Now().Add(-49*time.Hour - time.Minute))
	aged.Spec.Decrypters, aged.Spec.SealedValue = []string{"b", "a"}, "sv1:3f9c2e71a4b05d86::text"
	bare := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}
	deleted := bare.DeepCopy()
	deleted.DeletionTimestamp, deleted.Status = new(metav1.Now()),
		secret.SecureValueStatus{Version: 3, Keeper: secret.KeeperSystem}
	tests := []struct {
		name string
		sv   *secret.SecureValue
		want []any
	}{
		{"full", aged, []any{"api-key", "External API Key", "b,a", int64(2), "2d1h", "system", "aesgcm/k1", "3f9c2e71a4b05d86"}},
		{"deleted", deleted, []any{"bare", "", "<none>", int64(3), "<unknown>", "system", "<deleted>", "<none>"}},
		{"bare", bare, []any{"bare", "", "<none>", int64(0), "<unknown>", "", "<none>", "<none>"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := convert(t, tt.sv, nil)
			if len(table.Rows) != 1 {
				t.Fatalf("got %d rows", len(table.Rows))
			}
			if diff := cmp.Diff(tt.want, table.Rows[0].Cells); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(table.Rows[0].Cells) != len(table.ColumnDefinitions) {
				t.Error("cells and columns differ in number")
			}
			if table.Rows[0].Object.Object != runtime.Object(tt.sv) {
				t.Error("the row does not carry its object")
			}
			if table.ResourceVersion != tt.sv.ResourceVersion {
				t.Errorf("got resourceVersion %q", table.ResourceVersion)
			}
		})
	}
}

func TestTableOfList(t *testing.T) {
	remaining := int64(5)
	list := &secret.SecureValueList{
		ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: "next", RemainingItemCount: &remaining},
		Items:    []secret.SecureValue{*stored(), {ObjectMeta: metav1.ObjectMeta{Name: "second"}}},
	}
	table := convert(t, list, &metav1.TableOptions{})
	if len(table.Rows) != 2 || table.Rows[0].Cells[0] != "api-key" || table.Rows[1].Cells[0] != "second" {
		t.Fatalf("got %v", table.Rows)
	}
	if table.Rows[0].Object.Object == table.Rows[1].Object.Object {
		t.Error("two rows carry one object")
	}
	if diff := cmp.Diff(list.ListMeta, table.ListMeta); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if empty := convert(t, &secret.SecureValueList{}, nil); len(empty.Rows) != 0 || len(empty.ColumnDefinitions) == 0 {
		t.Errorf("an empty list has %d rows and %d columns", len(empty.Rows), len(empty.ColumnDefinitions))
	}
}

// A watch sends headers with its first event only.
func TestTableWithoutHeaders(t *testing.T) {
	table := convert(t, stored(), &metav1.TableOptions{NoHeaders: true})
	if len(table.ColumnDefinitions) != 0 || len(table.Rows) != 1 {
		t.Errorf("got %d columns and %d rows", len(table.ColumnDefinitions), len(table.Rows))
	}
}

func TestTableOfAnotherType(t *testing.T) {
	for _, object := range []runtime.Object{&metav1.Status{}, &metav1.PartialObjectMetadataList{}} {
		if _, err := (tableConvertor{}).ConvertToTable(t.Context(), object, nil); err == nil {
			t.Errorf("%T was printed", object)
		}
	}
}
