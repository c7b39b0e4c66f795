// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

const whoLong = `List who may open a value: the services on its list of decrypters that RBAC allows. A caller requires
the verb "decrypt" on the value and the verb "use" on one of its decrypters, both in the value's namespace.

Each line has a subject, the decrypter that it may use, and the bindings and roles that grant both permissions. "*"
marks a role that grants one by a wildcard. "if in" means that only members of that group have both. "Refused" are
subjects that RBAC allows and the decrypt port does not: permission to use every decrypter is a wildcard, which reads no
value. "Indirect" are subjects that can make themselves readers: by "extend" on the value, by the credentials of a
ServiceAccount that is a reader (its tokens, its Secrets, a Pod that runs as it), or by verbs that grant permissions,
written as in RBAC rules.

The RBAC objects are read with your permissions. Authorizers of a cluster other than RBAC are not considered. For a
standalone server pass the directory of its --rbac-dir.`

const whoExample = `  kubectl securevalue who-can-decrypt api-key

  # With a standalone server.
  kubectl securevalue who-can-decrypt api-key --rbac-dir ./rbac

  # For scripts.
  kubectl securevalue who-can-decrypt api-key -o json`

const whyDeleted = "it is deleted and waits for its finalizers, its value is gone"

// value is the object that access is about.
type value struct {
	namespace, name string
	decrypters      []string
	// deleted objects wait for their finalizers and have no value.
	deleted bool
}

func newWhoCanDecrypt(f *factory) *cobra.Command {
	var rbacDir string
	var output cli.Output
	c := f.oneName(&cobra.Command{
		Use:     "who-can-decrypt NAME",
		Short:   "List who may open a value, and why",
		Long:    whoLong,
		Example: whoExample,
	}, func(ctx context.Context, name string) error {
		if err := output.Validate(); err != nil {
			return err
		}
		v, err := f.readValue(ctx, name)
		if err != nil {
			return err
		}
		a, err := f.whoCanIn(ctx, rbacDir, v)
		if err != nil {
			return err
		}
		return output.Print(f.Out, a, a.table)
	})
	addRBACDir(c, &rbacDir)
	output.AddFlag(c.Flags(), "table", "json", "yaml")
	return c
}

func addRBACDir(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "rbac-dir", "",
		"Path of a `directory` with RBAC manifests to use instead of the cluster's, as in a standalone server.")
	_ = c.MarkFlagDirname("rbac-dir") // defined above
}

// readValue reads the list of decrypters.
func (f *factory) readValue(ctx context.Context, name string) (value, error) {
	client, namespace, err := f.secureValues()
	if err != nil {
		return value{}, err
	}
	sv, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return value{}, apiError(fmt.Sprintf("reading the decrypters of %s/%s", namespace, name), err)
	}
	return value{namespace, name, sv.Spec.Decrypters, sv.DeletionTimestamp != nil}, nil
}

// whoCanIn evaluates the RBAC manifests of a directory, or those of the cluster: of the value's namespace, and of the
// namespaces of the ServiceAccounts that may open it. If one of the latter cannot be read, the answer says that it is
// incomplete.
func (f *factory) whoCanIn(ctx context.Context, dir string, v value) (*answer, error) {
	if dir != "" {
		snapshot, err := rbac.Load(dir)
		if err != nil {
			return nil, err
		}
		a := whoCan(snapshot, v)
		a.Indirect = whoElse(snapshot, v, a.Openers, false)
		return a, nil
	}
	client, err := newClient(f, typedrbacv1.NewForConfig)
	if err != nil {
		return nil, err
	}
	var objects rbac.Objects
	if err := listRBAC(ctx, "clusterroles", client.ClusterRoles().List, &objects.ClusterRoles); err != nil {
		return nil, err
	}
	bindings := client.ClusterRoleBindings().List
	if err := listRBAC(ctx, "clusterrolebindings", bindings, &objects.ClusterRoleBindings); err != nil {
		return nil, err
	}
	readNamespace := func(namespace string) error {
		if err := listRBAC(ctx, "roles", client.Roles(namespace).List, &objects.Roles); err != nil {
			return err
		}
		return listRBAC(ctx, "rolebindings", client.RoleBindings(namespace).List, &objects.RoleBindings)
	}
	if err := readNamespace(v.namespace); err != nil {
		return nil, err
	}
	a := whoCan(rbac.FromCluster(objects), v)
	done := []string{v.namespace}
	for _, account := range accounts(a.Openers) {
		if slices.Contains(done, account.Namespace) {
			continue
		}
		done = append(done, account.Namespace)
		if account.Namespace == metav1.NamespaceAll {
			a.NotLookedAt = append(a.NotLookedAt,
				"permissions in single namespaces; every ServiceAccount of the cluster is a reader")
		} else if err := readNamespace(account.Namespace); err != nil {
			a.NotLookedAt = append(a.NotLookedAt,
				fmt.Sprintf("permissions in namespace %s: %v", account.Namespace, err))
		}
	}
	a.Indirect = whoElse(rbac.FromCluster(objects), v, a.Openers, true)
	return a, nil
}

