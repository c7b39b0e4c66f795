// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestDeletedAreFreedAtStart starts on the data of an older version: deleted objects have their ciphertext, and wait
// for a garbage collector, for a user's finalizer, or for both. The tools count them as deleted.
func TestDeletedAreFreedAtStart(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	held := map[string][]string{
		"foreground": {"foregroundDeletion"}, "orphan": {"orphan"}, "both": {"example.com/a", "foregroundDeletion"}, "user": {"example.com/a"},
	}
	canaries := []string{harness.Canary()}
	s.Create(t, "default", "alive", canaries[0])
	for name := range held {
		canaries = append(canaries, harness.Canary())
		s.Create(t, "default", name, canaries[len(canaries)-1])
	}
	s.Stop(t)
	harness.EditAll(t, s.DataDir, func(sv *secret.SecureValue) {
		if finalizers := held[sv.Name]; finalizers != nil {
			now := metav1.Now()
			sv.Finalizers, sv.DeletionTimestamp, sv.DeletionGracePeriodSeconds = finalizers, &now, new(int64)
		}
	})
	wantCounted(t, s.DataDir, 4)

	again := harness.Start(t, harness.Options{DataDir: s.DataDir})
	harness.Eventually(t, "the objects that only a garbage collector held are gone", func() bool {
		return again.Get(t, harness.Collection("default")+"/foreground", again.AdminToken).Code == http.StatusNotFound &&
			again.Get(t, harness.Collection("default")+"/orphan", again.AdminToken).Code == http.StatusNotFound
	})
	for _, name := range []string{"both", "user"} {
		harness.Eventually(t, name+" has only the finalizer of a user, and no ciphertext", func() bool {
			got := again.Get(t, harness.Collection("default")+"/"+name, again.AdminToken)
			var sv v1beta1.SecureValue
			if err := json.Unmarshal(got.Body, &sv); err != nil {
				t.Fatal(err)
			}
			return slices.Equal(sv.Finalizers, []string{"example.com/a"}) && sv.Status.Key == ""
		})
	}
	if found := regexp.MustCompile(`(?m)^secret_values\{key="([^"]*)"\} (.*)$`).FindAllStringSubmatch(again.Metrics(t), -1); len(found) != 1 ||
		found[0][1] == "" || found[0][2] != "1" {
		t.Errorf("the metrics count %q, want one value under one key", found)
	}
	again.Stop(t)
	wantCounted(t, s.DataDir, 2)
	if opened := harness.OpenAll(t, s.DataDir); len(opened) != 1 || opened["default/alive"] != canaries[0] {
		t.Errorf("%d values open", len(opened))
	}
	if !strings.Contains(string(harness.ReadFile(t, again.AuditFile)), `"verb":"delete"`) {
		t.Error("the audit log does not say what was freed")
	}
	again.Leaks(t, canaries...)
}

// wantCounted asks the tools that read the database: one value, and so many deleted objects, none of them a fault.
func wantCounted(t *testing.T, dataDir string, deleted int) {
	t.Helper()
	keys := filepath.Join(dataDir, "encryption.yaml")
	backup := filepath.Join(t.TempDir(), "backup.db")
	for _, tool := range []struct {
		args []string
		want string
	}{
		{[]string{"keys", "report", "--data-dir", dataDir}, fmt.Sprintf("%d deleted, waiting for finalizers\n1 value at", deleted)},
		{[]string{"keys", "report", "--data-dir", dataDir, "-o", "json"}, fmt.Sprintf(`"values": 1,
  "deleted": %d,`, deleted)},
		{[]string{"keys", "check", "--data-dir", dataDir, "--encryption-provider-config", keys}, "has a key for each of 1 value at"},
		{[]string{"backup", "--data-dir", dataDir, "--to", backup, "--verify", "--encryption-provider-config", keys},
			fmt.Sprintf("%d deleted, waiting for finalizers: nothing to open\n1 of 1 value opens", deleted)},
		{[]string{"restore", "--from", backup, "--data-dir", filepath.Join(t.TempDir(), "restored"), "--verify", "--encryption-provider-config", keys},
			"1 of 1 value opens"},
	} {
		stdout, stderr, code := harness.Tool(t, tool.args...)
		if code != 0 || !strings.Contains(stdout, tool.want) {
			t.Errorf("%v: exit code %d, want 0 and %q:\n%s%s", tool.args[:2], code, tool.want, stdout, stderr)
		}
	}
}
