// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/securevalue/secret-apiserver/hack/e2e/deployment"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

const (
	decryptLabel = "secret.grafana.app/decrypt=allowed"
	caConfigMap  = "secret-ca"
	servingName  = "secret-decrypt.secret-system.svc"
)

// trusting is an application that has the CA from ConfigMap secret-ca only, and the kubelets of its Pod and of ours.
type trusting struct {
	*testing.T
	namespace, caFile, tokenFile string
	value                        string
	// seen are the bundles that its kubelet has read and not shown yet.
	seen []seen
}

type seen struct {
	bundle string
	at     time.Time
}

// lag is how much later the application has a bundle than the servers have their certificate. The overlap is longer.
const lag = time.Second

// TestTrust runs the controller manager as the ServiceAccount of the manifests, with a CA of ninety seconds.
func TestTrust(t *testing.T) {
	a := &trusting{T: t, namespace: newNamespace(t), caFile: filepath.Join(t.TempDir(), "ca.crt")}
	foreign, untouched := newNamespace(t), newNamespace(t)
	mustKubectl(t, "", "create", "configmap", caConfigMap, "-n", foreign, "--from-literal=ca.crt=mine")
	mustKubectl(t, "", "label", "namespace", a.namespace, foreign, decryptLabel)
	a.manager()

	t.Run("published", func(t *testing.T) {
		eventually(t, "published", func(ctx context.Context) error { return a.published(ctx, a.namespace) })
		eventually(t, "in a ClusterTrustBundle", a.trustBundle)
	})
	t.Run("repaired", a.repaired)
	t.Run("another's is left alone", func(t *testing.T) {
		eventually(t, "an event says so", func(context.Context) error {
			return contains(mustKubectl(t, "", "get", "events.events.k8s.io", "-n", foreign), "CANotPublished")
		})
		mustKubectl(t, "", "label", "namespace", foreign, "secret.grafana.app/decrypt-")
		mustKubectl(t, "", "label", "namespace", foreign, decryptLabel)
		if got, err := a.configMap(t.Context(), foreign); err != nil || got.Data["ca.crt"] != "mine" {
			t.Errorf("it is %v, %v", got.Data, err)
		}
		if _, err := a.configMap(t.Context(), untouched); !apierrors.IsNotFound(err) {
			t.Errorf("in a namespace without the label: %v", err)
		}
	})
	t.Run("followed through a rotation", a.rotation)
	t.Run("removed with the label", func(t *testing.T) {
		mustKubectl(t, "", "label", "namespace", a.namespace, "secret.grafana.app/decrypt-")
		eventually(t, "removed", func(ctx context.Context) error {
			if _, err := a.configMap(ctx, a.namespace); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		})
	})
	a.refusals()
}

// manager starts the controller manager, and gives the servers back their certificate at the end.
func (a *trusting) manager() {
	a.Helper()
	mustKubectl(a.T, "", "apply", "-f", filepath.Join(root, "deploy/components/own-ca/rbac.yaml"))
	kubeconfig, err := cluster.ServiceAccountKubeconfig(a.Context(), deployment.Namespace, "secret-controller-manager")
	if err != nil {
		a.Fatal(err)
	}
	manager := process.New(filepath.Join(server.Dir, "manager.log"), filepath.Join(root, "bin", "e2e", "secret-controller-manager"),
		"--kubeconfig="+kubeconfig, "--leader-elect-namespace="+deployment.Namespace, "--metrics-bind-address=0",
		"--health-probe-bind-address=0", "--own-ca=serving", "--own-ca-lifetime=90s", "--own-ca-certificate-lifetime=40s",
		"--own-ca-propagation-time=8s", "--publish-ca")
	if err := manager.Start(); err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() {
		manager.Kill()
		ctx := context.Background() // the test's has ended
		if err := errors.Join(server.WriteServing(server.CA), server.SetCABundle(ctx, server.CA), server.AwaitAvailable(ctx)); err != nil {
			a.Error(err)
		}
	})
}

func (a *trusting) configMap(ctx context.Context, namespace string) (*corev1.ConfigMap, error) {
	return cluster.Admin.CoreV1().ConfigMaps(namespace).Get(ctx, caConfigMap, metav1.GetOptions{})
}

