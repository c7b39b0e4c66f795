// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

// auditPolicy records as much as Kubernetes can, so that the leak tests look at the worst case.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: RequestResponse
`

func (c *ControlPlane) startAPIServer(ctx context.Context, etcdURL string) error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	policy := filepath.Join(c.Dir, "kube-audit-policy.yaml")
	if err := pki.WriteFile(policy, []byte(auditPolicy)); err != nil {
		return err
	}
	c.URL = fmt.Sprintf("https://127.0.0.1:%d", port)
	c.APIServer = process.New(filepath.Join(c.Dir, "kube-apiserver.log"), c.binary("kube-apiserver"),
		append(c.apiServerArgs(port), "--etcd-servers="+etcdURL, "--audit-policy-file="+policy)...)
	if err := c.APIServer.Start(); err != nil {
		return err
	}
	if err := c.login(); err != nil {
		return err
	}
	return c.AwaitAPIServer(ctx)
}

// apiServerArgs has no --enable-aggregator-routing: without it an APIService may point at an ExternalName Service.
func (c *ControlPlane) apiServerArgs(port int) []string {
	return []string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--endpoint-reconciler-type=none",
		"-v=2", // says what was reloaded
		"--tls-cert-file=" + c.file("apiserver.crt"), "--tls-private-key-file=" + c.file("apiserver.key"),
		"--client-ca-file=" + c.file("ca.crt"), "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + c.file("sa.pub"),
		"--service-account-signing-key-file=" + c.file("sa.key"),
		"--requestheader-client-ca-file=" + c.file("front-proxy-ca.crt"), "--requestheader-allowed-names=" + FrontProxyName,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-uid-headers=X-Remote-Uid", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.file("front-proxy-client.crt"), "--proxy-client-key-file=" + c.file("front-proxy-client.key"),
		"--audit-log-path=" + c.AuditFile, "--audit-log-mode=blocking-strict",
	}
}

// login makes the administrator's kubeconfig and client.
func (c *ControlPlane) login() error {
	pair, err := c.ClientCA.Client("admin", "system:masters")
	if err != nil {
		return err
	}
	c.config = &restclient.Config{Host: c.URL, QPS: -1, TLSClientConfig: restclient.TLSClientConfig{
		CAData: c.ClientCA.PEM(), CertData: pair.Certificate, KeyData: pair.Key,
	}}
	c.Kubeconfig = filepath.Join(c.Dir, "admin.kubeconfig")
	if err := clientcmd.WriteToFile(kubeconfig(c.config), c.Kubeconfig); err != nil {
		return err
	}
	c.Admin, err = kubernetes.NewForConfig(c.config)
	return err
}

// AwaitAPIServer waits until kube-apiserver is ready and has made what every cluster has.
func (c *ControlPlane) AwaitAPIServer(ctx context.Context) error {
	client, err := restclient.HTTPClientFor(c.config)
	if err != nil {
		return err
	}
	return c.APIServer.Await(ctx, func(ctx context.Context) error {
		if err := get(ctx, client, c.URL+"/readyz"); err != nil {
			return err
		}
		return get(ctx, client, c.URL+"/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
	})
}

// controllers are those that have work without nodes.
var controllers = []string{
	"namespace-controller", "garbage-collector-controller", "serviceaccount-controller", "serviceaccount-token-controller",
	"clusterrole-aggregation-controller", "resourcequota-controller", "root-ca-certificate-publisher-controller",
	"deployment-controller", "replicaset-controller", "statefulset-controller", "disruption-controller",
}

func (c *ControlPlane) startControllerManager(ctx context.Context) error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	pair, err := c.ClientCA.Client("system:kube-controller-manager")
	if err != nil {
		return err
	}
	file := filepath.Join(c.Dir, "kube-controller-manager.kubeconfig")
	config := &restclient.Config{Host: c.URL, TLSClientConfig: restclient.TLSClientConfig{
		CAData: c.ClientCA.PEM(), CertData: pair.Certificate, KeyData: pair.Key,
	}}
	if err := clientcmd.WriteToFile(kubeconfig(config), file); err != nil {
		return err
	}
	c.ControllerManager = process.New(filepath.Join(c.Dir, "kube-controller-manager.log"), c.binary("kube-controller-manager"),
		"--bind-address=127.0.0.1", "--secure-port="+itoa(port), "--leader-elect=false", "--use-service-account-credentials",
		"--kubeconfig="+file, "--authentication-kubeconfig="+file, "--authorization-kubeconfig="+file,
		"--service-account-private-key-file="+c.file("sa.key"), "--root-ca-file="+c.file("ca.crt"),
		"--controllers="+strings.Join(controllers, ","), "--resource-quota-sync-period=10s",
	)
	if err := c.ControllerManager.Start(); err != nil {
		return err
	}
	return c.ControllerManager.Await(ctx, func(ctx context.Context) error { // proves two of the controllers
		_, err := c.Admin.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}
