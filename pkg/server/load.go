// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	componenttracing "k8s.io/component-base/tracing"

	"github.com/securevalue/secret-apiserver/pkg/access/cluster"
	"github.com/securevalue/secret-apiserver/pkg/access/local"
	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/standalone"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

const (
	informerResync = 10 * time.Minute // upstream's
	// reviewTimeout bounds one SubjectAccessReview.
	reviewTimeout = 10 * time.Second
	// decryptCacheTTL is how long the decrypt port caches the user of a token.
	decryptCacheTTL = 500 * time.Millisecond
)

// inputs is the content of the files that flags name.
type inputs struct {
	authn      *local.Authenticator // standalone
	rbac       *rbac.Authorizer     // standalone
	rbacFolder *reload.File
	cluster    *inCluster       // nil in a standalone server
	audit      *auditLog        // nil without --audit-log-path
	tracing    tracing.Provider // nil without --tracing-config-file
}

// inCluster is what a server uses of its cluster: authentication, authorization, namespaces, quotas, and priority and
// fairness.
type inCluster struct {
	client, authnClient, authzClient kubernetes.Interface
	informers                        informers.SharedInformerFactory
	authn                            *cluster.Authenticator
	authz                            authorizer.Authorizer
	certificates                     []certificate
}

// load reads every file that a flag names before the data folder is changed. ctx must live as long as the server. admin
// authenticates a standalone server's own token; it is not called here.
func (s *server) load(ctx context.Context, admin authenticator.Token) (*inputs, error) {
	if err := s.checkFiles(); err != nil {
		return nil, err
	}
	var i inputs
	var err error
	if i.tracing, err = s.opts.Tracing.Open(ctx, serviceName); err != nil {
		return nil, err
	}
	if s.opts.Standalone.Enabled {
		err = s.loadStandalone(ctx, &i, admin)
	} else {
		i.cluster, err = s.loadCluster(ctx, i.tracing)
	}
	if err != nil {
		return nil, err
	}
	i.audit, err = loadAudit(ctx, s.opts.Audit)
	return &i, err
}

