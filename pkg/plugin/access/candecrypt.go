// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

// Exit codes of can-decrypt.
const (
	exitNo      = 1
	exitUnknown = 2
)

const canLong = `Say whether a caller may open a value, and why. --as and --as-group name the caller; without them it is you. A ServiceAccount is
named system:serviceaccount:NAMESPACE:NAME; the groups that Kubernetes gives it are added.

The question goes to the cluster as SubjectAccessReviews, which takes the right to create them, unless it is about yourself. With
--rbac-dir it is answered from manifests, as a standalone server does. The value itself is read with your rights, not with those of the
caller. As on the decrypt port, the group system:masters does not count, and a caller that may use every decrypter is refused: a
wildcard is not a permission to read. "kubectl auth can-i" of a cluster knows neither rule.

The exit code is 0 for yes, 1 for no, 2 when there is no answer.`

const canExample = `  kubectl securevalue can-decrypt api-key --as system:serviceaccount:load-tests:k6

  # A user with a group, at a standalone server.
  kubectl securevalue can-decrypt api-key --as k6 --as-group services --rbac-dir ./rbac

  # In a script.
  if kubectl securevalue can-decrypt api-key --as mallory >/dev/null; then echo "that must not be"; fi`

// canOptions are the flags of can-decrypt.
type canOptions struct {
	factory *cluster.Factory
	rbacDir string
}

// NewCanDecrypt returns the command can-decrypt.
func NewCanDecrypt(factory *cluster.Factory) *cobra.Command {
	o := &canOptions{factory: factory}
	command := &cobra.Command{
		Use:     "can-decrypt NAME [--as USER] [--as-group GROUP...]",
		Short:   "Say whether somebody may open a value, and why",
		Long:    canLong,
		Example: canExample,
		Args: func(command *cobra.Command, args []string) error {
			return hint.WithExitCode(hint.Name(command, args), exitUnknown)
		},
		ValidArgsFunction: factory.CompleteNames,
		RunE:              func(command *cobra.Command, args []string) error { return o.run(command.Context(), args[0]) },
	}
	command.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return hint.WithExitCode(hint.Flags(command, err), exitUnknown)
	})
	addRBACDir(command, &o.rbacDir)
	return command
}

func (o *canOptions) run(ctx context.Context, name string) error {
	as, groups := o.factory.Impersonated()
	o.factory.StopImpersonating()
	found, err := o.ask(ctx, name, as, groups)
	if err != nil {
		return hint.WithExitCode(err, exitUnknown)
	}
	if _, err := fmt.Fprintln(o.factory.Out, found); err != nil {
		return hint.WithExitCode(err, exitUnknown)
	}
	if !found.yes {
		return hint.WithExitCode(hint.ErrSilent, exitNo)
	}
	return nil
}

func (o *canOptions) ask(ctx context.Context, name, as string, groups []string) (finding, error) {
	if as == "" && len(groups) > 0 {
		return finding{}, errors.New("--as-group takes --as: name the user")
	}
	v, err := read(ctx, o.factory, name)
	if err != nil {
		return finding{}, err
	}
	who, a, err := o.authorizer(ctx, as, groups)
	if err != nil {
		return finding{}, err
	}
	return decide(ctx, a, who, v)
}

// authorizer returns the caller without system:masters, and who decides.
func (o *canOptions) authorizer(ctx context.Context, as string, groups []string) (user.Info, authorizer.UnconditionalAuthorizer, error) {
	var snapshot *rbac.Snapshot
	if o.rbacDir != "" {
		var err error
		if snapshot, err = rbac.Load(o.rbacDir); err != nil {
			return nil, nil, err
		}
	}
	clients, err := o.factory.Kubernetes()
	if err != nil {
		return nil, nil, err
	}
	var who user.Info = withGroups(as, groups)
	var reviews authorizer.UnconditionalAuthorizer = reviewer{clients.AuthorizationV1()}
	if as == "" {
		if who, err = cluster.Whoami(ctx, clients.AuthenticationV1()); err != nil {
			return nil, nil, err
		}
		reviews = selfReviewer{clients.AuthorizationV1()}
	}
	if stripped := rights.Caller(who); len(stripped.Groups) < len(who.GetGroups()) {
		who, reviews = stripped, reviewer{clients.AuthorizationV1()} // about myself the cluster would count the group
	}
	if snapshot != nil {
		return who, rbac.New(rbac.NewStore(snapshot)), nil
	}
	return who, reviews, nil
}

// withGroups adds the groups that Kubernetes gives to whom it lets in.
func withGroups(name string, groups []string) *user.DefaultInfo {
	all := slices.Clone(groups)
	if namespace, _, err := serviceaccount.SplitUsername(name); err == nil {
		all = append(all, serviceaccount.MakeGroupNames(namespace)...)
	}
	return &user.DefaultInfo{Name: name, Groups: append(all, user.AllAuthenticated)}
}

// finding is a yes or a no, with its reasons.
type finding struct {
	yes     bool
	reasons []string
}

// String is the answer, a reason a line behind it.
func (f finding) String() string {
	text := "no"
	if f.yes {
		text = "yes"
	}
	return strings.Join(append([]string{text}, f.reasons...), "\n  ")
}

// decide asks what package decrypt asks.
func decide(ctx context.Context, a authorizer.UnconditionalAuthorizer, who user.Info, v value) (finding, error) {
	if reason, ok := barred[newUser(who)]; ok {
		return finding{reasons: []string{reason}}, nil
	}
	if v.deleted {
		return finding{reasons: []string{whyDeleted}}, nil
	}
	ok, reason, err := allowed(ctx, a, v.decrypt(who))
	switch {
	case err != nil:
		return finding{}, err
	case !ok:
		return finding{reasons: []string{fmt.Sprintf("%q has no right to the verb \"decrypt\" on securevalues %q in namespace %q", who.GetName(), v.name, v.namespace)}}, nil
	case len(v.decrypters) == 0:
		return finding{reasons: []string{"the value has no decrypters: nobody may open it"}}, nil
	}
	yes := finding{yes: true, reasons: []string{"decrypt: " + reason}}
	for _, decrypter := range v.decrypters {
		ok, reason, err := allowed(ctx, a, v.use(who, decrypter))
		if err != nil {
			return finding{}, err
		}
		if ok {
			yes.reasons = append(yes.reasons, fmt.Sprintf("use %s: %s", decrypter, reason))
		}
	}
	if len(yes.reasons) == 1 {
		return finding{reasons: []string{fmt.Sprintf("%q has no right to the verb \"use\" on any decrypter of the value (%s) in namespace %q",
			who.GetName(), strings.Join(v.decrypters, ", "), v.namespace)}}, nil
	}
	ok, reason, err = allowed(ctx, a, v.useAny(who))
	switch {
	case err != nil:
		return finding{}, err
	case ok:
		return finding{reasons: []string{"wildcard: " + reason, rights.WhyWildcard}}, nil
	}
	return yes, nil
}

func allowed(ctx context.Context, a authorizer.UnconditionalAuthorizer, question authorizer.AttributesRecord) (ok bool, reason string, err error) {
	decision, reason, err := a.Authorize(ctx, question)
	if err != nil && decision != authorizer.DecisionAllow {
		return false, "", fmt.Errorf("asking whether %q may %s %s %q: %w", question.User.GetName(), question.Verb, question.Resource, question.Name, err)
	}
	if reason == "" {
		reason = "allowed"
	}
	return decision == authorizer.DecisionAllow, reason, nil
}
