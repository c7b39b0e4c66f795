// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// Names in a kubeconfig are these with the address of the server appended, so that the files of two servers can be
// merged. Files of older versions have no address.
const (
	clusterName = "secret-apiserver"
	adminUser   = "admin"
)

// named returns the name for a server.
func named(prefix, server string) string {
	return prefix + "@" + strings.TrimPrefix(server, "https://")
}

func isNamed(name, prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"@") }

// readKubeconfig returns nil if the file is absent. Errors never quote it: it contains the token.
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

// pointTo makes the cluster of cfg the running server and reports whether it changed anything.
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

// tokenPrefix lets scanners of source code and logs recognize an admin token.
const tokenPrefix = "sva_"

// digest is the hash of the admin token that the server keeps. The token has 256 random bits, so a plain hash suffices.
type digest [sha256.Size]byte

func newToken() string {
	b := make([]byte, 32)
	rand.Read(b) // never returns an error
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

func (d digest) equal(other digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

func (d digest) file() []byte { return []byte(hex.EncodeToString(d[:]) + "\n") }

// readDigest returns nil if the file is absent.
func readDigest(path, kubeconfig string) (*digest, error) {
	data, err := readPrivate(path)
	if data == nil {
		return nil, err
	}
	var d digest
	text := strings.TrimSpace(string(data))
	if n, err := hex.Decode(d[:], []byte(text[:min(len(text), 2*len(d))])); err != nil || n != len(d) ||
		len(text) != 2*len(d) {
		return nil, fmt.Errorf("%s is not a SHA-256 in hex: delete it and %s to get a new admin token", path,
			kubeconfig)
	}
	return &d, nil
}

// adminToken authenticates the token with this digest.
type adminToken digest

var _ authenticator.Token = adminToken{}

// AuthenticateToken compares digests in constant time.
func (a adminToken) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	if !digest(a).equal(digestOf(token)) {
		return nil, false, nil
	}
	return &authenticator.Response{
		User: &user.DefaultInfo{Name: adminUser, Groups: []string{user.SystemPrivilegedGroup}},
	}, true, nil
}
