// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

const (
	namespace = "secret-system"
	// patience bounds what should happen soon; it makes no claim about speed.
	patience = 90 * time.Second
)

var root = filepath.Join("..", "..", "..")

// cluster is a control plane with the production overlay in it.
type cluster struct {
	*controlplane.ControlPlane
	t *testing.T
}

func TestManifests(t *testing.T) {
	c := start(t)
	c.apply("deploy/overlays/production")
	t.Run("applying again changes nothing", c.again)
	t.Run("other overlays are taken", c.others)
	t.Run("every Pod is admitted", c.pods)
	t.Run("own CA", c.ownCA)
	t.Run("caBundle survives applying", c.survives)
	t.Run("uninstall keeps keys and data", c.uninstall)
}

func start(t *testing.T) *cluster {
	t.Helper()
	for _, args := range [][]string{
		{"hack/build-controlplane.sh"}, {"hack/build-kubectl.sh"},
		{"bash", "-c", `CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(hack/version-ldflags.sh)" -o bin/e2e/secret-controller-manager ./cmd/secret-controller-manager`},
	} {
		if output, err := run(t.Context(), args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, output)
		}
	}
	binaries, err := filepath.Abs(filepath.Join(root, "bin", "e2e"))
	if err != nil {
		t.Fatal(err)
	}
	plane, err := controlplane.Start(t.Context(), t.TempDir(), binaries)
	t.Cleanup(plane.Stop)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{ControlPlane: plane, t: t}
}

// run runs a program in the folder of this repository.
func run(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Dir = root
	output, err := command.CombinedOutput()
	return string(output), err
}

func (c *cluster) kubectl(args ...string) (string, error) {
	return run(c.t.Context(), append([]string{"bin/kubectl", "--kubeconfig=" + c.Kubeconfig}, args...)...)
}

func (c *cluster) apply(folder string, more ...string) string {
	c.t.Helper()
	output, err := c.kubectl(append([]string{"apply", "--server-side", "-k", folder}, more...)...)
	if err != nil {
		c.t.Fatalf("applying %s: %v\n%s", folder, err, output)
	}
	if strings.Contains(output, "Warning") {
		c.t.Errorf("kube-apiserver warns of %s:\n%s", folder, output)
	}
	return output
}

