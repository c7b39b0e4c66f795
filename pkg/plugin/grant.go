// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

const grantLong = `Let a service decrypt the values of a namespace that list a decrypter. The ServiceAccount gets a
RoleBinding to the ClusterRole of the decrypter, which is created if it does not exist; with --name, to a Role for these
values only. The namespace of its Pods gets the label that the NetworkPolicy of the decrypt port asks for. At the end
the command prints what the Pods need.

Each object is created with your permissions: "bind" on the ClusterRole is enough for a RoleBinding (ClusterRole
secret.grafana.app:decrypter-granter), a new ClusterRole takes a cluster administrator.`

const grantExample = `  # ServiceAccount checkout of namespace shop may decrypt what lists checkout in shop-values.
  kubectl securevalue grant shop:checkout --decrypter checkout -n shop-values

  # Only one value.
  kubectl securevalue grant shop:checkout --decrypter checkout --name api-key -n shop-values

  # The manifests, for Git.
  kubectl securevalue grant shop:checkout --decrypter checkout -n shop-values -o yaml`

const revokeExample = `  kubectl securevalue revoke shop:checkout --decrypter checkout -n shop-values`

// networkLabel opens the decrypt port to the Pods of a namespace.
const networkLabel = secret.GroupName + "/decrypt"

// grant is a RoleBinding of a ServiceAccount in a namespace with values.
type grant struct {
	*factory
	account   types.NamespacedName
	namespace string
	decrypter string
	names     []string
	dryRun    dryRun
	output    string // yaml or nothing
}

func newGrant(f *factory) *cobra.Command {
	g := &grant{factory: f}
	c := g.command(&cobra.Command{
		Use: "grant NAMESPACE:SERVICEACCOUNT", Short: "Let a service decrypt values",
		Long: grantLong, Example: grantExample,
	}, g.add)
	fs := c.Flags()
	fs.StringArrayVar(&g.names, "name", nil, "Only the value of this `name`. May be repeated.")
	fs.StringVarP(&g.output, "output", "o", "", "yaml prints the manifests and changes nothing.")
	return c
}

func newRevoke(f *factory) *cobra.Command {
	g := &grant{factory: f}
	return g.command(&cobra.Command{
		Use: "revoke NAMESPACE:SERVICEACCOUNT", Short: "Take back what grant gave",
		Long:    "Delete the RoleBinding and the Role of a grant. The ClusterRole and the label of the namespace stay.",
		Example: revokeExample,
	}, g.remove)
}

func (g *grant) command(c *cobra.Command, run func(context.Context) error) *cobra.Command {
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.Flags().StringVar(&g.decrypter, "decrypter", "", "Name in spec.decrypters of the values. Required.")
	g.dryRun.addFlag(c.Flags())
	g.completeDecrypters(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := g.validate(args[0]); err != nil {
			return err
		}
		return run(c.Context())
	}
	return c
}

func (g *grant) validate(account string) (err error) {
	namespace, name, ok := strings.Cut(account, ":")
	g.account = types.NamespacedName{Namespace: namespace, Name: name}
	var errs []error
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		errs = append(errs, errors.New("expected NAMESPACE:SERVICEACCOUNT"))
	}
	if faults := validation.IsValidLabelValue(g.decrypter); g.decrypter == "" || len(faults) > 0 {
		errs = append(errs, errors.New("--decrypter must be 1 to 63 letters, digits, '-', '_' or '.'"))
	}
	if g.output != "" && g.output != "yaml" {
		errs = append(errs, errors.New("-o must be yaml"))
	}
	if err := errors.Join(append(errs, g.dryRun.validate())...); err != nil {
		return err
	}
	g.namespace, err = g.currentNamespace()
	return err
}

// meta names the objects of a grant: one for each ServiceAccount and decrypter, and another one for single values.
func (g *grant) meta(single bool) metav1.ObjectMeta {
	sum := sha256.Sum256([]byte(g.account.String()))
	name := "decrypter-" + g.decrypter + "-" + hex.EncodeToString(sum[:4])
	if single {
		name += "-names"
	}
	labels := map[string]string{"app.kubernetes.io/managed-by": fieldManager}
	return metav1.ObjectMeta{Namespace: g.namespace, Name: name, Labels: labels}
}

// typeMeta is for manifests: typed clients leave it out.
func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

// rules are those of a decrypter.
func (g *grant) rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{secret.GroupName}, Resources: []string{secret.Resource}, ResourceNames: g.names,
			Verbs: []string{"decrypt"}},
		{APIGroups: []string{secret.GroupName}, Resources: []string{"decrypters"}, ResourceNames: []string{g.decrypter},
			Verbs: []string{"use"}},
	}
}

