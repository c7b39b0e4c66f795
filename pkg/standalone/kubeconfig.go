// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"fmt"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

const (
	clusterName = "secret-apiserver"
	adminUser   = "admin"
)

// readKubeconfig returns nil when there is no file. Errors never quote it: it holds the token.
func readKubeconfig(path string) (*clientcmdv1.Config, error) {
	data, err := readPrivate(path)
	if data == nil {
		return nil, err
	}
	var cfg clientcmdv1.Config
	if err := yaml.UnmarshalStrict(data, &cfg); err != nil {
		return nil, fmt.Errorf("%s is not a valid kubeconfig: delete it to get a new admin token", path)
	}
	if tokenIn(&cfg) == "" {
		return nil, fmt.Errorf("%s has no user %q with a token: delete it to get a new admin token", path, adminUser)
	}
	if clusterIn(&cfg) == nil {
		return nil, fmt.Errorf("%s has no cluster %q: delete it to get a new admin token", path, clusterName)
	}
	return &cfg, nil
}

func tokenIn(cfg *clientcmdv1.Config) string {
	for _, u := range cfg.AuthInfos {
		if u.Name == adminUser {
			return u.AuthInfo.Token
		}
	}
	return ""
}

func clusterIn(cfg *clientcmdv1.Config) *clientcmdv1.Cluster {
	for i := range cfg.Clusters {
		if cfg.Clusters[i].Name == clusterName {
			return &cfg.Clusters[i].Cluster
		}
	}
	return nil
}

// pointTo makes the cluster of cfg the running server, and says whether that changed anything.
func pointTo(cfg *clientcmdv1.Config, server string, ca []byte) bool {
	c := clusterIn(cfg)
	if c.Server == server && bytes.Equal(c.CertificateAuthorityData, ca) {
		return false
	}
	c.Server, c.CertificateAuthorityData = server, ca
	return true
}

func newKubeconfig(server string, ca []byte, token string) *clientcmdv1.Config {
	return &clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{
			Name: clusterName, Cluster: clientcmdv1.Cluster{Server: server, CertificateAuthorityData: ca},
		}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: adminUser, AuthInfo: clientcmdv1.AuthInfo{Token: token}}},
		Contexts: []clientcmdv1.NamedContext{{
			Name:    clusterName,
			Context: clientcmdv1.Context{Cluster: clusterName, AuthInfo: adminUser, Namespace: "default"},
		}},
		CurrentContext: clusterName,
	}
}

func writeKubeconfig(path string, cfg *clientcmdv1.Config) error {
	data, err := yaml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return writePrivate(path, data)
}
