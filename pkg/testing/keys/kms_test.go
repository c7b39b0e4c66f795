// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kmsplugin"
)

// kmsOptions run a server whose keys are behind a plugin.
func kmsOptions(t *testing.T, p *kmsplugin.Plugin) (options harness.Options, config string) {
	t.Helper()
	config = t.TempDir() + "/encryption.yaml"
	harness.WriteFile(t, config, configHead+p.Provider("vault"))
	return harness.Options{Args: []string{
		"--encryption-provider-config=" + config, "--encryption-provider-config-automatic-reload",
		"--rewrap-probe-interval=500ms", "-v=2",
	}}.WithK6(namespace), config
}

// readsAndEdits does everything that needs no key.
func readsAndEdits(t *testing.T, values typed.SecureValueInterface, name string) {
	t.Helper()
	if list, err := values.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) == 0 {
		t.Errorf("list: %v", err)
	}
	w, err := values.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	<-w.ResultChan()
	w.Stop()
	object, err := values.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	slices.Reverse(object.Spec.Decrypters)
	for _, patch := range []string{
		fmt.Sprintf(`{"metadata":{"labels":{"at":"%d"}}}`, time.Now().UnixNano()),
		fmt.Sprintf(`{"spec":{"description":"%d"}}`, time.Now().UnixNano()),
		`{"spec":{"decrypters":["` + strings.Join(object.Spec.Decrypters, `","`) + `"]}}`, // another order
	} {
		if _, err := values.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("patch %s: %v", patch, err)
		}
	}
}