// clusterRole has the name and the rules of those in config/rbac.
func (g *grant) clusterRole() *rbacv1.ClusterRole {
	name := secret.GroupName + ":decrypter-" + strings.TrimSuffix(g.decrypter, ".grafana.app")
	return &rbacv1.ClusterRole{
		TypeMeta: typeMeta("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: g.rules(),
	}
}

func (g *grant) role() *rbacv1.Role {
	return &rbacv1.Role{TypeMeta: typeMeta("Role"), ObjectMeta: g.meta(true), Rules: g.rules()}
}

func (g *grant) binding() *rbacv1.RoleBinding {
	single := len(g.names) > 0
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: g.clusterRole().Name}
	if single {
		ref.Kind, ref.Name = "Role", g.role().Name
	}
	accounts := []rbacv1.Subject{
		{Kind: rbacv1.ServiceAccountKind, Namespace: g.account.Namespace, Name: g.account.Name},
	}
	return &rbacv1.RoleBinding{
		TypeMeta: typeMeta("RoleBinding"), ObjectMeta: g.meta(single), RoleRef: ref, Subjects: accounts,
	}
}

func (g *grant) add(ctx context.Context) error {
	if g.output == "yaml" {
		return g.print()
	}
	client, err := newClient(g.factory, typedrbacv1.NewForConfig)
	if err != nil {
		return err
	}
	binding := g.binding()
	if len(g.names) > 0 {
		role := g.role()
		err = apply(ctx, g, "role", role.Name, role, client.Roles(g.namespace).Patch)
	} else {
		role := g.clusterRole()
		err = apply(ctx, g, "clusterrole", role.Name, role, client.ClusterRoles().Patch)
		if apierrors.IsForbidden(err) {
			err = nil // one that exists is enough, and the binding tells
		}
	}
	if err != nil {
		return err
	}
	if err := apply(ctx, g, "rolebinding", binding.Name, binding, client.RoleBindings(g.namespace).Patch); err != nil {
		return err
	}
	if err := g.label(ctx); err != nil {
		note := "note: %v; where NetworkPolicies are enforced, run: kubectl label namespace %s %s=allowed\n"
		_, _ = fmt.Fprintf(g.ErrOut, note, err, g.account.Namespace, networkLabel)
	}
	_, err = fmt.Fprintf(g.Out, podText, g.account.Name)
	return err
}

// podText is what a Pod of the ServiceAccount needs.
const podText = `
In the Pods of this ServiceAccount, with the CA of the server in ConfigMap secret-ca, which the label brings:

  metadata: {labels: {` + networkLabel + `: allowed}}
  spec:
    serviceAccountName: %s
    containers:
      - volumeMounts: [{name: secret-token, mountPath: /var/run/secrets/` + secret.GroupName + `, readOnly: true}]
    volumes:
      - name: secret-token
        projected:
          sources:
            - serviceAccountToken: {audience: ` + secret.GroupName + `, expirationSeconds: 3600, path: token}
            - configMap: {name: secret-ca, items: [{key: ca.crt, path: ca.crt}]}
`

func (g *grant) did(kind, name, what string) error {
	if g.dryRun.server() {
		what += " (server dry run)"
	}
	_, err := fmt.Fprintf(g.Out, "%s/%s %s\n", kind, name, what)
	return err
}

// apply creates an object, or leaves one with the same content. Another owner's other content is a conflict.
func apply[T any](ctx context.Context, g *grant, kind, name string, object any, patch func(context.Context, string,
	types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)) error {
	data, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", kind, err)
	}
	options := metav1.PatchOptions{DryRun: g.dryRun.options(), FieldManager: fieldManager}
	if _, err := patch(ctx, name, types.ApplyPatchType, data, options); err != nil {
		return apiError("applying "+kind+" "+name, err)
	}
	return g.did(kind, name, "applied")
}

func (g *grant) label(ctx context.Context) error {
	client, err := newClient(g.factory, typedcorev1.NewForConfig)
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"allowed"}}}`, networkLabel)
	options := metav1.PatchOptions{DryRun: g.dryRun.options(), FieldManager: fieldManager}
	if _, err := client.Namespaces().Patch(ctx, g.account.Namespace, types.MergePatchType, patch, options); err != nil {
		return apiError("labelling namespace "+g.account.Namespace, err)
	}
	return g.did("namespace", g.account.Namespace, "labelled")
}

func (g *grant) print() error {
	var role any = g.clusterRole()
	if len(g.names) > 0 {
		role = g.role()
	}
	for _, object := range []any{role, g.binding()} {
		data, err := yaml.Marshal(object)
		if err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		if _, err := fmt.Fprintf(g.Out, "---\n%s", data); err != nil {
			return err
		}
	}
	return nil
}

func (g *grant) remove(ctx context.Context) error {
	client, err := newClient(g.factory, typedrbacv1.NewForConfig)
	if err != nil {
		return err
	}
	options, found := metav1.DeleteOptions{DryRun: g.dryRun.options()}, false
	bindings, roles := client.RoleBindings(g.namespace).Delete, client.Roles(g.namespace).Delete
	for _, object := range []struct {
		kind, name string
		remove     func(context.Context, string, metav1.DeleteOptions) error
	}{
		{"rolebinding", g.meta(false).Name, bindings}, {"rolebinding", g.meta(true).Name, bindings},
		{"role", g.meta(true).Name, roles},
	} {
		err := object.remove(ctx, object.name, options)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err == nil {
			err = g.did(object.kind, object.name, "deleted")
		}
		if err != nil {
			return apiError("deleting "+object.kind+" "+object.name, err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("%s has no such grant in namespace %s: who-can-decrypt lists others", g.account, g.namespace)
	}
	return nil
}
