// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"encoding/json"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestSealedValueInHelm runs Helm's own code over a chart that gets the text as a value: each release rolls out what it
// has, a rollback brings the former value back, and no record of a release holds a value.
func TestSealedValueInHelm(t *testing.T) {
	f := start(t)
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace = &f.Kubeconfig, new("default")
	cfg := action.NewConfiguration()
	if err := cfg.Init(flags, "default", "memory"); err != nil {
		t.Fatal(err)
	}
	template := manifest("", "") + "  sealedValue: {{ .Values.sealedValue | quote }}\n"
	app := &chart.Chart{
		Metadata:  &chart.Metadata{APIVersion: chart.APIVersionV2, Name: "shop", Version: "1.0.0"},
		Templates: []*common.File{{Name: "templates/securevalue.yaml", Data: []byte(template)}},
	}
	first, second := f.canary(), f.canary()
	texts := map[string]any{"sealedValue": f.seal(first)}

	install := action.NewInstall(cfg)
	install.ReleaseName, install.Namespace, install.WaitStrategy = "shop", "default", kube.HookOnlyStrategy
	if _, err := install.RunWithContext(t.Context(), app, texts); err != nil {
		t.Fatal(err)
	}
	f.opens("1", first)
	upgrade := func(values map[string]any) {
		t.Helper()
		upgrade := action.NewUpgrade(cfg)
		upgrade.Namespace, upgrade.WaitStrategy = "default", kube.HookOnlyStrategy
		if _, err := upgrade.RunWithContext(t.Context(), "shop", app, values); err != nil {
			t.Fatal(err)
		}
	}
	upgrade(texts)
	f.opens("1", first)
	upgrade(map[string]any{"sealedValue": f.seal(second)})
	f.opens("2", second)
	rollback := action.NewRollback(cfg)
	rollback.Version, rollback.WaitStrategy = 1, kube.HookOnlyStrategy
	if err := rollback.Run("shop"); err != nil {
		t.Fatal(err)
	}
	f.opens("3", first)

	releases, err := cfg.Releases.ListReleases()
	if err != nil || len(releases) != 4 {
		t.Fatalf("%d records of releases, %v", len(releases), err)
	}
	records, err := json.Marshal(releases)
	if err != nil {
		t.Fatal(err)
	}
	if found := harness.Find(records, f.canaries...); len(found) > 0 {
		t.Errorf("the records of Helm's releases hold %s", found)
	}
	uninstall := action.NewUninstall(cfg)
	uninstall.WaitStrategy = kube.HookOnlyStrategy
	if _, err := uninstall.Run("shop"); err != nil {
		t.Fatal(err)
	}
	if got := f.live("{.metadata.name}"); got != "" {
		t.Error("it is still there after an uninstall")
	}
}
