// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	componenttracing "k8s.io/component-base/tracing"

	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

const (
	// informerResync is upstream's.
	informerResync = 10 * time.Minute
	// reviewTimeout bounds one SubjectAccessReview.
	reviewTimeout = 10 * time.Second
)

// CoreOptions say how a server in a cluster reaches kube-apiserver.
type CoreOptions struct {
	// Kubeconfig is --kubeconfig; "" uses the Pod's ServiceAccount.
	Kubeconfig string
	// AuthenticationKubeconfig is --authentication-kubeconfig; "" means Kubeconfig.
	AuthenticationKubeconfig string
	// AuthorizationKubeconfig is --authorization-kubeconfig; "" means Kubeconfig.
	AuthorizationKubeconfig string
}

// AddFlags adds the flags of this concern.
func (o *CoreOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig,
		"Kubeconfig of the cluster's kube-apiserver, for namespaces, quotas, flow schemas and priority levels. Without it the Pod's ServiceAccount is used.")
	fs.StringVar(&o.AuthenticationKubeconfig, "authentication-kubeconfig", o.AuthenticationKubeconfig,
		"Kubeconfig for TokenReview and for the ConfigMap kube-system/extension-apiserver-authentication. Without it --kubeconfig is used.")
	fs.StringVar(&o.AuthorizationKubeconfig, "authorization-kubeconfig", o.AuthorizationKubeconfig,
		"Kubeconfig for SubjectAccessReview. Without it --kubeconfig is used.")
}

// core is the cluster's kube-apiserver.
type core struct {
	client, authn, authz kubernetes.Interface
	informers            informers.SharedInformerFactory
	certificates         []certificate
}

// load reads the kubeconfigs. It asks nobody. Of what is asked later, reviews of rights are in the trace of the request that
// they are about; everything else is asked outside of a request, or before its trace begins.
func (o *CoreOptions) load(traces tracing.Provider) (*core, error) {
	var c core
	var err error
	if c.client, err = o.client(&c, "kubeconfig", o.Kubeconfig, 0, nil); err != nil {
		return nil, err
	}
	if c.authn, err = o.client(&c, "authentication-kubeconfig", o.AuthenticationKubeconfig, 0, nil); err != nil {
		return nil, err
	}
	if c.authz, err = o.client(&c, "authorization-kubeconfig", o.AuthorizationKubeconfig, reviewTimeout, traces); err != nil {
		return nil, err
	}
	c.informers = informers.NewSharedInformerFactory(c.client, informerResync)
	return &c, nil
}

// client has no rate limit of its own: one would bound this server, and kube-apiserver has priority and fairness.
func (o *CoreOptions) client(c *core, flag, file string, timeout time.Duration, traces tracing.Provider) (kubernetes.Interface, error) {
	own := file != "" || flag == "kubeconfig"
	if !own {
		flag, file = "kubeconfig", o.Kubeconfig
	}
	config, err := restConfig(flag, file)
	if err != nil {
		return nil, err
	}
	if own {
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
		// What the parser says may quote a token.
		return nil, fmt.Errorf("--%s: %s is not a valid kubeconfig", flag, file)
	}
	if err := clientcmd.ResolveLocalPaths(loaded); err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, file, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, file, err)
	}
	return config, nil
}
