// SPDX-License-Identifier: Apache-2.0

// Package cluster gives the commands of the plugin their clients, by the flags that every kubectl command has.
package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// FieldManager names the plugin in managedFields.
const FieldManager = "kubectl-securevalue"

// PageSize is how many objects one request lists.
const PageSize = 500

// queriesPerSecond bounds the requests of a client; a burst may be twice as large.
const queriesPerSecond = 50

// kubectlDefault is where kubectl looks for a server when nothing names one.
const kubectlDefault = "http://localhost:8080"

// Factory makes clients.
type Factory struct {
	// IO are the streams of the command.
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	// namespace stands before that of the flags when it is set.
	namespace string
}

// New returns a Factory whose flags have their defaults.
func New(streams genericiooptions.IOStreams) *Factory {
	return &Factory{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
}

// AddFlags adds kubectl's flags.
func (f *Factory) AddFlags(fs *pflag.FlagSet) { f.flags.AddFlags(fs) }

// Impersonated returns what --as and --as-group say.
func (f *Factory) Impersonated() (user string, groups []string) {
	return *f.flags.Impersonate, *f.flags.ImpersonateGroup
}

// StopImpersonating makes all requests those of the kubeconfig's own user.
func (f *Factory) StopImpersonating() {
	*f.flags.Impersonate, *f.flags.ImpersonateUID, *f.flags.ImpersonateGroup = "", "", nil
}

// Namespace is that of --namespace, else of the kubeconfig's context, else default.
func (f *Factory) Namespace() (string, error) {
	if f.namespace != "" {
		return f.namespace, nil
	}
	namespace, _, err := f.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", hint.API("reading the kubeconfig", err)
	}
	return namespace, nil
}

// RESTConfig is the configuration of a client. Warnings of the server go to standard error.
func (f *Factory) RESTConfig() (*restclient.Config, error) {
	config, err := f.flags.ToRESTConfig()
	if err != nil {
		return nil, hint.API("reading the kubeconfig", err)
	}
	raw, err := f.flags.ToRawKubeConfigLoader().RawConfig()
	if err == nil && len(raw.Clusters) == 0 && *f.flags.APIServer == "" && config.Host == kubectlDefault {
		return nil, hint.ErrNoCluster
	}
	config.UserAgent = "kubectl-securevalue/" + version.Get()
	config.QPS, config.Burst = queriesPerSecond, 2*queriesPerSecond
	config.WarningHandler = restclient.NewWarningWriter(f.ErrOut, restclient.WarningWriterOptions{Deduplicate: true})
	return config, nil
}

// SecureValues returns the typed client and the namespace that the flags name.
func (f *Factory) SecureValues() (typedv1beta1.SecureValueInterface, string, error) {
	namespace, err := f.Namespace()
	if err != nil {
		return nil, "", err
	}
	client, err := f.Typed()
	if err != nil {
		return nil, "", err
	}
	return client.SecureValues(namespace), namespace, nil
}

// Typed returns the typed client for all namespaces.
func (f *Factory) Typed() (typedv1beta1.SecretV1beta1Interface, error) {
	config, err := f.RESTConfig()
	if err != nil {
		return nil, err
	}
	clients, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return clients.SecretV1beta1(), nil
}

// Kubernetes returns the client for what the cluster itself serves.
func (f *Factory) Kubernetes() (kubernetes.Interface, error) {
	config, err := f.RESTConfig()
	if err != nil {
		return nil, err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return clients, nil
}

// Whoami asks as whom the server knows the caller.
func Whoami(ctx context.Context, client typedauthenticationv1.AuthenticationV1Interface) (user.Info, error) {
	review, err := client.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("asking who you are: %w", err)
	}
	info := review.Status.UserInfo
	extra := make(map[string][]string, len(info.Extra))
	for key, values := range info.Extra {
		extra[key] = values
	}
	return &user.DefaultInfo{Name: info.Username, UID: info.UID, Groups: info.Groups, Extra: extra}, nil
}

// CompleteNames completes the one argument NAME.
func (f *Factory) CompleteNames(command *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, _, err := f.SecureValues()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names(command.Context(), client, prefix), cobra.ShellCompDirectiveNoFileComp
}

// CompleteDecrypters completes --decrypter by the document's decrypters and those that the namespace's values list.
func (f *Factory) CompleteDecrypters(command *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	found := sets.New("k6-cloud", "provisioning.grafana.app", "synthetic-monitoring")
	if client, _, err := f.SecureValues(); err == nil {
		found.Insert(decrypters(command.Context(), client)...)
	}
	return slices.DeleteFunc(sets.List(found), func(name string) bool { return !strings.HasPrefix(name, prefix) }),
		cobra.ShellCompDirectiveNoFileComp
}
