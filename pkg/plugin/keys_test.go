// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// TestAttackKeyNameOnTheTerminal: a server of another version may return what was written to etcd directly.
func TestAttackKeyNameOnTheTerminal(t *testing.T) {
	found := &tally{keys: map[types.NamespacedName]string{}, counts: map[string]int64{}}
	for name, key := range map[string]string{"a": "aesgcm/\x1b[2Jgone", "b": "aesgcm/\xff", "c": "aesgcm/team:2026"} {
		found.put(&v1beta1.SecureValue{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Status: v1beta1.SecureValueStatus{Key: key},
		})
	}
	report := found.report()
	out := report.table()
	for _, want := range []string{"unreadable         2", "aesgcm/team:2026   1"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "\xff") {
		t.Errorf("the terminal gets %q", out)
	}
}
