// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

const whoLong = `List who may open a value: the services on its list of decrypters, times RBAC. A caller needs the verb "decrypt" on the value and
the verb "use" on one of its decrypters, both in the namespace of the value.

Each line names a subject, the decrypter that it may use, and the binding and role behind either right. "*" marks a role that
gives the right by a wildcard. "if in" means that only who is also in that group has both rights. "Refused" are subjects that RBAC
allows and the decrypt port does not: permission to use every decrypter is a wildcard, which reads no value. "Indirect" are subjects that
can make themselves readers: by "extend" on the value, by credentials of a ServiceAccount that is a reader (its tokens, a Pod that runs as
it, its Secrets), or by verbs that give rights. The rights are those of RBAC rules.

The RBAC objects are read with your rights. Authorization other than RBAC that a cluster may have is not looked at. For a standalone
server give the folder of its flag --rbac-dir.`

const whoExample = `  kubectl securevalue who-can-decrypt api-key

  # Of a standalone server.
  kubectl securevalue who-can-decrypt api-key --rbac-dir ./rbac

  # For a program.
  kubectl securevalue who-can-decrypt api-key -o json`

// whoOptions are the flags of who-can-decrypt.
type whoOptions struct {
	factory *cluster.Factory
	rbacDir string
	output  string
}

// NewWhoCanDecrypt returns the command who-can-decrypt.
func NewWhoCanDecrypt(factory *cluster.Factory) *cobra.Command {
	o := &whoOptions{factory: factory}
	command := &cobra.Command{
		Use:               "who-can-decrypt NAME",
		Short:             "List who may open a value, and why",
		Long:              whoLong,
		Example:           whoExample,
		Args:              hint.Name,
		ValidArgsFunction: factory.CompleteNames,
		RunE:              func(command *cobra.Command, args []string) error { return o.run(command.Context(), args[0]) },
	}
	addRBACDir(command, &o.rbacDir)
	command.Flags().StringVarP(&o.output, "output", "o", outputTable, "Form of the answer: table, json or yaml.")
	return command
}

func addRBACDir(command *cobra.Command, dir *string) {
	command.Flags().StringVar(dir, "rbac-dir", "", "Take RBAC from the manifests in this `folder`, as the standalone server does with its flag of this name.")
	_ = command.MarkFlagDirname("rbac-dir") // the flag is defined above
}

func (o *whoOptions) run(ctx context.Context, name string) error {
	write, err := printer(o.output)
	if err != nil {
		return err
	}
	v, err := read(ctx, o.factory, name)
	if err != nil {
		return err
	}
	if o.rbacDir == "" {
		return o.ofCluster(ctx, v, write)
	}
	snapshot, err := rbac.Load(o.rbacDir)
	if err != nil {
		return err
	}
	a := whoCan(snapshot, v)
	a.Indirect = whoElse(snapshot, v, a.Openers, false)
	return write(o.factory.Out, a)
}

// ofCluster answers from the RBAC of the value's namespace, then from that of the namespaces of the accounts it found.
// One of the latter that cannot be read leaves the answer incomplete, and the answer says so.
func (o *whoOptions) ofCluster(ctx context.Context, v value, write func(io.Writer, answer) error) error {
	clients, err := o.factory.Kubernetes()
	if err != nil {
		return err
	}
	objects := objectReader{client: clients.RbacV1()}
	if err := objects.readCluster(ctx, v.namespace); err != nil {
		return err
	}
	a := whoCan(rbac.FromCluster(objects.found), v)
	looked := []string{v.namespace}
	for _, account := range accounts(a.Openers) {
		if slices.Contains(looked, account.Namespace) {
			continue
		}
		looked = append(looked, account.Namespace)
		if account.Namespace == metav1.NamespaceAll {
			a.NotLookedAt = append(a.NotLookedAt, "rights in single namespaces; every ServiceAccount of the cluster is a reader")
		} else if err := objects.readNamespace(ctx, account.Namespace); err != nil {
			a.NotLookedAt = append(a.NotLookedAt, fmt.Sprintf("rights in namespace %s: %v", account.Namespace, err))
		}
	}
	a.Indirect = whoElse(rbac.FromCluster(objects.found), v, a.Openers, true)
	return write(o.factory.Out, a)
}

// read gets the list of decrypters of a value.
func read(ctx context.Context, factory *cluster.Factory, name string) (value, error) {
	client, namespace, err := factory.SecureValues()
	if err != nil {
		return value{}, err
	}
	sv, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return value{}, hint.API(fmt.Sprintf("reading the decrypters of %s/%s", namespace, name), err)
	}
	return value{namespace: namespace, name: name, decrypters: sv.Spec.Decrypters, deleted: sv.DeletionTimestamp != nil}, nil
}
