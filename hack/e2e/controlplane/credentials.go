// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
)

// FrontProxyName is the common name of the aggregator's certificate, the only one of --requestheader-allowed-names.
const FrontProxyName = "front-proxy-client"

// writePKI makes what an installer of Kubernetes makes.
func (c *ControlPlane) writePKI() error {
	var err error
	if c.ClientCA, err = pki.NewCA("kubernetes-ca"); err != nil {
		return err
	}
	if c.FrontProxyCA, err = pki.NewCA("front-proxy-ca"); err != nil {
		return err
	}
	private, public, err := pki.SigningKey()
	if err != nil {
		return err
	}
	serving, err := c.ClientCA.Serving("kube-apiserver", "kubernetes.default.svc")
	return errors.Join(err,
		pki.WriteFile(c.file("ca.crt"), c.ClientCA.PEM()),
		pki.WriteFile(c.file("sa.key"), private),
		pki.WriteFile(c.file("sa.pub"), public),
		serving.Write(c.file("apiserver.crt"), c.file("apiserver.key")),
		c.WriteFrontProxyCA(c.FrontProxyCA),
		c.WriteFrontProxyClient(c.FrontProxyCA),
	)
}

// WriteFrontProxyCA makes the CAs of the front proxy these; kube-apiserver reloads the file and publishes them.
func (c *ControlPlane) WriteFrontProxyCA(cas ...*pki.CA) error {
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, ca.PEM()...)
	}
	return pki.WriteFile(c.file("front-proxy-ca.crt"), bundle)
}

// WriteFrontProxyClient gives the aggregator a certificate of this CA; kube-apiserver reloads the files.
func (c *ControlPlane) WriteFrontProxyClient(ca *pki.CA) error {
	pair, err := ca.Client(FrontProxyName)
	if err != nil {
		return err
	}
	return pair.Write(c.file("front-proxy-client.crt"), c.file("front-proxy-client.key"))
}

// Token asks for a token of a ServiceAccount, for the given audiences or else for kube-apiserver.
func (c *ControlPlane) Token(ctx context.Context, namespace, name string, audiences ...string) (string, error) {
	request, err := c.Admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: audiences},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return request.Status.Token, nil
}

// TokenConfig is the client configuration of somebody with a token.
func (c *ControlPlane) TokenConfig(token string) *restclient.Config {
	return &restclient.Config{
		Host: c.URL, BearerToken: token, TLSClientConfig: restclient.TLSClientConfig{CAData: c.ClientCA.PEM()},
	}
}

// ServiceAccountKubeconfig writes the kubeconfig of a ServiceAccount and returns its path.
func (c *ControlPlane) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	token, err := c.Token(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.Dir, namespace+"."+name+".kubeconfig")
	return file, clientcmd.WriteToFile(kubeconfig(c.TokenConfig(token)), file)
}

func kubeconfig(config *restclient.Config) clientcmdapi.Config {
	k := clientcmdapi.NewConfig()
	k.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	k.AuthInfos["test"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
	}
	k.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	k.CurrentContext = "test"
	return *k
}

func itoa(port int) string { return strconv.Itoa(port) }