// bundle is the published caBundle.
func bundle(ctx context.Context) (string, error) {
	clients, err := aggregator.NewForConfig(cluster.AdminConfig())
	if err != nil {
		return "", err
	}
	service, err := clients.ApiregistrationV1().APIServices().Get(ctx, deployment.APIService, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return string(service.Spec.CABundle), nil
}

// published is nil when the ConfigMap holds the caBundle, and the own CA has put its own into that.
func (a *trusting) published(ctx context.Context, namespace string) error {
	want, err := bundle(ctx)
	if err != nil || want == string(server.CA.PEM()) {
		return fmt.Errorf("the caBundle is that of before: %w", err)
	}
	got, err := a.configMap(ctx, namespace)
	if err != nil {
		return err
	}
	if got.Data["ca.crt"] != want {
		return fmt.Errorf("%s is not the caBundle", got.Data)
	}
	return nil
}

func (a *trusting) trustBundle(ctx context.Context) error {
	want, err := bundle(ctx)
	if err != nil {
		return err
	}
	got, err := cluster.Admin.CertificatesV1().ClusterTrustBundles().Get(ctx, "secret.grafana.app:serving:ca", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got.Spec.SignerName != "secret.grafana.app/serving" || got.Spec.TrustBundle != want {
		return fmt.Errorf("it is %+v", got.Spec)
	}
	return nil
}

func (a *trusting) repaired(t *testing.T) {
	for what, args := range map[string][]string{
		"edited":   {"patch", "configmap", caConfigMap, "--type=merge", `-p={"data":{"ca.crt":"another","more":"x"}}`},
		"deleted":  {"delete", "configmap", caConfigMap},
		"no bytes": {"patch", "configmap", caConfigMap, "--type=merge", `-p={"data":null,"immutable":true}`},
	} {
		mustKubectl(t, "", append(args, "-n", a.namespace)...)
		eventually(t, what, func(ctx context.Context) error { return a.published(ctx, a.namespace) })
	}
}

// rotation lets an application connect all the time, until the first own CA is gone: nothing fails.
func (a *trusting) rotation(t *testing.T) {
	a.prepare(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait() }()
	if err := a.kubelets(ctx); err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		for ctx.Err() == nil {
			if err := a.kubelets(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("copying as a kubelet: %v", err)
			}
			pause(ctx)
		}
	})
	for _, replica := range server.Replicas {
		eventually(t, "the own CA's certificate is served", func(ctx context.Context) error { return a.connect(ctx, replica) })
	}
	first, err := bundle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	firstCA, _, _ := strings.Cut(first, "-----END")
	connections := 0
	for deadline := time.Now().Add(2 * patience); ; connections++ {
		for _, replica := range server.Replicas {
			if err := a.connect(ctx, replica); err != nil {
				t.Fatalf("after %d connections: %v", connections, err)
			}
		}
		now, err := bundle(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(now, firstCA) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the first CA is still published after %d connections", connections)
		}
		pause(ctx)
	}
	t.Logf("%d connections to each server through a rotation", connections)
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// prepare makes a value, and a service that may open it.
func (a *trusting) prepare(t *testing.T) {
	object, value := newSecureValue("held")
	if _, err := asAdmin(t, a.namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := decryptToken(t, a.namespace, "checkout")
	bind(t, a.namespace, "checkout", "ClusterRole", k6Role)
	a.value, a.tokenFile = value, filepath.Join(t.TempDir(), "token")
	if err := pki.WriteFile(a.tokenFile, []byte(token)); err != nil {
		t.Fatal(err)
	}
}

// kubelets copy the ConfigMap to the application, late, and the Secret to the servers.
func (a *trusting) kubelets(ctx context.Context) error {
	configMap, err := a.configMap(ctx, a.namespace)
	if err != nil {
		return err
	}
	secret, err := cluster.Admin.CoreV1().Secrets(deployment.Namespace).Get(ctx, "secret-apiserver-tls", metav1.GetOptions{})
	if err != nil {
		return err
	}
	pair := pki.Pair{Certificate: secret.Data["tls.crt"], Key: secret.Data["tls.key"]}
	a.seen = append(a.seen, seen{configMap.Data["ca.crt"], time.Now()})
	for len(a.seen) > 1 && time.Since(a.seen[1].at) > lag {
		a.seen = a.seen[1:]
	}
	return errors.Join(pki.WriteFile(a.caFile, []byte(a.seen[0].bundle)),
		pair.Write(filepath.Join(server.Dir, "tls.crt"), filepath.Join(server.Dir, "tls.key")))
}

// connect makes a connection of each kind: a plain one, which retries nothing, and one of our client with a call.
func (a *trusting) connect(ctx context.Context, replica *deployment.Replica) error {
	text, err := os.ReadFile(a.caFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: servingName, MinVersion: tls.VersionTLS12}}
	connection, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(replica.DecryptURL, "https://"))
	if err != nil {
		return err
	}
	_ = connection.Close()
	service, err := client.New(client.Config{
		URL: replica.DecryptURL, ServerName: servingName, CAFile: a.caFile, TokenFile: a.tokenFile,
	})
	if err != nil {
		return err
	}
	defer service.Close()
	value, err := service.GetOne(ctx, a.namespace, "held")
	if err == nil && value.Expose() != a.value {
		err = errors.New("another value")
	}
	return err
}

// refusals reads kube-apiserver's audit log: the manifests give the controller manager what it needs.
func (a *trusting) refusals() {
	a.Helper()
	data, err := os.ReadFile(cluster.AuditFile)
	if err != nil {
		a.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, ":secret-controller-manager\"") && strings.Contains(line, `"authorization.k8s.io/decision":"forbid"`) {
			a.Errorf("refused: %s", line)
		}
	}
}

func contains(text, want string) error {
	if !strings.Contains(text, want) {
		return fmt.Errorf("no %s in\n%s", want, text)
	}
	return nil
}
