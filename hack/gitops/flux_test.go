// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const fluxToken = "token-of-flux"

// deleter is what the rights of docs/examples/gitops leave out.
var deleter = harness.Grant("gitops", "secret.grafana.app:securevalues-deleter", "default")

// flux is a server, and what kustomize-controller does with one manifest on it.
type flux struct {
	*harness.Server
	t        *testing.T
	manager  *ssa.ResourceManager
	options  ssa.ApplyOptions
	canaries []string
}

// start runs a server that gives Flux the rights of docs/examples/gitops/rbac.yaml.
func start(t *testing.T, rbac ...string) *flux {
	t.Helper()
	s := harness.Start(t, harness.Options{
		Tokens: []string{harness.Token(fluxToken, "gitops"), harness.Token(harness.K6Token, "k6")},
		RBAC:   rbac,
		RBACFiles: []string{
			"docs/examples/gitops/rbac.yaml", "config/rbac/decrypter-k6-cloud.yaml", "config/rbac/clusterrole-reader.yaml",
			"config/rbac/clusterrole-writer.yaml", "config/rbac/clusterrole-creator.yaml", "config/rbac/clusterrole-deleter.yaml",
		},
	})
	c, err := client.New(s.RESTConfig(t, fluxToken), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &flux{Server: s, t: t, manager: ssa.NewResourceManager(c, nil, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})}
	// As kustomize-controller does: it takes over what kubectl applied.
	f.options = ssa.DefaultApplyOptions()
	f.options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{"kubectl.kubernetes.io/last-applied-configuration"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
		},
	}
	t.Cleanup(func() { s.Leaks(t, f.canaries...) })
	return f
}

func (f *flux) canary() string {
	canary := harness.Canary()
	f.canaries = append(f.canaries, canary)
	return canary
}

