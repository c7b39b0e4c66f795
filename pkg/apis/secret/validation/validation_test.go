// SPDX-License-Identifier: Apache-2.0

package validation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

const canary = "CANARY-e03b55"

var allowed = []string{"synthetic-monitoring", "k6-cloud", "provisioning.grafana.app"}

// change alters a valid object.
type change func(*secret.SecureValue)

func valid(changes ...change) *secret.SecureValue {
	sv := &secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: "api-key", Namespace: "default"},
		Spec: secret.SecureValueSpec{Description: "External API Key", Value: sensitive.New(canary),
			Decrypters: []string{"k6-cloud"}},
	}
	for _, change := range changes {
		change(sv)
	}
	return sv
}

func description(s string) change { return func(sv *secret.SecureValue) { sv.Spec.Description = s } }
func decrypters(s ...string) change {
	return func(sv *secret.SecureValue) { sv.Spec.Decrypters = s }
}
func value(s string) change          { return func(sv *secret.SecureValue) { sv.Spec.Value = sensitive.New(s) } }
func noValue(sv *secret.SecureValue) { sv.Spec.Value = nil }
func name(s string) change           { return func(sv *secret.SecureValue) { sv.Name = s } }
func namespace(s string) change      { return func(sv *secret.SecureValue) { sv.Namespace = s } }
func generateName(s string) change {
	return func(sv *secret.SecureValue) { sv.Name, sv.GenerateName = "", s }
}

// many returns n well-formed names.
func many(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("service-%d", i)
	}
	return names
}

// ofBytes returns a value of n bytes that starts with the canary.
func ofBytes(n int) string { return canary + strings.Repeat("x", n-len(canary)) }

// faults writes each error as "path: type", in order.
func faults(t *testing.T, errs field.ErrorList) []string {
	t.Helper()
	got := make([]string, 0, len(errs))
	for _, err := range errs {
		if strings.Contains(err.Error(), canary) || strings.Contains(fmt.Sprintf("%+v %#v", err, *err), canary) {
			t.Errorf("an error holds the value: %v", err)
		}
		got = append(got, err.Field+": "+string(err.Type))
	}
	return got
}

