// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// The whole flow, four times from two backups: what was stored is served and opens, writes go on, and a client that
// knew the server before finds that its revision is gone, for any that it can have seen: before the backup, after it,
// and after each restore.
func TestRestoredServerServesAndItsRevisionsNeverGoBack(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	stored := fill(t, s, 5, 0)
	values := s.Values(t, "", namespace)
	if err := values.Delete(t.Context(), "value-4", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(stored, namespace+"/value-4")
	seen := []string{revision(t, values)}
	backup := file(t)
	must(t, "backup", "--data-dir="+s.DataDir, "--to="+backup)
	if _, err := values.Create(t.Context(), harness.NewValue("lost", "written after the backup", "k6-cloud"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seen = append(seen, revision(t, values))
	s.Stop(t)

	// A, A again, a backup B of that, and A again: each ends above all that was handed out before.
	from, later := backup, file(t)
	for i := range 4 {
		restored := start(t, restore(t, from, s.DataDir))
		values = restored.Values(t, "", namespace)
		for name, value := range stored {
			if got := decrypt(t, restored, strings.TrimPrefix(name, namespace+"/")); got != value {
				t.Errorf("%s opens to something else", name)
			}
		}
		list, err := values.List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != len(stored) {
			t.Fatalf("want %d values, got %d, %v", len(stored), len(list.Items), err)
		}
		for _, old := range seen {
			wantGone(t, values, old)
			if number(t, list.ResourceVersion) <= number(t, old) {
				t.Errorf("revision %s after the restore, %s was handed out before", list.ResourceVersion, old)
			}
		}
		watchesOn(t, values, list.ResourceVersion)
		seen = append(seen, revision(t, values))
		restored.Leaks(t, stored[namespace+"/value-0"])
		if from = backup; i == 1 {
			if err := values.Delete(t.Context(), "new", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			must(t, "backup", "--data-dir="+restored.DataDir, "--to="+later)
			from = later
		}
		restored.Stop(t)
	}
}

// The decrypt audit log is not in a backup, and its published head is. With the log of the lost server the chain goes
// on; without it the first line says what is missing, and the log verifies once somebody has said that this is known.
func TestAuditLogOfARestoredServer(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	fill(t, s, 1, 0)
	decrypt(t, s, "value-0")
	s.Stop(t) // publishes the head
	backup := file(t)
	must(t, "backup", "--data-dir="+s.DataDir, "--to="+backup)
	verify := func(s *harness.Server, more ...string) []string {
		files := []string{"--key-file=" + filepath.Join(s.DataDir, "decrypt-audit.key"), filepath.Join(s.DataDir, "decrypt-audit")}
		return append(append([]string{"audit", "verify"}, more...), files...)
	}

	dir := restore(t, backup, s.DataDir)
	copied := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(s.DataDir, "decrypt-audit"), filepath.Join(s.DataDir, "decrypt-audit.key"), dir)
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	with := start(t, dir)
	decrypt(t, with, "value-0")
	with.Stop(t)
	if out := must(t, verify(with)...); !strings.Contains(out, "2 allowed") {
		t.Errorf("both decrypts should be in one chain:\n%s", out)
	}

	without := start(t, restore(t, backup, s.DataDir))
	without.Stop(t)
	told := refused(t, "had been published and were missing", verify(without)...)
	_, fault, _ := strings.Cut(told, "--known-fault ")
	must(t, verify(without, "--known-fault="+strings.Fields(fault)[0])...)
}

// TestBackupToStandardOutput writes to a pipe and nothing else, and what arrived is a whole backup.
func TestBackupToStandardOutput(t *testing.T) {
	s := start(t, "")
	fill(t, s, 3, 0)
	t.Chdir(t.TempDir())
	out, errOut, code := harness.Tool(t, "backup", "--data-dir="+s.DataDir, "--to=-")
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	arrived := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(arrived, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := must(t, "backup", "verify", "--from="+arrived, "--encryption-provider-config="+keys(s.DataDir)); !strings.Contains(got, "3 values") {
		t.Errorf("verify says %q", got)
	}
	refused(t, "--verify needs a file", "backup", "--data-dir="+s.DataDir, "--to=-", "--verify", "--encryption-provider-config="+keys(s.DataDir))
}

func revision(t *testing.T, values typed.SecureValueInterface) string {
	t.Helper()
	list, err := values.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.ResourceVersion
}

func number(t *testing.T, resourceVersion string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(resourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// silence is how long a watch that should end at once is waited for.
const silence = 30 * time.Second

// wantGone wants 410 for a watch from a revision, as a status or as the first event, and for a list at it.
func wantGone(t *testing.T, values typed.SecureValueInterface, resourceVersion string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	w, err := values.Watch(ctx, metav1.ListOptions{ResourceVersion: resourceVersion})
	if err == nil {
		event := <-w.ResultChan()
		w.Stop()
		if event.Type != watch.Error {
			t.Errorf("a watch from %s goes on with %q", resourceVersion, event.Type)
			return
		}
		err = apierrors.FromObject(event.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("a watch from %s: %v", resourceVersion, err)
	}
	_, err = values.List(t.Context(), metav1.ListOptions{ResourceVersion: resourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("a list at %s: %v", resourceVersion, err)
	}
}

// watchesOn writes, and wants to see it in a watch from a list.
func watchesOn(t *testing.T, values typed.SecureValueInterface, from string) {
	t.Helper()
	w, err := values.Watch(t.Context(), metav1.ListOptions{ResourceVersion: from})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	made, err := values.Create(t.Context(), harness.NewValue("new", harness.Canary(), "k6-cloud"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	event := <-w.ResultChan()
	object, ok := event.Object.(metav1.Object)
	if event.Type != watch.Added || !ok || object.GetName() != "new" || object.GetResourceVersion() != made.ResourceVersion {
		t.Errorf("got %v", event)
	}
}

// decrypt opens a value as k6.
func decrypt(t *testing.T, s *harness.Server, name string) string {
	t.Helper()
	got := s.OnDecryptPort().Get(t, harness.DecryptPath(namespace, name), k6Token)
	var body struct{ Plaintext string }
	if err := json.Unmarshal(got.Body, &body); err != nil || got.Code != http.StatusOK {
		t.Fatalf("%d %s %v", got.Code, got.Body, err)
	}
	return body.Plaintext
}

// A restore touches nothing that is there, and leaves nothing when it fails.
func TestRestoreRefusesAFolderThatIsNotEmpty(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	stored := fill(t, s, 2, 0)
	backup := file(t)
	must(t, "backup", "--data-dir="+s.DataDir, "--to="+backup)
	refused(t, "holds ", "restore", "--from="+backup, "--data-dir="+s.DataDir)
	s.Stop(t)
	before := tree(t, s.DataDir)
	refused(t, "restore into a folder that is empty or absent; nothing was changed", "restore", "--from="+backup, "--data-dir="+s.DataDir)
	if after := tree(t, s.DataDir); after != before {
		t.Errorf("the folder was touched:\n%s", after)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, "run chmod 700", "restore", "--from="+backup, "--data-dir="+open)
	refused(t, "not a directory", "restore", "--from="+backup, "--data-dir="+backup)

	// One that is empty, one whose parents are absent, and one with the rest of an interrupted restore will do.
	empty, deep, again := t.TempDir(), filepath.Join(t.TempDir(), "a", "b"), t.TempDir()
	if err := os.MkdirAll(filepath.Join(again, ".restore-1", "etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{empty, deep, again} {
		if err := os.Chmod(dir, 0o700); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		line := must(t, "restore", "--from="+backup, "--data-dir="+dir, "--verify", "--encryption-provider-config="+keys(s.DataDir))
		if !strings.Contains(line, "The keys were not in the backup") || !strings.Contains(line, "2 of 2 values open") {
			t.Errorf("got %s", line)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != "etcd" {
			t.Errorf("want etcd alone, got %v, %v", entries, err)
		}
		harness.WriteFile(t, keys(dir), string(harness.ReadFile(t, keys(s.DataDir))))
		if opened := harness.OpenAll(t, dir); len(opened) != len(stored) {
			t.Errorf("%d values open in %s", len(opened), dir)
		}
	}
}