// seal seals a value for the object that manifest describes.
func (f *flux) seal(value string) string {
	f.t.Helper()
	keys, err := versioned.NewForConfigOrDie(f.RESTConfig(f.t, fluxToken)).SecretV1beta1().SealingKeys().
		List(f.t.Context(), metav1.ListOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	public, err := sealing.ParsePublicKey(keys.Items[0].Spec.PublicKey)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := public.Seal([]byte(value),
		sealing.Binding{Namespace: "default", Name: "x", Decrypters: []string{"k6-cloud"}})
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

// manifest has no value when that is empty, and no revision when that is.
func manifest(value, revision string) string {
	text := "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata:\n  name: x\n  namespace: default\n"
	if revision != "" {
		text += fmt.Sprintf("  annotations: {secret.grafana.app/value-revision: %q}\n", revision)
	}
	text += "spec:\n  description: of Git\n  decrypters: [k6-cloud]\n"
	if value != "" {
		text += "  value: " + value + "\n"
	}
	return text
}

// apply is one reconciliation. Its texts go to Flux's log and status, so they must hold no value.
func (f *flux) apply(text string) (ssa.Action, error) {
	f.t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		f.t.Fatal(err)
	}
	changes, err := f.manager.ApplyAllStaged(f.t.Context(), []*unstructured.Unstructured{object}, f.options)
	for _, found := range harness.Find(fmt.Appendf(nil, "%v %v", changes, err), f.canaries...) {
		f.t.Errorf("Flux would show %s", found)
	}
	if err != nil {
		return "", err
	}
	return changes.Entries[0].Action, nil
}

func (f *flux) expect(what, text string, want ssa.Action) {
	f.t.Helper()
	before := f.live("{.metadata.resourceVersion}")
	got, err := f.apply(text)
	if err != nil || got != want {
		f.t.Fatalf("%s: %s, %v, want %s", what, got, err, want)
	}
	if after := f.live("{.metadata.resourceVersion}"); (before == after) != (want == ssa.UnchangedAction) {
		f.t.Errorf("%s: %s, and resourceVersion %q became %q", what, got, before, after)
	}
}

func (f *flux) kubectl(stdin string, args ...string) string {
	f.t.Helper()
	stdout, stderr, err := f.Kubectl(f.t, stdin, args...)
	if err != nil {
		f.t.Fatalf("kubectl %v: %v\n%s", args, err, stderr)
	}
	return stdout
}

func (f *flux) live(path string) string {
	f.t.Helper()
	return f.kubectl("", "get", "securevalue", "x", "--ignore-not-found", "-o", "jsonpath="+path)
}

// opens expects that the version that is stored opens to a value.
func (f *flux) opens(version, value string) {
	f.t.Helper()
	if got := f.Decrypt(f.t, harness.K6Token, "default", "x"); got.Code != http.StatusOK || string(got.Body) != value {
		f.t.Errorf("the value opens to something else: %d", got.Code)
	}
	if got := f.live("{.status.version}"); got != version {
		f.t.Errorf("version %s, want %s", got, version)
	}
}

// TestValueOutsideGit has a manifest without a value: Flux keeps everything else in step and never touches the value.
func TestValueOutsideGit(t *testing.T) {
	f := start(t)
	if _, err := f.apply(manifest("", "")); err == nil || !strings.Contains(err.Error(), "spec.value: Required value") {
		t.Fatalf("without a value: %v", err)
	}
	value := f.canary()
	f.kubectl(strings.Replace(manifest(value, ""), "of Git", "of a person", 1), "apply", "-f", "-")
	f.expect("taken over from kubectl", manifest("", ""), ssa.ConfiguredAction)
	if got := f.live("{.spec.description}"); got != "of Git" {
		t.Errorf("description %q", got)
	}
	f.expect("no change", manifest("", ""), ssa.UnchangedAction)
	f.opens("1", value)

	value = f.canary()
	f.kubectl("", "patch", "securevalue", "x", "--type=merge", "-p", `{"spec":{"value":"`+value+`"}}`)
	f.expect("a value written by hand", manifest("", ""), ssa.UnchangedAction)
	f.opens("2", value)

	f.kubectl("", "patch", "securevalue", "x", "--type=merge", "-p", `{"spec":{"description":"drifted"}}`)
	f.expect("a description written by hand", manifest("", ""), ssa.ConfiguredAction)
	f.opens("2", value)
	if _, err := f.apply(strings.Replace(manifest("", ""), "[k6-cloud]", "[k6-cloud, synthetic-monitoring]", 1)); err == nil || !strings.Contains(err.Error(), `the verb "extend"`) {
		t.Errorf("another decrypter: %v", err)
	}
}

// TestValueInGit has decrypted manifests: Flux rolls out what is announced, once.
func TestValueInGit(t *testing.T) {
	f := start(t)
	first, second := f.canary(), f.canary()
	f.expect("a new manifest", manifest(first, "1"), ssa.CreatedAction)
	f.expect("no change", manifest(first, "1"), ssa.UnchangedAction)
	f.expect("a value that is not announced", manifest(second, "1"), ssa.UnchangedAction)
	f.opens("1", first)
	f.expect("a value that is announced", manifest(second, "2"), ssa.ConfiguredAction)
	f.expect("no change after it", manifest(second, "2"), ssa.UnchangedAction)
	f.opens("2", second)
	f.expect("the value taken out of Git", manifest("", "2"), ssa.UnchangedAction)
	f.opens("2", second)
	if _, err := f.apply(strings.Replace(manifest(f.canary(), "3"), "description", "describes", 1)); err == nil {
		t.Error("a misspelt manifest was applied")
	}
	f.opens("2", second)
}

// TestSealedValueInGit has sealed manifests: Flux compares exactly, rolls out each change, and a client that does not
// know the field makes no new version.
func TestSealedValueInGit(t *testing.T) {
	f := start(t)
	sealed := func(value string) string { return manifest("", "") + "  sealedValue: " + f.seal(value) + "\n" }
	first, second := f.canary(), f.canary()
	inGit := sealed(first)
	f.expect("a new manifest", inGit, ssa.CreatedAction)
	f.expect("no change", inGit, ssa.UnchangedAction)
	f.opens("1", first)
	f.kubectl("", "patch", "securevalue", "x", "--type=json", "-p", `[{"op":"remove","path":"/spec/sealedValue"}]`)
	f.expect("the field dropped by a client", inGit, ssa.ConfiguredAction)
	f.opens("1", first)
	inGit = sealed(second)
	f.expect("another value", inGit, ssa.ConfiguredAction)
	f.expect("no change after it", inGit, ssa.UnchangedAction)
	f.opens("2", second)
	f.kubectl("", "patch", "securevalue", "x", "--type=merge", "-p", `{"spec":{"value":"`+f.canary()+`"}}`)
	f.expect("a value written by hand", inGit, ssa.ConfiguredAction)
	f.opens("4", second)
	if _, err := f.apply(strings.Replace(inGit, "[k6-cloud]", "[synthetic-monitoring]", 1)); err == nil ||
		!strings.Contains(err.Error(), "sealed for another list") {
		t.Errorf("other decrypters: %v", err)
	}
}

// TestForce shows why the page warns of `force: true`: Flux deletes what it cannot apply, unless it has no right to.
func TestForce(t *testing.T) {
	invalid := strings.Replace(manifest("", ""), "of Git", "longer than twenty-five characters", 1)
	for name, test := range map[string]struct {
		rbac  []string
		stays bool
	}{
		"without the right to delete": {stays: true},
		"with the right to delete":    {rbac: []string{deleter}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, test.rbac...)
			value := f.canary()
			f.expect("a new manifest", manifest(value, ""), ssa.CreatedAction)
			f.options.Force = true
			if _, err := f.apply(invalid); err == nil {
				t.Fatal("an invalid manifest was applied")
			}
			if !test.stays {
				if got := f.live("{.metadata.name}"); got != "" {
					t.Error("it is still there: the page and the rights of the example can be less strict")
				}
				return
			}
			f.opens("1", value)
		})
	}
}