// needsTheKey does everything that seals or opens, and returns the errors by what was tried.
func needsTheKey(t *testing.T, values typed.SecureValueInterface, name string) map[string]error {
	t.Helper()
	fresh := fmt.Sprintf("fresh-%d", time.Now().UnixNano())
	_, create := values.Create(t.Context(), harness.NewValue(fresh, harness.Canary()), metav1.CreateOptions{})
	_, value := values.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"value":"`+harness.Canary()+`"}}`), metav1.PatchOptions{})
	_, taken := values.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"decrypters":["k6-cloud"]}}`), metav1.PatchOptions{})
	if taken == nil {
		_, taken = values.Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"spec":{"decrypters":["synthetic-monitoring","k6-cloud"]}}`), metav1.PatchOptions{})
	}
	return map[string]error{"create": create, "new value": value, "decrypter taken away": taken}
}

// A plugin that is dead from the start: what needs no key works, what needs one is 503, readiness stays green, and it
// all comes back by itself. With a live plugin neither reads nor edits call it.
func TestIncident19TheKMSIsAway(t *testing.T) {
	t.Parallel()
	p := kmsplugin.Start(t)
	options, _ := kmsOptions(t, p)
	s := harness.Start(t, options)
	values := s.Values(t, "", namespace)
	if _, err := values.Create(t.Context(), harness.NewValue("held", harness.Canary(), "synthetic-monitoring", "k6-cloud"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before := p.Calls()
	readsAndEdits(t, values, "held")
	if after := p.Calls(); after.Encrypt != before.Encrypt || after.Decrypt != before.Decrypt {
		t.Errorf("reads and edits called the plugin: %+v, then %+v", before, after)
	}
	s.Stop(t)

	p.Stop()
	options.DataDir = s.DataDir
	s = harness.Start(t, options) // a plugin may come up later than the server
	values = s.Values(t, "", namespace)
	readsAndEdits(t, values, "held")
	for what, err := range needsTheKey(t, values, "held") {
		if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "encryption key unavailable; nothing was changed, retry later") {
			t.Errorf("%s without the plugin: %v", what, err)
		}
	}
	harness.Eventually(t, "the metric tells of the plugin", func() bool { return s.Metric(t, "secret_encryption_kms_healthy") == 0 })
	// Unready until it is reached for the first time, so that a rollout with a wrong socket stops at its first Pod.
	startup := s.Get(t, "/readyz", s.AdminToken)
	if startup.Code != http.StatusInternalServerError || !strings.Contains(string(startup.Body), "[-]kms-startup failed") {
		t.Errorf("readiness of a server that never reached its plugin: %d %s", startup.Code, startup.Body)
	}
	ready := s.Get(t, "/readyz?verbose&exclude=kms-startup", s.AdminToken)
	if ready.Code != http.StatusOK || !strings.Contains(string(ready.Body), "[+]kms-providers (a KMS plugin is unavailable") {
		t.Errorf("readiness without the plugin: %d %s", ready.Code, ready.Body)
	}

	if err := p.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "everything works again", func() bool {
		for _, err := range needsTheKey(t, values, "held") {
			if err != nil {
				return false
			}
		}
		return true
	})
	for _, path := range []string{"/readyz", "/readyz/kms-providers"} {
		harness.Eventually(t, path+" tells that the plugin is back", func() bool {
			return s.Get(t, path, s.AdminToken).Code == http.StatusOK
		})
	}
}

// A start with many values and a slow plugin asks it a handful of times, however many services fetch their values at
// once.
func TestAColdStartAsksASlowPluginSeldom(t *testing.T) {
	t.Parallel()
	const stored, callers = 10_000, 64
	p := kmsplugin.Start(t)
	options, _ := kmsOptions(t, p)
	options.Args = append(options.Args, "--rewrap=false")
	s := harness.Start(t, options)
	create(t, s.Values(t, "", namespace), "value", stored, "k6-cloud")
	s.Stop(t)

	p.SetDelay(40 * time.Millisecond)
	p.ResetCalls()
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	if list, err := s.Values(t, "", namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != stored {
		t.Fatalf("list: %v", err)
	}
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for n := range 4 {
				name := fmt.Sprintf("value-%d", caller*4+n)
				if code := s.Decrypt(t, harness.K6Token, namespace, name).Code; code != http.StatusOK {
					t.Errorf("decrypting %s: %d", name, code)
				}
			}
		})
	}
	group.Wait()
	calls := p.Calls()
	if total := calls.Status + calls.Encrypt + calls.Decrypt; total > 10 {
		t.Errorf("%d calls of the plugin: %+v, want at most 10", total, calls)
	}
}

// The plugin changes its key by itself: the server notices, seals with it, and the controller moves what is stored.
func TestAPluginThatChangesItsKey(t *testing.T) {
	t.Parallel()
	p := kmsplugin.Start(t)
	options, _ := kmsOptions(t, p)
	s := harness.Start(t, options)
	values := s.Values(t, "", namespace)
	create(t, values, "value", 20)
	old := byKey(t, values)
	if err := p.Keys.Use("key-2"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "every value is under the plugin's new key", func() bool {
		now := byKey(t, values)
		for key, count := range now {
			if old[key] == 0 && strings.HasPrefix(key, "kms/vault/") && count == 20 {
				return true
			}
		}
		return false
	})
	s.Stop(t)
}

// A plugin that wraps under another key than it says, or answers with another data key: nothing opens to anything else
// than what was written, nothing is lost, and it heals.
func TestAPluginWithTheWrongKey(t *testing.T) {
	t.Parallel()
	p := kmsplugin.Start(t)
	options, _ := kmsOptions(t, p)
	options.Args = append(options.Args, "--rewrap=false")
	s := harness.Start(t, options)
	create(t, s.Values(t, "", namespace), "value", 1, "k6-cloud")
	s.Stop(t)

	p.SetWrongKey(true)
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	if code := s.Decrypt(t, harness.K6Token, namespace, "value-0").Code; code == http.StatusOK {
		t.Error("a value was opened with a data key that is not its own")
	}
	readsAndEdits(t, s.Values(t, "", namespace), "value-0")
	s.Stop(t)

	p.SetWrongKey(false)
	s = harness.Start(t, options)
	if code := s.Decrypt(t, harness.K6Token, namespace, "value-0").Code; code != http.StatusOK {
		t.Errorf("the value does not open with its own key: %d", code)
	}
}

// A plugin that answers only now and then costs time and no correctness.
func TestAPluginThatFlaps(t *testing.T) {
	t.Parallel()
	p := kmsplugin.Start(t)
	options, _ := kmsOptions(t, p)
	s := harness.Start(t, options)
	values := s.Values(t, "", namespace)
	p.SetFlap(3)
	stored := create(t, values, "value", 50)
	p.SetFlap(0)
	if list, err := values.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != len(stored) {
		t.Errorf("%d values are listed, %v", len(list.Items), err)
	}
}

// From a local key to a KMS and away from the local key: the file changes while the server runs, the controller moves
// the values, and the report is the proof.
func TestMoveFromALocalKeyToAKMS(t *testing.T) {
	t.Parallel()
	p := kmsplugin.Start(t)
	local := secretKey()
	options, config := kmsOptions(t, p)
	harness.WriteFile(t, config, configHead+aesgcm("local", local))
	s := harness.Start(t, options)
	values := s.Values(t, "", namespace)
	create(t, values, "value", 30)
	harness.WriteFile(t, config, configHead+p.Provider("vault")+aesgcm("local", local))
	harness.Eventually(t, "no value is left under the local key", func() bool {
		_, _, code := harness.Tool(t, "keys", "retire", "--data-dir="+s.DataDir, "--encryption-provider-config="+config, "aesgcm/local")
		return code == 0
	})
	_, stderr, code := harness.Tool(t, "keys", "check", "--data-dir="+s.DataDir, "--encryption-provider-config="+config)
	if code != 0 {
		t.Errorf("keys check: %d %s", code, stderr)
	}
	harness.WriteFile(t, config, configHead+p.Provider("vault"))
	if _, err := values.Update(t.Context(), harness.NewValue("value-0", harness.Canary()), metav1.UpdateOptions{}); err != nil {
		t.Errorf("writing under the KMS alone: %v", err)
	}
}