// checkFiles returns an error for each file to which other users have more access than its content allows, and for an
// invalid certificate or encryption configuration. pkg/reload and pkg/access/rbac check the files that they read.
func (s *server) checkFiles() error {
	transport, pair := s.opts.Storage.StorageConfig.Transport, s.opts.Serving.ServerCert.CertKey
	var errs []error
	for _, file := range []struct {
		flag, path string
		holds      reload.Content
	}{
		{"tls-cert-file", pair.CertFile, reload.Rights},
		{"tls-private-key-file", pair.KeyFile, reload.Credentials},
		{"etcd-certfile", transport.CertFile, reload.Rights},
		{"etcd-keyfile", transport.KeyFile, reload.Credentials},
		{"etcd-cafile", transport.TrustedCAFile, reload.Rights},
		{"kubeconfig", s.opts.Cluster.Kubeconfig, reload.Credentials},
		{"authentication-kubeconfig", s.opts.Cluster.AuthenticationKubeconfig, reload.Credentials},
		{"authorization-kubeconfig", s.opts.Cluster.AuthorizationKubeconfig, reload.Credentials},
		{"tracing-config-file", s.opts.Tracing.ConfigFile, reload.Rights},
	} {
		if file.path == "" {
			continue
		}
		err := reload.CheckFile(file.path, file.holds)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the reader of the file has a better error for that
			errs = append(errs, fmt.Errorf("--%s: %w", file.flag, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if s.opts.Serving.HasCertificate() {
		if _, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile); err != nil {
			return fmt.Errorf("reading --tls-cert-file and --tls-private-key-file: %w", err)
		}
	}
	return s.checkEncryption()
}

func (s *server) checkEncryption() error {
	file := s.opts.Encryption.ConfigFile
	if file == "" {
		return nil // pkg/standalone checks the generated one
	}
	data, err := reload.ReadFile(file, reload.Credentials)
	if err != nil {
		return fmt.Errorf("reading --encryption-provider-config: %w", err)
	}
	defer clear(data)
	if err := keys.CheckConfiguration(data); err != nil {
		return fmt.Errorf("--encryption-provider-config %s: %w", file, err)
	}
	return nil
}

func (s *server) loadStandalone(ctx context.Context, i *inputs, admin authenticator.Token) (err error) {
	opts := s.opts.Standalone
	i.authn, err = local.New(ctx, local.Config{
		TokenAuthFile:            cmp.Or(opts.TokenAuthFile, standalone.TokenFile(opts.DataDir)),
		TokenFileOptional:        opts.TokenAuthFile == "",
		ClientCAFile:             opts.ClientCAFile,
		AuthenticationConfigFile: opts.AuthenticationConfigFile,
		Admin:                    admin,
	})
	if err != nil {
		return err
	}
	i.rbac, i.rbacFolder = rbac.NewFolder(cmp.Or(opts.RBACDir, standalone.RBACDir(opts.DataDir)), opts.RBACDir == "")
	return i.rbacFolder.Load(ctx)
}

// loadCluster reads the kubeconfigs, and the ConfigMap of kube-apiserver, for which it waits a while. Only
// SubjectAccessReviews are traced: all other requests are sent outside of a request, or before its trace starts.
func (s *server) loadCluster(ctx context.Context, traces tracing.Provider) (*inCluster, error) {
	opts := s.opts.Cluster
	var c inCluster
	var err error
	if c.client, err = c.connect("kubeconfig", opts.Kubeconfig, opts.Kubeconfig, 0, nil); err != nil {
		return nil, err
	}
	c.authnClient, err = c.connect("authentication-kubeconfig", opts.AuthenticationKubeconfig,
		opts.Kubeconfig, 0, nil)
	if err != nil {
		return nil, err
	}
	c.authzClient, err = c.connect("authorization-kubeconfig", opts.AuthorizationKubeconfig,
		opts.Kubeconfig, reviewTimeout, traces)
	if err != nil {
		return nil, err
	}
	c.informers = informers.NewSharedInformerFactory(c.client, informerResync)
	c.authz, err = cluster.NewAuthorizer(
		cluster.AuthorizationConfig{Client: c.authzClient, AllowTTL: opts.AllowTTL, DenyTTL: opts.DenyTTL})
	if err != nil {
		return nil, err
	}
	c.authn, err = cluster.NewAuthenticator(ctx, cluster.AuthenticationConfig{
		Client:           c.authnClient,
		TokenCacheTTL:    opts.TokenCacheTTL,
		Audience:         secret.GroupName,
		AudienceCacheTTL: decryptCacheTTL,
		ServiceCAFile:    opts.ServiceCAFile,
		OpaqueTokens:     opts.DecryptOpaqueTokens,
	})
	return &c, err
}

// connect returns a client without a rate limit: kube-apiserver has priority and fairness. An empty file means the
// default, that of --kubeconfig.
func (c *inCluster) connect(
	flag, file, byDefault string, timeout time.Duration, traces tracing.Provider,
) (kubernetes.Interface, error) {
	separate := file != "" || flag == "kubeconfig"
	if !separate {
		flag, file = "kubeconfig", byDefault
	}
	config, err := restConfig(flag, file)
	if err != nil {
		return nil, err
	}
	if separate {
		c.certificates = append(c.certificates, clientCertificates(flag, config)...)
	}
	config.QPS, config.Timeout = -1, timeout
	if traces != nil {
		config.Wrap(componenttracing.WrapperFor(traces))
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, file, err)
	}
	return client, nil
}

// checkKubeconfigFiles checks the files that a kubeconfig names, as checkFiles does for those of flags.
func checkKubeconfigFiles(flag string, config *restclient.Config) error {
	for path, holds := range map[string]reload.Content{
		config.KeyFile: reload.Credentials, config.BearerTokenFile: reload.Credentials,
		config.CertFile: reload.Rights, config.CAFile: reload.Rights,
	} {
		if path == "" {
			continue
		}
		if err := reload.CheckFile(path, holds); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	return nil
}

func restConfig(flag, file string) (*restclient.Config, error) {
	if file == "" {
		config, err := restclient.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig is not set and this is not a Pod: %w", err)
		}
		return config, nil
	}
	loaded, err := clientcmd.LoadFromFile(file)
	if err != nil {
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		// The parser's error may quote a token.
		return nil, fmt.Errorf("--%s: %s is not a valid kubeconfig", flag, file)
	}
	if err := clientcmd.ResolveLocalPaths(loaded); err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, file, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, file, err)
	}
	return config, checkKubeconfigFiles(flag, config)
}