func (c *cluster) again(t *testing.T) {
	versions := func() string {
		output, err := c.kubectl("get", "deployments,statefulsets,services,networkpolicies,cronjobs,roles,configmaps", "-n", namespace,
			"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{"\n"}{end}`)
		if err != nil {
			t.Fatal(output, err)
		}
		return output
	}
	before := versions()
	if !strings.Contains(before, "Deployment/secret-apiserver 1") {
		t.Fatalf("nothing is there:\n%s", before)
	}
	c.apply("deploy/overlays/production")
	if after := versions(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func (c *cluster) others(*testing.T) {
	for _, folder := range []string{"deploy/overlays/development", "hack/deploy/testdata/kms-plugin", "hack/deploy/testdata/insecure"} {
		// Force: members of a StatefulSet's volumes cannot change, so development is tried where there is none.
		c.apply(folder, "--dry-run=server", "--force-conflicts", "--selector=app.kubernetes.io/name!=secret-etcd")
	}
}

// pods waits until the controllers of Kubernetes have made what the workloads ask for: admission took each.
func (c *cluster) pods(t *testing.T) {
	for name, count := range map[string]int{"secret-apiserver": 3, "secret-controller-manager": 2, "secret-etcd": 3} {
		soon(t, fmt.Sprintf("%d Pods of %s", count, name), func(ctx context.Context) (bool, error) {
			list, err := c.Admin.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + name})
			return err == nil && len(list.Items) == count, err
		})
	}
}

var secrets = []string{
	"secret-apiserver-ca", "secret-apiserver-tls", "secret-etcd-ca", "secret-etcd-server-tls", "secret-etcd-peer-tls", "secret-etcd-client-tls",
}

// ownCA runs the binary as the ServiceAccount of the manifests, at the verbosity that logs most, with lives of seconds.
func (c *cluster) ownCA(t *testing.T) {
	kubeconfig, err := c.ServiceAccountKubeconfig(t.Context(), namespace, "secret-controller-manager")
	if err != nil {
		t.Fatal(err)
	}
	manager := process.New(filepath.Join(c.Dir, "manager.log"), filepath.Join(root, "bin", "e2e", "secret-controller-manager"),
		"--kubeconfig="+kubeconfig, "--leader-elect-namespace="+namespace, "--metrics-bind-address=0", "--health-probe-bind-address=0",
		"--own-ca=serving,etcd", "--own-ca-lifetime=60s", "--own-ca-certificate-lifetime=20s", "--own-ca-propagation-time=2s", "-v=10")
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	defer manager.Kill()
	t.Cleanup(func() {
		if log, err := os.ReadFile(manager.LogFile); t.Failed() && err == nil {
			t.Logf("the end of the controller manager's log:\n%s", log[max(0, len(log)-6000):])
		}
	})
	keys := map[string]bool{}
	soon(t, "every Secret and a caBundle", func(ctx context.Context) (bool, error) {
		for _, name := range secrets {
			if c.key(ctx, name, keys) == "" {
				return false, nil
			}
		}
		return c.bundle(t) != "", nil
	})

	first := c.bundle(t)
	if output, err := c.kubectl("patch", "apiservice", "v1beta1.secret.grafana.app", "--type=merge", `-p={"spec":{"caBundle":null}}`); err != nil {
		t.Fatal(output)
	}
	if output, err := c.kubectl("delete", "secret", "-n", namespace, "secret-apiserver-tls", "secret-etcd-client-tls"); err != nil {
		t.Fatal(output)
	}
	soon(t, "healed", func(ctx context.Context) (bool, error) {
		return c.bundle(t) != "" && c.key(ctx, "secret-apiserver-tls", keys) != "" && c.key(ctx, "secret-etcd-client-tls", keys) != "", nil
	})

	soon(t, "another CA beside the first", func(ctx context.Context) (bool, error) {
		c.key(ctx, "secret-apiserver-ca", keys)
		return c.bundle(t) != first && strings.Count(c.bundle(t), "BEGIN") == 2, nil
	})
	soon(t, "the first one gone", func(ctx context.Context) (bool, error) {
		c.key(ctx, "secret-apiserver-tls", keys)
		return !strings.Contains(c.bundle(t), strings.TrimSpace(first)), nil
	})
	manager.Kill()
	c.search(t, manager.LogFile, keys)
	c.refusals(t)
}

// key notes the private key that a Secret holds now.
func (c *cluster) key(ctx context.Context, name string, keys map[string]bool) string {
	secret, err := c.Admin.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	key := string(secret.Data["tls.key"])
	if key != "" {
		keys[key] = true
	}
	return key
}

func (c *cluster) bundle(t *testing.T) string {
	t.Helper()
	output, err := c.kubectl("get", "apiservice", "v1beta1.secret.grafana.app", "-o", "jsonpath={.spec.caBundle}")
	if err != nil {
		t.Fatal(output)
	}
	data, err := base64.StdEncoding.DecodeString(output)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// search looks for private keys in the log and in the events.
func (c *cluster) search(t *testing.T, logFile string, keys map[string]bool) {
	t.Helper()
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.kubectl("get", "events.events.k8s.io", "-A", "-o", "yaml")
	if err != nil {
		t.Fatal(events)
	}
	if !strings.Contains(events, "CACreated") || !strings.Contains(events, "in the published bundle") || !bytes.Contains(log, []byte("Issued a certificate")) {
		t.Errorf("events and log do not tell what happened")
	}
	if len(keys) < 8 {
		t.Errorf("only %d keys are searched for", len(keys))
	}
	for key := range keys {
		block, _ := pem.Decode([]byte(key))
		for _, needle := range []string{
			base64.StdEncoding.EncodeToString([]byte(key))[60:120], base64.StdEncoding.EncodeToString(block.Bytes)[8:48], string(block.Bytes),
		} {
			if bytes.Contains(log, []byte(needle)) || strings.Contains(events, needle) {
				t.Error("a private key is in the log or in an event")
			}
		}
	}
}

// refusals reads kube-apiserver's audit log: the ServiceAccount was refused nothing, so the manifests give it what it
// needs.
func (c *cluster) refusals(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(c.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	account := "system:serviceaccount:" + namespace + ":secret-controller-manager"
	seen := 0
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, account) {
			continue
		}
		seen++
		if strings.Contains(line, `"code":403`) {
			t.Errorf("refused: %s", line)
		}
	}
	if seen == 0 {
		t.Error("the audit log knows nothing of the controller manager")
	}
}

// survives applies the manifests again, as a GitOps tool does every few minutes.
func (c *cluster) survives(t *testing.T) {
	before := c.bundle(t)
	c.apply("deploy/overlays/production")
	if after := c.bundle(t); after != before || after == "" {
		t.Error("applying the manifests changed the caBundle")
	}
}

// uninstall runs the commands of docs/operations.md.
func (c *cluster) uninstall(t *testing.T) {
	for _, command := range []string{
		"delete apiservice v1beta1.secret.grafana.app",
		"delete -k deploy/overlays/production -l secret.grafana.app/keep!=true --ignore-not-found --wait=false",
	} {
		if output, err := c.kubectl(strings.Fields(command)...); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
	}
	left, err := c.kubectl("get", "secrets,pvc", "-n", namespace, "-o", "name")
	if err != nil {
		t.Fatal(left, err)
	}
	for _, name := range []string{"secret/secret-etcd-ca", "persistentvolumeclaim/secret-etcd-backup", "persistentvolumeclaim/data-secret-etcd-0"} {
		if !strings.Contains(left, name+"\n") {
			t.Errorf("%s is gone; left are\n%s", name, left)
		}
	}
	found, err := c.Admin.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	if err != nil || found.DeletionTimestamp != nil {
		t.Errorf("the namespace is deleted: %v, %v", found.DeletionTimestamp, err)
	}
	soon(t, "the workloads are gone", func(context.Context) (bool, error) {
		output, err := c.kubectl("get", "deployments,statefulsets,cronjobs", "-n", namespace, "-o", "name")
		return output == "" || strings.HasPrefix(output, "No resources"), err
	})
}

func soon(t *testing.T, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, patience, true, done); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}