// listRBAC adds all objects of one resource. A failed list is an error: without it the answer could be wrong.
func listRBAC[L list, T any](
	ctx context.Context, resource string, page func(context.Context, metav1.ListOptions) (L, error), found *[]*T,
) error {
	_, err := each(ctx, page, metav1.ListOptions{}, func(object *T, _ int64) { *found = append(*found, object) })
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("listing %s: %w; who-can-decrypt requires permission to list "+
			"roles, rolebindings, clusterroles and clusterrolebindings: ask somebody who has it, "+
			`or check one caller with "kubectl securevalue can-decrypt NAME --as USER"`, resource, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("listing %s: %w; this server has no RBAC objects: "+
			"pass the directory of the standalone server's --rbac-dir with --rbac-dir", resource, err)
	case err != nil:
		return fmt.Errorf("listing %s: %w", resource, err)
	}
	return nil
}

func (a *answer) table() string {
	var text strings.Builder
	if len(a.Openers) == 0 {
		fmt.Fprintf(&text, "Nobody may open %s/%s: %s.\n", a.Namespace, a.Name, a.whyNobody())
	} else {
		rows := [][]string{{"SUBJECT", "DECRYPTER", "MAY DECRYPT BY", "MAY USE BY"}}
		for i := range a.Openers {
			rows = append(rows, a.Openers[i].rows()...)
		}
		text.WriteString(cli.Table(rows))
	}
	for _, r := range a.Refused {
		for _, w := range r.Ways {
			fmt.Fprintf(&text, "\nRefused: %s, in spite of %s: %s.", r.Subject, w, r.Reason)
		}
	}
	if len(a.Refused) > 0 {
		text.WriteString("\n")
	}
	a.printIndirect(&text)
	return strings.TrimRight(text.String(), "\n") + "\n"
}

// whyNobody returns what is missing.
func (a *answer) whyNobody() string {
	switch {
	case a.Deleted:
		return whyDeleted
	case len(a.Decrypters) == 0:
		return "its list of decrypters is empty"
	case a.rights == 0:
		return `no binding grants the verb "decrypt" on it`
	default:
		const text = `no subject has both "decrypt" on it and "use" on one of its decrypters (%s), granted by name`
		return fmt.Sprintf(text, strings.Join(a.Decrypters, ", "))
	}
}

// rows returns one row for each way, those of the two verbs next to each other.
func (o *opener) rows() (rows [][]string) {
	who, decrypter := o.Subject.String(), o.Decrypter
	if o.Also != nil {
		who += ", if in " + o.Also.String()
	}
	at := func(ways []way, i int) string {
		if i < len(ways) {
			return ways[i].String()
		}
		return ""
	}
	for i := range max(len(o.Decrypt), len(o.Use)) {
		rows = append(rows, []string{who, decrypter, at(o.Decrypt, i), at(o.Use, i)})
		who, decrypter = "", ""
	}
	return rows
}
