// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const (
	// fieldManager identifies the plugin in managedFields.
	fieldManager = "kubectl-securevalue"
	// pageSize is the number of objects that one request lists.
	pageSize = 500
	// queriesPerSecond limits the requests of a client; bursts may be twice as large.
	queriesPerSecond = 50
	// completionTimeout limits how long a shell waits for names.
	completionTimeout = 5 * time.Second
	// kubectlDefault is the server that kubectl tries when none is configured.
	kubectlDefault = "http://localhost:8080"
)

// factory makes clients from kubectl's flags.
type factory struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	// namespace takes precedence over the flags unless it is "".
	namespace string
}

func newFactory(streams genericiooptions.IOStreams) *factory {
	return &factory{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
}

// addSourceFlags adds the flags that select another cluster to read from.
func (f *factory) addSourceFlags(fs *pflag.FlagSet) {
	fs.StringVar(f.flags.KubeConfig, "source-kubeconfig", "",
		"Kubeconfig `file` of the cluster with the Secrets, if different.")
	fs.StringVar(f.flags.Context, "source-context", "", "Context of the cluster with the Secrets, if different.")
	fs.StringVar(f.flags.Namespace, "source-namespace", "", "Namespace of the Secrets, if different.")
}

// or returns other with its unset flags taken from f. Another cluster without a namespace uses that of its context.
func (f *factory) or(other *factory) *factory {
	switch {
	case *other.flags.KubeConfig != "":
		return other
	case *other.flags.Context != "":
		*other.flags.KubeConfig = *f.flags.KubeConfig
		return other
	case *other.flags.Namespace == "":
		return f
	}
	return &factory{IOStreams: f.IOStreams, flags: f.flags, namespace: *other.flags.Namespace}
}

// stopImpersonating returns --as and --as-group, and makes all requests those of the kubeconfig's own user.
func (f *factory) stopImpersonating() (user string, groups []string) {
	user, groups = *f.flags.Impersonate, *f.flags.ImpersonateGroup
	*f.flags.Impersonate, *f.flags.ImpersonateUID, *f.flags.ImpersonateGroup = "", "", nil
	return user, groups
}

// currentNamespace is that of --namespace, else of the kubeconfig's context, else default.
func (f *factory) currentNamespace() (string, error) {
	if f.namespace != "" {
		return f.namespace, nil
	}
	namespace, _, err := f.flags.ToRawKubeConfigLoader().Namespace()
	return namespace, apiError("reading the kubeconfig", err)
}

// restConfig is the configuration of a client. Warnings of the server go to standard error.
func (f *factory) restConfig() (*restclient.Config, error) {
	config, err := f.flags.ToRESTConfig()
	if err != nil {
		return nil, apiError("reading the kubeconfig", err)
	}
	raw, err := f.flags.ToRawKubeConfigLoader().RawConfig()
	if err == nil && len(raw.Clusters) == 0 && *f.flags.APIServer == "" && config.Host == kubectlDefault {
		return nil, errNoCluster
	}
	config.UserAgent = "kubectl-securevalue/" + version.Get()
	config.QPS, config.Burst = queriesPerSecond, 2*queriesPerSecond
	config.WarningHandler = restclient.NewWarningWriter(f.ErrOut, restclient.WarningWriterOptions{Deduplicate: true})
	return config, nil
}

// newClient makes the client of one API group: the clientset of all groups adds 9 MB to the binary.
func newClient[C any](f *factory, forConfig func(*restclient.Config) (C, error)) (client C, err error) {
	config, err := f.restConfig()
	if err != nil {
		return client, err
	}
	if client, err = forConfig(config); err != nil {
		return client, fmt.Errorf("creating a client: %w", err)
	}
	return client, nil
}

// secureValues returns the client for the current namespace, and that namespace.
func (f *factory) secureValues() (typedv1beta1.SecureValueInterface, string, error) {
	namespace, err := f.currentNamespace()
	if err != nil {
		return nil, "", err
	}
	client, err := newClient(f, typedv1beta1.NewForConfig)
	if err != nil {
		return nil, "", err
	}
	return client.SecureValues(namespace), namespace, nil
}

// whoami returns the user that the server authenticates the caller as.
func (f *factory) whoami(ctx context.Context) (user.Info, error) {
	client, err := newClient(f, typedauthenticationv1.NewForConfig)
	if err != nil {
		return nil, err
	}
	review := &authenticationv1.SelfSubjectReview{}
	review, err = client.SelfSubjectReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("asking the server for your user name: %w", err)
	}
	info := review.Status.UserInfo
	extra := make(map[string][]string, len(info.Extra))
	for key, values := range info.Extra {
		extra[key] = values
	}
	return &user.DefaultInfo{Name: info.Username, UID: info.UID, Groups: info.Groups, Extra: extra}, nil
}

// list is a list of objects, page by page.
type list interface {
	runtime.Object
	metav1.ListInterface
}

// each passes every object to visit and returns the resourceVersion of the list. total is the number of all objects, as
// far as the server reports it.
func each[L list, T any](
	ctx context.Context, page func(context.Context, metav1.ListOptions) (L, error), options metav1.ListOptions,
	visit func(object *T, total int64),
) (version string, err error) {
	options.Limit = pageSize
	for seen := int64(0); ; {
		objects, err := page(ctx, options)
		if err != nil {
			return "", err
		}
		seen += int64(meta.LenList(objects))
		total := seen
		if remaining := objects.GetRemainingItemCount(); remaining != nil {
			total += *remaining
		}
		err = meta.EachListItem(objects, func(o runtime.Object) error {
			visit(any(o).(*T), total)
			return nil
		})
		if err != nil || objects.GetContinue() == "" {
			return objects.GetResourceVersion(), err
		}
		options.Continue = objects.GetContinue()
	}
}

// completeNames completes the argument NAME.
func (f *factory) completeNames(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := f.collect(c.Context(), func(sv *v1beta1.SecureValue) []string { return []string{sv.Name} })
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return withPrefix(names, prefix), cobra.ShellCompDirectiveNoFileComp
}

// completeDecrypters completes --decrypter with the documented decrypters and those of the namespace's values.
func (f *factory) completeDecrypters(command *cobra.Command) {
	complete := func(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		names := sets.New(secret.DefaultDecrypters()...)
		// A shell has no use for an error.
		stored, _ := f.collect(c.Context(), func(sv *v1beta1.SecureValue) []string { return sv.Spec.Decrypters })
		return withPrefix(sets.List(names.Insert(stored...)), prefix), cobra.ShellCompDirectiveNoFileComp
	}
	_ = command.RegisterFlagCompletionFunc("decrypter", complete) // every caller defines the flag
}

// collect returns what could be listed in completionTimeout.
func (f *factory) collect(ctx context.Context, of func(*v1beta1.SecureValue) []string) (found []string, err error) {
	client, _, err := f.secureValues()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	_, _ = each(ctx, client.List, metav1.ListOptions{}, func(sv *v1beta1.SecureValue, _ int64) {
		found = append(found, of(sv)...)
	})
	return found, nil
}

func withPrefix(names []string, prefix string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
}
