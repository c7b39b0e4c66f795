// SPDX-License-Identifier: Apache-2.0

package sealedvalues

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func TestSealedValueOpensOnTheDecryptPortOnly(t *testing.T) {
	a := start(t)
	value := a.canary()
	text := a.seal(t, value, binding("one"))
	created := stateOf(t, a.create(t, manifest(t, "one", text)).Want(t, http.StatusCreated))
	if created.Version != 1 || created.SealedValue != text {
		t.Errorf("created as %+v", created)
	}
	a.wantValue(t, "one", value)
	if got := a.state(t, "one"); got != created {
		t.Errorf("read as %+v, want %+v", got, created)
	}
	// A round trip of what was read changes nothing.
	read := a.send(t, http.MethodGet, "one", "", "").Want(t, http.StatusOK)
	put := a.send(t, http.MethodPut, "one", "application/json", string(read.Body)).Want(t, http.StatusOK)
	if got := stateOf(t, put); got != created {
		t.Errorf("after a PUT of what was read: %+v, want %+v", got, created)
	}
	for _, accept := range []string{
		"application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	} {
		list := a.Do(t, harness.Request{Method: http.MethodGet, Path: harness.Collection(namespace), Token: a.AdminToken,
			Header: http.Header{"Accept": {accept}}}).Want(t, http.StatusOK)
		if strings.Contains(string(list.Body), text) {
			t.Errorf("%s holds the text", accept)
		}
		if id := strings.Split(text, ":")[1]; strings.Contains(accept, "Table") && !strings.Contains(string(list.Body), id) {
			t.Errorf("the table does not name the sealing key %s", id)
		}
	}
	a.noTrace(t)
}

// A text that the stored value came from is not a new value, however it comes back; any other is.
func TestUnchangedTextIsNoNewValue(t *testing.T) {
	a := start(t)
	value := a.canary()
	text := a.seal(t, value, binding("one"))
	applied := stateOf(t, a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusCreated))
	if again := stateOf(t, a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusOK)); again != applied {
		t.Errorf("applied again: %+v, want %+v", again, applied)
	}
	a.patch(t, "one", `{"metadata":{"labels":{"a":"b"}}}`).Want(t, http.StatusOK)

	// A client that does not know the field drops it, and Flux brings it back.
	live := a.send(t, http.MethodGet, "one", "", "").Object(t)
	delete(live["spec"].(map[string]any), "sealedValue")
	version := live["metadata"].(map[string]any)["resourceVersion"].(string)
	dropped := manifest(t, "one", "", with("sealedValue", nil), func(object map[string]any) {
		object["metadata"].(map[string]any)["resourceVersion"] = version
	})
	put := stateOf(t, a.send(t, http.MethodPut, "one", "application/json", dropped).Want(t, http.StatusOK))
	if put.Version != 1 || put.SealedValue != "" {
		t.Errorf("without the field: %+v", put)
	}
	if back := stateOf(t, a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusOK)); back.Version != 1 ||
		back.SealedValue != text {
		t.Errorf("applied after the field was dropped: %+v", back)
	}
	a.wantValue(t, "one", value)

	// A value sealed again is another text.
	second := a.canary()
	text = a.seal(t, second, binding("one"))
	dry := stateOf(t, a.apply(t, "one?dryRun=All", manifest(t, "one", text)).Want(t, http.StatusOK))
	if dry.SealedValue != text || a.state(t, "one").SealedValue == text {
		t.Error("a dry run must show the new text and store nothing")
	}
	a.wantValue(t, "one", value)
	if changed := stateOf(t, a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusOK)); changed.Version != 2 {
		t.Errorf("after another text: %+v", changed)
	}
	a.wantValue(t, "one", second)

	// Values keep their origin over a restart.
	a.Stop(t)
	restarted := restart(t, a, a.DataDir)
	if got := stateOf(t, restarted.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusOK)); got.Version != 2 {
		t.Errorf("applied after a restart: %+v", got)
	}
	restarted.noTrace(t)
}

