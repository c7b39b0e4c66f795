// SPDX-License-Identifier: Apache-2.0

package sealedvalues

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/sealing"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func TestSealingKeysAreForEveryAuthenticatedUser(t *testing.T) {
	a := start(t)
	first := a.keys(t)
	public, err := sealing.ParsePublicKey(first[0].Spec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 1 || public.ID() != first[0].Name || first[0].Spec.Suite != sealing.Suite {
		t.Errorf("got %d keys, the first is %s of suite %s", len(first), first[0].Name, first[0].Spec.Suite)
	}
	if again := a.keys(t); len(again) != 1 || again[0].Name != first[0].Name {
		t.Error("asking twice made a second key")
	}
	a.Get(t, keysPath+"/"+first[0].Name, "token-of-nobody").Want(t, http.StatusOK)
	a.Get(t, keysPath+"/0000000000000000", a.AdminToken).Want(t, http.StatusNotFound)
	a.Get(t, keysPath, "").Want(t, http.StatusUnauthorized)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		got := a.Do(t, harness.Request{Method: method, Path: keysPath + "/" + first[0].Name, Token: a.AdminToken,
			ContentType: mergeType, Body: "{}"})
		if got.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: code %d, want 405", method, got.Code)
		}
	}
	out, errs, err := a.Kubectl(t, "", "get", "sealingkeys")
	if err != nil || !strings.Contains(out, first[0].Name) || !strings.Contains(out, "true") {
		t.Errorf("kubectl get sealingkeys: %v\n%s%s", err, out, errs)
	}
}

func TestKeysAreReplacedByAge(t *testing.T) {
	a := start(t, "--sealing-key-max-age=1ns")
	if first, second := a.keys(t), a.keys(t); len(second) <= len(first) || first[0].Name == second[0].Name {
		t.Errorf("a key past its age was not replaced: %d keys, then %d", len(first), len(second))
	}
}

// Of two servers with one etcd, each opens at once what was sealed to a key that the other made.
func TestTwoServersShareTheirKeys(t *testing.T) {
	first := start(t)
	db := harness.Etcd(t, filepath.Join(t.TempDir(), "etcd"))
	encryption := filepath.Join(first.DataDir, "encryption.yaml")
	args := []string{harness.EtcdServers(db), "--encryption-provider-config=" + encryption}
	a, b := start(t, args...), start(t, args...)
	for i, servers := range [][2]*api{{a, b}, {b, a}} {
		name := []string{"one", "two"}[i]
		value := servers[1].canary()
		text := servers[0].seal(t, value, binding(name))
		servers[1].create(t, manifest(t, name, text)).Want(t, http.StatusCreated)
		servers[0].wantValue(t, name, value)
		if out, errs, code := harness.Tool(t, "sealing-keys", "replace", args[0]); code != 0 {
			t.Fatalf("%s%s", out, errs)
		}
	}
	if a, b := a.keys(t), b.keys(t); len(a) != 3 || a[0].Name != b[0].Name {
		t.Errorf("%d and %d keys, active %s and %s", len(a), len(b), a[0].Name, b[0].Name)
	}
}

