// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

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