// Manifests that have not changed write nothing, however many are applied; the first time all of them are opened at
// once.
func TestManyUnchangedManifests(t *testing.T) {
	a := start(t)
	public, value := a.keys(t)[0].Spec.PublicKey, a.canary()
	var manifests []string
	for i := range 1000 {
		name := fmt.Sprintf("many-%03d", i)
		manifests = append(manifests, manifest(t, name, sealTo(t, public, value, binding(name))))
	}
	applyAll := func(want int) (cpu time.Duration) {
		t.Helper()
		before := a.Metric(t, "process_cpu_seconds_total")
		next, workers := atomic.Int64{}, sync.WaitGroup{}
		for range 8 {
			workers.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(manifests)); i = next.Add(1) - 1 {
					if got := a.apply(t, fmt.Sprintf("many-%03d", i), manifests[i]); got.Code != want {
						t.Errorf("many-%03d: code %d, want %d: %s", i, got.Code, want, got.Body)
					}
				}
			})
		}
		workers.Wait()
		used := a.Metric(t, "process_cpu_seconds_total") - before
		return time.Duration(used * float64(time.Second) / float64(len(manifests)))
	}
	revisions := func() []string { // of the objects: the server itself writes to etcd too
		var all []string
		for _, item := range a.send(t, http.MethodGet, "", "", "").Object(t)["items"].([]any) {
			all = append(all, item.(map[string]any)["metadata"].(map[string]any)["resourceVersion"].(string))
		}
		return all
	}
	opened := applyAll(http.StatusCreated)
	before := revisions()
	unchanged := applyAll(http.StatusOK)
	if after := revisions(); len(before) != len(manifests) || !slices.Equal(before, after) {
		t.Errorf("%d objects, and an apply of all of them wrote some", len(before))
	}
	t.Logf("CPU of the server for each manifest: %s to open and store it, %s unchanged", opened, unchanged)
	a.wantValue(t, "many-999", value)
	a.noTrace(t)
}

func TestPlainValueRemovesTheText(t *testing.T) {
	a := start(t)
	text := a.seal(t, a.canary(), binding("one"))
	a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusCreated)
	plain := a.canary()
	patched := a.patch(t, "one", `{"spec":{"value":"`+plain+`"}}`).Want(t, http.StatusOK)
	if got := stateOf(t, patched); got.Version != 2 || got.SealedValue != "" {
		t.Errorf("after a plain value: %+v", got)
	}
	if warned := strings.Join(patched.Header.Values("Warning"), " "); !strings.Contains(warned, "spec.sealedValue") ||
		!strings.Contains(warned, "flux") {
		t.Errorf("the warning is %q: want the field and its manager", warned)
	}
	a.wantValue(t, "one", plain)
	// The plain value forgets its origin: the manifest brings its value back, as a new version.
	if got := stateOf(t, a.apply(t, "one", manifest(t, "one", text)).Want(t, http.StatusOK)); got.Version != 3 {
		t.Errorf("the manifest applied over a plain value: %+v", got)
	}
	// With the text that is stored beside it, the value wins too.
	both := manifest(t, "one", text, with("value", plain))
	if got := stateOf(t, a.send(t, http.MethodPut, "one", "application/json", both).Want(t, http.StatusOK)); got.Version != 4 ||
		got.SealedValue != "" {
		t.Errorf("a value beside the stored text: %+v", got)
	}
	a.wantValue(t, "one", plain)
	a.noTrace(t)
}

func TestDecryptersOfASealedValue(t *testing.T) {
	a := start(t)
	value, list := a.canary(), []string{"synthetic-monitoring", "k6-cloud"}
	b := binding("one")
	b.Decrypters = list
	text := a.seal(t, value, b)
	a.create(t, manifest(t, "one", text, with("decrypters", []string{"k6-cloud", "synthetic-monitoring"}))).
		Want(t, http.StatusCreated) // another order is the same list
	refused := a.patch(t, "one", `{"spec":{"decrypters":["k6-cloud"]}}`).Want(t, http.StatusBadRequest)
	if !strings.Contains(string(refused.Body), "set spec.sealedValue to null") {
		t.Errorf("the error does not say what to do: %s", refused.Body)
	}
	kept := stateOf(t, a.patch(t, "one", `{"spec":{"decrypters":["k6-cloud"],"sealedValue":null}}`).Want(t, http.StatusOK))
	if kept.Version != 1 || kept.SealedValue != "" {
		t.Errorf("after a reader was taken away: %+v", kept)
	}
	a.wantValue(t, "one", value)
	// The manifest brings the reader back: with its value, which its writer has, as a new version.
	back := a.apply(t, "one", manifest(t, "one", text, with("decrypters", list))).Want(t, http.StatusOK)
	if got := stateOf(t, back); got.Version != 2 {
		t.Errorf("the old manifest over a shorter list: %+v", got)
	}
	a.noTrace(t)
}
