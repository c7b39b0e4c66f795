// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// planted is what mallory, who may write and not extend, makes of stored(): a junk value and a longer list.
func planted(t *testing.T) *secret.SecureValue {
	t.Helper()
	sv := stored()
	sv.Spec.Value, sv.Spec.Decrypters = sensitive.New("junk"), []string{"k6-cloud", "synthetic-monitoring"}
	testStrategy().PrepareForUpdate(as(t, "mallory"), sv, stored())
	sv.Spec.Value = nil
	return sv
}

// wrote is who does what to a planted object, and returns the object and the warning.
func wrote(t *testing.T, user string, dryRun bool, change func(*secret.SecureValue)) (sv *secret.SecureValue,
	warning string) {
	t.Helper()
	ctx, update := withWriteRequest(as(t, user), dryRun)
	old := planted(t)
	sv = old.DeepCopy()
	change(sv)
	testStrategy().PrepareForUpdate(ctx, sv, old)
	return sv, strings.Join(update.warnings, "")
}

func TestPlantedDecrypterIsWarnedAbout(t *testing.T) {
	value := func(sv *secret.SecureValue) { sv.Spec.Value = sensitive.New(canary) }
	with := func(decrypters ...string) func(*secret.SecureValue) {
		return func(sv *secret.SecureValue) { sv.Spec.Decrypters = decrypters; value(sv) }
	}
	tests := []struct {
		name, user string
		change     func(*secret.SecureValue)
		warned     string
	}{
		{"value", "alice", value, `synthetic-monitoring (listed by "mallory"); spec.decrypters is [k6-cloud, ` +
			`synthetic-monitoring]`},
		{"the same list", "alice", with("synthetic-monitoring", "k6-cloud"), "synthetic-monitoring (listed by"},
		{"one of the list", "alice", with("synthetic-monitoring"), "synthetic-monitoring (listed by"},
		{"without what was planted", "alice", with("k6-cloud"), ""},
		{"no decrypters", "alice", with(), ""},
		{"a third user", "carol", value, `k6-cloud (listed by "alice"), synthetic-monitoring (listed by "mallory")`},
		{"the one who planted it", "mallory", value, ""}, // who wrote a value for alice's k6-cloud
		{"no value", "alice", func(sv *secret.SecureValue) { sv.Labels = map[string]string{"a": "b"} }, ""},
		{"annotations left out", "alice", func(sv *secret.SecureValue) { value(sv); sv.Annotations = nil },
			"synthetic-monitoring (listed by"},
		{"forged annotations", "alice", func(sv *secret.SecureValue) {
			value(sv)
			sv.Annotations[secret.AnnotationDecryptersAddedBy],
				sv.Annotations[secret.AnnotationDecryptersKeptBy] = "{}", `["alice"]`
		}, "synthetic-monitoring (listed by"},
	}
	for _, tt := range tests {
		for _, dryRun := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				_, got := wrote(t, tt.user, dryRun, tt.change)
				if (got != "") != (tt.warned != "") || !strings.Contains(got, tt.warned) ||
					strings.Contains(got, canary) {
					t.Errorf("dry run %t: got %q, want %q", dryRun, got, tt.warned)
				}
			})
		}
	}
}

// Once a user has written a value for a list, the user knows it, and is not warned again before it grows.
func TestWarnedOnce(t *testing.T) {
	sv, _ := wrote(t, "alice", false, func(sv *secret.SecureValue) { sv.Spec.Value = sensitive.New(canary) })
	sv.Spec.Value = nil
	ctx, update := withWriteRequest(as(t, "alice"), false)
	again := sv.DeepCopy()
	again.Spec.Value = sensitive.New(canary)
	if testStrategy().PrepareForUpdate(ctx, again, sv); len(update.warnings) > 0 {
		t.Errorf("warned again: %s", update.warnings)
	}
}

// registry.Store tries again when another write came first: only the last attempt counts.
func TestWarningOfTheLastAttempt(t *testing.T) {
	ctx, update := withWriteRequest(as(t, "alice"), false)
	for _, old := range []*secret.SecureValue{planted(t), stored()} {
		sv := old.DeepCopy()
		sv.Spec.Value = sensitive.New(canary)
		testStrategy().PrepareForUpdate(ctx, sv, old)
	}
	if len(update.warnings) > 0 {
		t.Errorf("got the warning of an attempt that was not stored: %s", update.warnings)
	}
}

func TestDecryptersChangedBy(t *testing.T) {
	for name, tt := range map[string]struct {
		list []string
		want string
	}{
		"added":        {[]string{"k6-cloud", "synthetic-monitoring", "other"}, "bob"},
		"removed":      {[]string{"k6-cloud"}, "bob"},
		"none left":    {nil, "bob"},
		"reordered":    {[]string{"synthetic-monitoring", "k6-cloud"}, "mallory"},
		"as they were": {[]string{"k6-cloud", "synthetic-monitoring"}, "mallory"},
	} {
		sv, _ := wrote(t, "bob", false, func(sv *secret.SecureValue) {
			sv.Spec.Decrypters = tt.list
			sv.Annotations[secret.AnnotationDecryptersChangedBy] = "forged"
		})
		if got := sv.Annotations[secret.AnnotationDecryptersChangedBy]; got != tt.want {
			t.Errorf("%s: changed by %q, want %q", name, got, tt.want)
		}
	}
	want := map[string]string{
		secret.AnnotationDecryptersChangedBy: "mallory",
		secret.AnnotationDecryptersAddedBy:   `{"synthetic-monitoring":"mallory"}`,
		secret.AnnotationDecryptersKeptBy:    `["mallory"]`,
	}
	got := planted(t).Annotations
	for _, key := range []string{secret.AnnotationCreatedBy, secret.AnnotationUpdatedBy,
		secret.AnnotationUpdatedTimestamp} {
		delete(got, key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A list of a megabyte is refused by validation; until then nothing may be made of it.
func TestLongListIsNotRecorded(t *testing.T) {
	sv := stored()
	sv.Spec.Decrypters = slices.Repeat([]string{"a"}, secret.MaxDecrypters+1)
	testStrategy().PrepareForUpdate(as(t, "bob"), sv, stored())
	if _, ok := sv.Annotations[secret.AnnotationDecryptersChangedBy]; ok {
		t.Error("a list that is refused was recorded")
	}
}