func TestCreate(t *testing.T) {
	const fourBytes = "😀"
	tests := []struct {
		name    string
		sv      *secret.SecureValue
		allowed []string
		want    []string
	}{
		{name: "valid", sv: valid()},
		{name: "generated name", sv: valid(generateName("db-"), name("db-x7k2p"))}, // made before validation
		{name: "no decrypters", sv: valid(decrypters())},

		{name: "no description", sv: valid(description("")), want: []string{"spec.description: FieldValueRequired"}},
		{name: "25 characters", sv: valid(description(strings.Repeat("a", 25)))},
		{name: "26 characters", sv: valid(description(strings.Repeat("a", 26))),
			want: []string{"spec.description: FieldValueTooLong"}},
		{name: "25 four-byte characters", sv: valid(description(strings.Repeat(fourBytes, 25)))},
		{name: "26 four-byte characters", sv: valid(description(strings.Repeat(fourBytes, 26))),
			want: []string{"spec.description: FieldValueTooLong"}},
		{name: "description no UTF-8", sv: valid(description("a\xff")),
			want: []string{"spec.description: FieldValueInvalid"}},

		{name: "no value", sv: valid(noValue), want: []string{"spec.value: FieldValueRequired"}},
		{name: "empty value", sv: valid(value("")), want: []string{"spec.value: FieldValueRequired"}},
		{name: "one byte", sv: valid(value("x"))},
		{name: "24576 bytes", sv: valid(value(ofBytes(24576)))},
		{name: "24577 bytes", sv: valid(value(ofBytes(24577))), want: []string{"spec.value: FieldValueTooLong"}},
		{name: "8192 characters of 3 bytes", sv: valid(value(strings.Repeat("語", 8192)))},
		{name: "8193 characters of 3 bytes", sv: valid(value(strings.Repeat("語", 8193))),
			want: []string{"spec.value: FieldValueTooLong"}},
		{name: "value no UTF-8", sv: valid(value(canary + "\xff")), want: []string{"spec.value: FieldValueInvalid"}},
		{name: "value with NUL and line breaks", sv: valid(value("a\x00b\r\nc"))},
		{name: "value with U+FFFD", sv: valid(value("\ufffd"))},

		{name: "64 decrypters", sv: valid(decrypters(many(64)...)), allowed: []string{"*"}},
		{name: "65 decrypters", sv: valid(decrypters(many(65)...)), allowed: []string{"*"},
			want: []string{"spec.decrypters: FieldValueTooMany"}},
		{name: "a list that ends ill-formed past 64", sv: valid(decrypters(append(many(64), "-")...)),
			allowed: []string{"*"}, want: []string{"spec.decrypters: FieldValueTooMany"}},
		{name: "duplicate decrypter", sv: valid(decrypters("k6-cloud", "synthetic-monitoring", "k6-cloud")),
			want: []string{"spec.decrypters[2]: FieldValueDuplicate"}},
		{name: "empty decrypter", sv: valid(decrypters("k6-cloud", "")),
			want: []string{"spec.decrypters[1]: FieldValueRequired"}},
		{name: "two empty decrypters", sv: valid(decrypters("", "")),
			want: []string{"spec.decrypters[0]: FieldValueRequired", "spec.decrypters[1]: FieldValueDuplicate"}},
		{name: "unlisted decrypter", sv: valid(decrypters("other")),
			want: []string{"spec.decrypters[0]: FieldValueNotSupported"}},
		{name: "listed in another case", sv: valid(decrypters("K6-cloud")),
			want: []string{"spec.decrypters[0]: FieldValueNotSupported"}},
		{name: "ill-formed decrypter", sv: valid(decrypters("-k6")),
			want: []string{"spec.decrypters[0]: FieldValueInvalid"}},
		{name: "decrypter with a space", sv: valid(decrypters("k6 cloud")),
			want: []string{"spec.decrypters[0]: FieldValueInvalid"}},
		{name: "decrypter of 64 characters", sv: valid(decrypters(strings.Repeat("a", 64))),
			want: []string{"spec.decrypters[0]: FieldValueInvalid"}},
		{name: "all listed ones", sv: valid(decrypters(allowed...))},
		{name: "any with *", sv: valid(decrypters("other", "k6-cloud")), allowed: []string{"*"}},
		{name: "any with * among others", sv: valid(decrypters("other")), allowed: []string{"k6-cloud", "*"}},
		{name: "ill-formed with *", sv: valid(decrypters("*")), allowed: []string{"*"},
			want: []string{"spec.decrypters[0]: FieldValueInvalid"}},
		{name: "none allowed", sv: valid(), allowed: []string{},
			want: []string{"spec.decrypters[0]: FieldValueNotSupported"}},

		{name: "no name", sv: valid(name("")), want: []string{"metadata.name: FieldValueRequired"}},
		{name: "empty generateName", sv: valid(generateName("")), want: []string{"metadata.name: FieldValueRequired"}},
		{name: "bad generateName", sv: valid(generateName("DB_")),
			want: []string{"metadata.generateName: FieldValueInvalid", "metadata.name: FieldValueRequired"}},
		{name: "upper case", sv: valid(name("Api-Key")), want: []string{"metadata.name: FieldValueInvalid"}},
		{name: "underscore", sv: valid(name("api_key")), want: []string{"metadata.name: FieldValueInvalid"}},
		{name: "dots", sv: valid(name("..")), want: []string{"metadata.name: FieldValueInvalid"}},
		{name: "slash", sv: valid(name("a/b")), want: []string{"metadata.name: FieldValueInvalid"}},
		{name: "escaped slash", sv: valid(name("a%2fb")), want: []string{"metadata.name: FieldValueInvalid"}},
		{name: "253 characters", sv: valid(name(strings.Repeat("a", 253)))},
		{name: "500 characters", sv: valid(name(strings.Repeat("a", 500))),
			want: []string{"metadata.name: FieldValueInvalid"}},
		{name: "dotted name", sv: valid(name("api.key"))},
		{name: "no namespace", sv: valid(namespace("")), want: []string{"metadata.namespace: FieldValueRequired"}},
		{name: "bad namespace", sv: valid(namespace("Default")),
			want: []string{"metadata.namespace: FieldValueInvalid"}},
		{name: "dotted namespace", sv: valid(namespace("a.b")),
			want: []string{"metadata.namespace: FieldValueInvalid"}},
		{name: "bad label", sv: valid(func(sv *secret.SecureValue) { sv.Labels = map[string]string{"a": "b c"} }),
			want: []string{"metadata.labels: FieldValueInvalid"}},

		{
			name: "everything at once",
			sv:   valid(name("A"), namespace("B"), description(""), value(""), decrypters("", "x", "x", "-")),
			want: []string{
				"metadata.name: FieldValueInvalid", "metadata.namespace: FieldValueInvalid",
				"spec.description: FieldValueRequired", "spec.value: FieldValueRequired",
				"spec.decrypters[0]: FieldValueRequired", "spec.decrypters[1]: FieldValueNotSupported",
				"spec.decrypters[2]: FieldValueDuplicate", "spec.decrypters[3]: FieldValueInvalid",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := allowed
			if tt.allowed != nil {
				list = tt.allowed
			}
			got := faults(t, validation.New(list).Create(tt.sv))
			if diff := cmp.Diff(append([]string{}, tt.want...), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	tests := []struct {
		name     string
		sv, old  *secret.SecureValue
		required bool
		want     []string
	}{
		{name: "new value", sv: valid(), old: valid(noValue)},
		{name: "new value where one is required", sv: valid(), old: valid(noValue), required: true},
		{name: "keeps the value", sv: valid(noValue), old: valid(noValue)},
		{name: "no value where one is required", sv: valid(noValue), old: valid(noValue), required: true,
			want: []string{"spec.value: FieldValueRequired"}},
		{name: "empty value", sv: valid(value("")), old: valid(noValue),
			want: []string{"spec.value: FieldValueRequired"}},
		{name: "value too long", sv: valid(value(ofBytes(24577))), old: valid(noValue),
			want: []string{"spec.value: FieldValueTooLong"}},
		{name: "value no UTF-8", sv: valid(value(canary + "\xc3")), old: valid(noValue),
			want: []string{"spec.value: FieldValueInvalid"}},

		{name: "kept decrypter not listed any more", sv: valid(noValue, decrypters("retired", "k6-cloud")),
			old: valid(noValue, decrypters("retired"))},
		{name: "unlisted decrypter is new", sv: valid(decrypters("retired", "other")),
			old: valid(noValue, decrypters("retired")), want: []string{"spec.decrypters[1]: FieldValueNotSupported"}},
		{name: "retired decrypter does not come back", sv: valid(decrypters("retired")), old: valid(noValue),
			want: []string{"spec.decrypters[0]: FieldValueNotSupported"}},
		{name: "kept decrypter twice", sv: valid(noValue, decrypters("retired", "retired")),
			old: valid(noValue, decrypters("retired")), want: []string{"spec.decrypters[1]: FieldValueDuplicate"}},
		{name: "all decrypters removed", sv: valid(noValue, decrypters()), old: valid(noValue)},

		{
			name: "everything at once", sv: valid(noValue, description(strings.Repeat("x", 26)),
				decrypters("other", "")), old: valid(noValue), required: true,
			want: []string{
				"spec.description: FieldValueTooLong", "spec.value: FieldValueRequired",
				"spec.decrypters[0]: FieldValueNotSupported", "spec.decrypters[1]: FieldValueRequired",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(t, validation.New(allowed).Update(tt.sv, tt.old, tt.required))
			if diff := cmp.Diff(append([]string{}, tt.want...), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An unlisted name is answered with the names that work, in an order that does not change between calls.
func TestUnlistedNamesWhatIsListed(t *testing.T) {
	errs := validation.New(allowed).Create(valid(decrypters("other")))
	want := `spec.decrypters[0]: Unsupported value: "other": supported values: "k6-cloud", ` +
		`"provisioning.grafana.app", "synthetic-monitoring"; the server's flag --allowed-decrypters adds others`
	if len(errs) != 1 || errs[0].Error() != want {
		t.Errorf("got %v", errs)
	}
}

// New must not keep or reorder the caller's slice: it is a flag's value.
func TestNewLeavesItsInput(t *testing.T) {
	list := []string{"b", "a"}
	v := validation.New(list)
	list[0] = "changed"
	if errs := v.Create(valid(decrypters("b"))); len(errs) != 0 || list[1] != "a" {
		t.Errorf("got %v and list %v", errs, list)
	}
}
