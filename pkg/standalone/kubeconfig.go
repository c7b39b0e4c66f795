// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"fmt"
	"strings"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// The names in a kubeconfig start with these; the address of the server follows, so that the files of two servers can be
// merged. Files of older versions have no address.
const (
	clusterName = "secret-apiserver"
	adminUser   = "admin"
)

// named returns the name that starts with prefix for a server.
func named(prefix, server string) string {
	return prefix + "@" + strings.TrimPrefix(server, "https://")
}

func isNamed(name, prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"@") }

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
		if isNamed(u.Name, adminUser) {
			return u.AuthInfo.Token
		}
	}
	return ""
}

func clusterIn(cfg *clientcmdv1.Config) *clientcmdv1.NamedCluster {
	for i := range cfg.Clusters {
		if isNamed(cfg.Clusters[i].Name, clusterName) {
			return &cfg.Clusters[i]
		}
	}
	return nil
}

// pointTo makes the cluster of cfg the running server, and says whether that changed anything.
func pointTo(cfg *clientcmdv1.Config, server string, ca []byte) bool {
	c, name := clusterIn(cfg), named(clusterName, server)
	if c.Name == name && c.Cluster.Server == server && bytes.Equal(c.Cluster.CertificateAuthorityData, ca) {
		return false
	}
	c.Name, c.Cluster.Server, c.Cluster.CertificateAuthorityData = name, server, ca
	rename := func(field *string, prefix string) {
		if isNamed(*field, prefix) {
			*field = named(prefix, server)
		}
	}
	for i := range cfg.AuthInfos {
		rename(&cfg.AuthInfos[i].Name, adminUser)
	}
	for i := range cfg.Contexts {
		rename(&cfg.Contexts[i].Name, clusterName)
		rename(&cfg.Contexts[i].Context.Cluster, clusterName)
		rename(&cfg.Contexts[i].Context.AuthInfo, adminUser)
	}
	rename(&cfg.CurrentContext, clusterName)
	return true
}

func newKubeconfig(server string, ca []byte, token string) *clientcmdv1.Config {
	cluster, admin := named(clusterName, server), named(adminUser, server)
	return &clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{
			Name: cluster, Cluster: clientcmdv1.Cluster{Server: server, CertificateAuthorityData: ca},
		}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: admin, AuthInfo: clientcmdv1.AuthInfo{Token: token}}},
		Contexts: []clientcmdv1.NamedContext{{
			Name:    cluster,
			Context: clientcmdv1.Context{Cluster: cluster, AuthInfo: admin, Namespace: "default"},
		}},
		CurrentContext: cluster,
	}
}

func writeKubeconfig(path string, cfg *clientcmdv1.Config) error {
	data, err := yaml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return atomicfile.Replace(path, data)
}
