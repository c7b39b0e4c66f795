// SPDX-License-Identifier: Apache-2.0

package rights

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
)

// TestProbe asks for a name as long as a decrypter can be, that stays for an hour and is not the same afterwards.
func TestProbe(t *testing.T) {
	var p, other Probe
	start := time.Unix(1000, 0)
	name := p.at(start)
	if faults := validation.IsValidLabelValue(name); len(faults) > 0 || len(name) != validation.LabelValueMaxLength {
		t.Errorf("%q is not a decrypter of full length: %v", name, faults)
	}
	if got := p.at(start.Add(probeLife - 1)); got != name {
		t.Errorf("%q within the hour, then %q", name, got)
	}
	if got := p.at(start.Add(probeLife)); got == name {
		t.Errorf("%q again after an hour", got)
	}
	if other.at(start) == name {
		t.Error("two processes have one name")
	}
}

func TestCaller(t *testing.T) {
	who := &user.DefaultInfo{
		Name: "k6", UID: "1", Extra: map[string][]string{"k": {"v"}},
		Groups: []string{"a", user.SystemPrivilegedGroup, "b", user.AllUnauthenticated, "System:Masters"},
	}
	got := Caller(who)
	if got.Name != "k6" || got.UID != "1" || len(got.Extra) != 1 || !slices.Equal(got.Groups, []string{"a", "b", "System:Masters"}) {
		t.Errorf("%+v", got)
	}
	if len(who.Groups) != 5 || who.Groups[1] != user.SystemPrivilegedGroup {
		t.Errorf("the groups of the request were changed: %v", who.Groups)
	}
}
