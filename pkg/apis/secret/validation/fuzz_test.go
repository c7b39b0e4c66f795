// SPDX-License-Identifier: Apache-2.0

package validation_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// FuzzValidate states the contract a second time, and holds validation to it. No error may hold the value.
func FuzzValidate(f *testing.F) {
	f.Add("d", "v", "k6-cloud,synthetic-monitoring", "name")
	f.Add("", "", "", "")
	f.Add(strings.Repeat("😀", 25), strings.Repeat("x", 24576), "k6-cloud,k6-cloud", "a.b")
	f.Add(strings.Repeat("a", 26), strings.Repeat("x", 24577), "-,other,", "A")
	f.Add("\xff", "\xed\xa0\x80", "*", "..")
	validator := validation.New(allowed)
	f.Fuzz(func(t *testing.T, about, plaintext, list, objectName string) {
		// The canary ends the value, so that a cut-off quotation of its start is found by the line below as well.
		sv := valid(description(about), value(plaintext+canary), decrypters(split(list)...), name(objectName))
		quotable := strings.Contains(about+list+objectName, canary)
		errs := validator.Create(sv)
		if text := errs.ToAggregate(); text != nil && !quotable && strings.Contains(text.Error(), canary) {
			t.Fatalf("an error holds the value: %v", text)
		}
		faulty := map[string]bool{}
		for _, err := range errs {
			faulty[err.Field] = true
		}
		for path, want := range map[string]bool{
			"spec.description": about == "" || !utf8.ValidString(about) || utf8.RuneCountInString(about) > 25,
			"spec.value":       len(plaintext+canary) > 24576 || !utf8.ValidString(plaintext+canary),
		} {
			if faulty[path] != want {
				t.Fatalf("%s: refused %t, want %t", path, faulty[path], want)
			}
		}
		if wantRefused := badList(split(list)); wantRefused != anyDecrypter(faulty) {
			t.Fatalf("decrypters %q: want refused %t, got %v", list, wantRefused, errs)
		}
		noValue(sv)
		if errs := validator.Update(sv, sv, false); len(errs) != 0 && errs[0].Field == "spec.value" {
			t.Fatalf("a kept value is refused: %v", errs)
		}
	})
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// badList says whether the contract refuses a list of decrypters: too long, or with a name that is unlisted or twice.
func badList(names []string) bool {
	seen := map[string]bool{}
	for _, name := range names {
		listed := false
		for _, one := range allowed {
			listed = listed || one == name
		}
		if !listed || seen[name] {
			return true
		}
		seen[name] = true
	}
	return len(names) > secret.MaxDecrypters
}

func anyDecrypter(faulty map[string]bool) bool {
	for path := range faulty {
		if strings.HasPrefix(path, "spec.decrypters") {
			return true
		}
	}
	return false
}
