// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

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