func TestRetire(t *testing.T) {
	a := start(t)
	value := a.canary()
	text := a.seal(t, value, binding("one"))
	old := a.keys(t)[0].Name
	a.create(t, manifest(t, "one", text)).Want(t, http.StatusCreated)
	if out := a.tool(t, 1, "sealing-keys", "retire", old, "--force"); !strings.Contains(out, "replace it first") {
		t.Errorf("the active key: %s", out)
	}
	if out := a.tool(t, 0, "sealing-keys", "replace"); !strings.Contains(out, old) {
		t.Errorf("replaced: %s", out)
	}
	if now := a.keys(t); len(now) != 2 || now[0].Name == old || now[1].Name != old || now[1].Status.Active {
		t.Errorf("after a replacement: %+v", now)
	}
	a.create(t, manifest(t, "two", a.seal(t, value, binding("two")))).Want(t, http.StatusCreated)
	other := sealTo(t, a.keys(t)[1].Spec.PublicKey, value, binding("three"))
	a.create(t, manifest(t, "three", other)).Want(t, http.StatusCreated) // older keys open
	if out := a.tool(t, 1, "sealing-keys", "retire", old); !strings.Contains(out, "2 objects") || !strings.Contains(out, "shop/one") {
		t.Errorf("a key in use: %s", out)
	}
	if out := a.tool(t, 1, "sealing-keys", "retire", "0000000000000000"); !strings.Contains(out, "no such sealing key") {
		t.Errorf("an unknown key: %s", out)
	}
	a.tool(t, 0, "sealing-keys", "retire", old, "--force")
	if now := a.keys(t); len(now) != 1 {
		t.Errorf("%d keys after one of two was retired", len(now))
	}
	// What is stored is not affected, an unchanged manifest neither; the text alone makes nothing any more.
	a.wantValue(t, "one", value)
	if got := stateOf(t, a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusOK)); got.Version != 1 {
		t.Errorf("an unchanged manifest of a retired key: %+v", got)
	}
	a.send(t, http.MethodDelete, "one", "", "").Want(t, http.StatusOK)
	refused := a.create(t, manifest(t, "one", text)).Want(t, http.StatusBadRequest)
	if !strings.Contains(string(refused.Body), "retired") {
		t.Errorf("a text of a retired key: %s", refused.Body)
	}
	a.noTrace(t)
}

// The private halves move to a new storage key, count in the reports, and are in backups.
func TestKeysAreUnderTheStorageKey(t *testing.T) {
	a := start(t)
	value := a.canary()
	text := a.seal(t, value, binding("one"))
	if out := a.tool(t, 0, "keys", "report"); !strings.Contains(out, "0 values and 1 sealing key at") {
		t.Errorf("keys report: %s", out)
	}
	name := storageKey(t, a)
	a.Rotate(t, "second")
	harness.Eventually(t, "the sealing key is under the new storage key", func() bool {
		return strings.Contains(a.tool(t, 0, "keys", "report"), "sealing keys under aesgcm/second: 1")
	})
	if out := a.tool(t, 0, "keys", "retire", name); !strings.Contains(out, "No value is under it") {
		t.Errorf("keys retire: %s", out)
	}
	a.create(t, manifest(t, "one", text)).Want(t, http.StatusCreated)
	a.wantValue(t, "one", value)

	backup, restored := filepath.Join(t.TempDir(), "backup.db"), filepath.Join(t.TempDir(), "data")
	encryption := filepath.Join(a.DataDir, "encryption.yaml")
	a.tool(t, 0, "backup", "--to", backup)
	out, errs, code := harness.Tool(t, "backup", "verify", "--from", backup, "--encryption-provider-config", encryption)
	if code != 0 || !strings.Contains(out, "1 of 1 value opens and 1 of 1 sealing keys") {
		t.Errorf("backup verify: %d\n%s%s", code, out, errs)
	}
	a.Stop(t)
	if out, errs, code := harness.Tool(t, "restore", "--from", backup, "--data-dir", restored); code != 0 {
		t.Fatalf("%s%s", out, errs)
	}
	harness.WriteFile(t, filepath.Join(restored, "encryption.yaml"), string(harness.ReadFile(t, encryption)))
	again := restart(t, a, restored)
	again.create(t, manifest(t, "two", again.seal(t, value, binding("two")))).Want(t, http.StatusCreated)
	again.send(t, http.MethodDelete, "one", "", "").Want(t, http.StatusOK)
	again.create(t, manifest(t, "one", text)).Want(t, http.StatusCreated)
	again.wantValue(t, "one", value)
	again.noTrace(t)
}

// storageKey names the key that seals now.
func storageKey(t *testing.T, a *api) string {
	t.Helper()
	for line := range strings.Lines(a.tool(t, 0, "keys", "report")) {
		if _, key, ok := strings.Cut(line, "sealing keys under "); ok {
			return strings.TrimSpace(strings.Split(key, ":")[0])
		}
	}
	t.Fatal("keys report names no key")
	return ""
}
