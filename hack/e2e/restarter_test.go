// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/hack/e2e/process"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// restarts are Deployments of a namespace that the example docs/examples/restarter looks after.
type restarts struct {
	t         *testing.T
	namespace string
}

// apply applies the example's Deployment under another name, as a GitOps tool does.
func (r restarts) apply(name, on string) {
	r.t.Helper()
	text := string(harness.ReadFile(r.t, filepath.Join(root, "docs/examples/restarter/deployment.yaml")))
	text = strings.NewReplacer("namespace: checkout", "namespace: "+r.namespace, "name: web\n", "name: "+name+"\n",
		"example.com/restart-on: login", `example.com/restart-on: "`+on+`"`).Replace(text)
	mustKubectl(r.t, text, "apply", "--server-side", "--field-manager=gitops", "-f", "-")
}

// generation is how often the Deployment was changed; its Pods' annotation says for which values.
func (r restarts) state(name string) (generation int64, versions string) {
	r.t.Helper()
	d, err := cluster.Admin.AppsV1().Deployments(r.namespace).Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return d.Generation, d.Spec.Template.Annotations["example.com/securevalues"]
}

func (r restarts) await(name string, generation int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s is rolled out, generation %d", name, generation), func(context.Context) error {
		if got, versions := r.state(name); got != generation {
			return fmt.Errorf("generation %d for %s", got, versions)
		}
		return nil
	})
}

// settle returns when the controller has seen all that happened until now: events come in order, and one worker takes
// them.
func (r restarts) settle() {
	r.t.Helper()
	before, _ := r.state("marker")
	r.set("marker", harness.Canary())
	r.await("marker", before+1)
}

func (r restarts) set(name, value string) {
	r.t.Helper()
	sv, err := asAdmin(r.t, r.namespace).Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	sv.Spec.Value = sensitive.New(value)
	if _, err := asAdmin(r.t, r.namespace).Update(r.t.Context(), sv, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r restarts) delete(name string) {
	r.t.Helper()
	if err := asAdmin(r.t, r.namespace).Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// start runs the example with a token of its ServiceAccount, which has the rights of its rbac.yaml and those to its
// Lease.
func (r restarts) start(leases string) *process.Process {
	r.t.Helper()
	binary, err := filepath.Abs(filepath.Join(root, "bin", "e2e", "restarter"))
	if err != nil {
		r.t.Fatal(err)
	}
	if output, err := command(r.t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "./docs/examples/restarter"); err != nil {
		r.t.Fatalf("building the example: %v\n%s", err, output)
	}
	rbac := string(harness.ReadFile(r.t, filepath.Join(root, "docs/examples/restarter/rbac.yaml")))
	mustKubectl(r.t, strings.ReplaceAll(rbac, "namespace: checkout", "namespace: "+r.namespace), "apply", "-f", "-")
	if leases != r.namespace {
		mustKubectl(r.t, "", "-n", leases, "create", "rolebinding", "leases-of-"+r.namespace, "--role=restarter", "--serviceaccount="+r.namespace+":restarter")
	}
	token, err := cluster.Token(r.t.Context(), r.namespace, "restarter")
	if err != nil {
		r.t.Fatal(err)
	}
	p := process.New(filepath.Join(r.t.TempDir(), "restarter.log"), binary, "--kubeconfig="+tokenKubeconfig(r.t, token),
		"--namespace="+r.namespace, "--leader-elect", "--leader-elect-namespace="+leases)
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		p.Kill()
		if r.t.Failed() {
			r.t.Logf("the example's log:\n%s", harness.ReadFile(r.t, p.LogFile))
		}
	})
	return p
}

// TestRestarterExample rolls out for a new value and a new object, and for nothing else.
func TestRestarterExample(t *testing.T) {
	r := restarts{t, newNamespace(t)}
	create(t, r.namespace, "login")
	create(t, r.namespace, "marker")
	for name, on := range map[string]string{"one": "login", "both": "marker, login,login", "marker": "marker", "waits": "login,absent", "other": ""} {
		r.apply(name, on)
	}
	p := r.start(r.namespace)
	for _, name := range []string{"one", "both", "marker"} { // it notes for which values their Pods are
		r.await(name, 2)
	}
	r.set("login", harness.Canary())
	r.await("one", 3)
	r.await("both", 3)
	if _, versions := r.state("both"); !strings.HasPrefix(versions, "login=") || !strings.Contains(versions, "/2,marker=") || !strings.HasSuffix(versions, "/1") {
		t.Errorf("the Pods are for %s", versions)
	}

	mustKubectl(t, "", "-n", r.namespace, "label", "securevalue", "login", "team=red")
	mustKubectl(t, "", "-n", r.namespace, "patch", "securevalue", "login", "--type=merge", "-p", `{"spec":{"description":"changed"}}`)
	r.apply("one", "login")
	r.settle()
	r.unchanged("one", 3)

	r.delete("login")
	r.settle()
	r.unchanged("one", 3)
	create(t, r.namespace, "login") // version 1 again, of another object
	r.await("one", 4)

	create(t, r.namespace, "absent")
	r.await("waits", 2)
	r.settle()
	r.unchanged("other", 1)
	if err := cluster.Admin.AppsV1().Deployments(r.namespace).Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.set("login", harness.Canary())
	r.await("waits", 3)
	if list, err := cluster.Admin.AppsV1().Deployments(r.namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 4 {
		t.Errorf("%d Deployments, %v", len(list.Items), err)
	}
	r.told("waits")

	other := restarts{t, newNamespace(t)} // a second copy, for another namespace, whose Lease is beside that of the first
	create(t, other.namespace, "login")
	other.apply("one", "login")
	other.start(r.namespace)
	other.await("one", 2)
	if err := p.Stop(); err != nil {
		t.Errorf("the example ended with %v", err)
	}
	log := string(harness.ReadFile(t, p.LogFile))
	if strings.Contains(log, "forbidden") {
		t.Error("rbac.yaml of the example lacks a right")
	}
	if n := strings.Count(log, `"Rolled out" controller="securevalue-restarter" controllerGroup="apps" controllerKind="Deployment" Deployment="`+r.namespace+`/one"`); n != 3 {
		t.Errorf("it says %d times that it rolled one out", n)
	}
}

func (r restarts) unchanged(name string, generation int64) {
	r.t.Helper()
	if got, versions := r.state(name); got != generation {
		r.t.Errorf("%s is of generation %d, want %d: %s", name, got, generation, versions)
	}
}

// told waits for the event that `kubectl describe deployment` shows.
func (r restarts) told(name string) {
	r.t.Helper()
	eventually(r.t, "an event of "+name, func(ctx context.Context) error {
		list, err := cluster.Admin.CoreV1().Events(r.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=SecureValueChanged,involvedObject.name=" + name})
		if err != nil || len(list.Items) == 0 || list.Items[0].Type != corev1.EventTypeNormal {
			return fmt.Errorf("%d events, %w", len(list.Items), err)
		}
		return nil
	})
}
