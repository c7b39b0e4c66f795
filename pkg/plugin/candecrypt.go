// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// Exit codes of can-decrypt.
const (
	exitNo      = 1
	exitUnknown = 2
)

const canLong = `Check whether a caller may open a value, and why. --as and --as-group name the caller; without them it
is you. The user name of a ServiceAccount is system:serviceaccount:NAMESPACE:NAME; the groups that Kubernetes gives it
are added.

The cluster answers by SubjectAccessReviews, which requires permission to create them unless the check is about
yourself. With --rbac-dir the answer comes from manifests, as in a standalone server. The value itself is read with your
permissions, not with those of the caller. As on the decrypt port, the group system:masters does not count, and a caller
that may use every decrypter is refused: a wildcard is not a permission to open a value. "kubectl auth can-i" of a
cluster knows neither rule.

The exit code is 0 for yes, 1 for no, 2 if unknown.`

const canExample = `  kubectl securevalue can-decrypt api-key --as system:serviceaccount:load-tests:k6

  # A user with a group, with a standalone server.
  kubectl securevalue can-decrypt api-key --as k6 --as-group services --rbac-dir ./rbac

  # In a script.
  if kubectl securevalue can-decrypt api-key --as mallory >/dev/null; then echo "access must be removed"; fi`

func newCanDecrypt(f *factory) *cobra.Command {
	var rbacDir string
	c := f.oneName(&cobra.Command{
		Use:     "can-decrypt NAME [--as USER] [--as-group GROUP...]",
		Short:   "Check whether a caller may open a value, and why",
		Long:    canLong,
		Example: canExample,
	}, func(ctx context.Context, name string) error {
		found, err := f.canDecrypt(ctx, name, rbacDir)
		if err == nil {
			_, err = fmt.Fprintln(f.Out, found)
		}
		if err != nil {
			return withExitCode(err, exitUnknown)
		}
		if !found.yes {
			return withExitCode(errPrinted, exitNo)
		}
		return nil
	})
	args := c.Args
	c.Args = func(c *cobra.Command, given []string) error { return withExitCode(args(c, given), exitUnknown) }
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return withExitCode(flagError(c, err), exitUnknown) })
	addRBACDir(c, &rbacDir)
	return c
}

func (f *factory) canDecrypt(ctx context.Context, name, rbacDir string) (finding, error) {
	as, groups := f.stopImpersonating()
	if as == "" && len(groups) > 0 {
		return finding{}, errors.New("--as-group requires --as")
	}
	v, err := f.readValue(ctx, name)
	if err != nil {
		return finding{}, err
	}
	client, err := newClient(f, typedauthorizationv1.NewForConfig)
	if err != nil {
		return finding{}, err
	}
	var who user.Info = withGroups(as, groups)
	ask := subjectReviews(client)
	if as == "" {
		if who, err = f.whoami(ctx); err != nil {
			return finding{}, err
		}
		ask = selfReviews(client)
	}
	if stripped := rights.Caller(who); len(stripped.Groups) < len(who.GetGroups()) {
		who, ask = stripped, subjectReviews(client) // a self review would count system:masters
	}
	if rbacDir != "" {
		snapshot, err := rbac.Load(rbacDir)
		if err != nil {
			return finding{}, err
		}
		ask = rbac.New(snapshot).Authorize
	}
	return decide(ctx, ask, who, v)
}

// withGroups adds the groups that Kubernetes gives to authenticated users.
func withGroups(name string, groups []string) *user.DefaultInfo {
	all := slices.Clone(groups)
	if namespace, _, err := serviceaccount.SplitUsername(name); err == nil {
		all = append(all, serviceaccount.MakeGroupNames(namespace)...)
	}
	return &user.DefaultInfo{Name: name, Groups: append(all, user.AllAuthenticated)}
}

// authorize decides as an authorizer.Authorizer does.
type authorize func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error)

// finding is a yes or a no with its reasons.
type finding struct {
	yes     bool
	reasons []string
}

func no(reasons ...string) (finding, error) { return finding{reasons: reasons}, nil }

// String is the answer, followed by a line for each reason.
func (f finding) String() string {
	text := "no"
	if f.yes {
		text = "yes"
	}
	return strings.Join(append([]string{text}, f.reasons...), "\n  ")
}

// decide asks what package decrypt asks.
func decide(ctx context.Context, ask authorize, who user.Info, v value) (finding, error) {
	if reason, ok := barred[newSubject(rbacv1.Subject{Kind: rbacv1.UserKind, Name: who.GetName()})]; ok {
		return no(reason)
	}
	if v.deleted {
		return no(whyDeleted)
	}
	ok, reason, err := allowed(ctx, ask, rights.Decrypt(who, v.namespace, v.name))
	switch {
	case err != nil:
		return finding{}, err
	case !ok:
		return no(fmt.Sprintf("%q does not have the verb \"decrypt\" on securevalues %q in namespace %q",
			who.GetName(), v.name, v.namespace))
	case len(v.decrypters) == 0:
		return no("the value has no decrypters: nobody may open it")
	}
	yes := finding{yes: true, reasons: []string{"decrypt: " + reason}}
	for _, decrypter := range v.decrypters {
		ok, reason, err := allowed(ctx, ask, rights.Use(who, v.namespace, decrypter))
		if err != nil {
			return finding{}, err
		}
		if ok {
			yes.reasons = append(yes.reasons, fmt.Sprintf("use %s: %s", decrypter, reason))
		}
	}
	if len(yes.reasons) == 1 {
		return no(fmt.Sprintf("%q does not have the verb \"use\" on any decrypter of the value (%s) in namespace %q",
			who.GetName(), strings.Join(v.decrypters, ", "), v.namespace))
	}
	ok, reason, err = allowed(ctx, ask, rights.Use(who, v.namespace, rights.RandomDecrypter()))
	switch {
	case err != nil:
		return finding{}, err
	case ok:
		return no("wildcard: "+reason, rights.WhyWildcard)
	}
	return yes, nil
}

func allowed(ctx context.Context, ask authorize, question authorizer.AttributesRecord) (bool, string, error) {
	decision, reason, err := ask(ctx, question)
	if err != nil && decision != authorizer.DecisionAllow {
		return false, "", fmt.Errorf("checking whether %q may %s %s %q: %w",
			question.User.GetName(), question.Verb, question.Resource, question.Name, err)
	}
	if reason == "" {
		reason = "allowed"
	}
	return decision == authorizer.DecisionAllow, reason, nil
}

// subjectReviews asks the cluster about any user.
func subjectReviews(client typedauthorizationv1.AuthorizationV1Interface) authorize {
	return func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		spec := authorizationv1.SubjectAccessReviewSpec{
			ResourceAttributes: attributes(a), Extra: map[string]authorizationv1.ExtraValue{},
			User: a.GetUser().GetName(), UID: a.GetUser().GetUID(), Groups: a.GetUser().GetGroups(),
		}
		for key, values := range a.GetUser().GetExtra() {
			spec.Extra[key] = values
		}
		review := &authorizationv1.SubjectAccessReview{Spec: spec}
		review, err := client.SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		switch {
		case apierrors.IsForbidden(err):
			err = fmt.Errorf("%w; checking another user requires permission to create subjectaccessreviews."+
				authorizationv1.GroupName, err)
		case apierrors.IsNotFound(err):
			err = fmt.Errorf("%w; a standalone server has no SubjectAccessReviews: "+
				"pass the directory of its --rbac-dir with --rbac-dir", err)
		}
		return decision(review.Status, err)
	}
}

// selfReviews asks the cluster about its own user, which everybody may.
func selfReviews(client typedauthorizationv1.AuthorizationV1Interface) authorize {
	return func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		review, err := client.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes(a)},
		}, metav1.CreateOptions{})
		return decision(review.Status, err)
	}
}

func attributes(a authorizer.Attributes) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{
		Namespace: a.GetNamespace(), Verb: a.GetVerb(), Group: a.GetAPIGroup(), Version: a.GetAPIVersion(),
		Resource: a.GetResource(), Name: a.GetName(),
	}
}

// decision returns an error for a failed evaluation, unless another authorizer of the cluster allowed the request.
func decision(status authorizationv1.SubjectAccessReviewStatus, err error) (authorizer.Decision, string, error) {
	switch {
	case err != nil:
		return authorizer.DecisionNoOpinion, "", err
	case status.Allowed:
		return authorizer.DecisionAllow, status.Reason, nil
	case status.Denied:
		return authorizer.DecisionDeny, status.Reason, nil
	case status.EvaluationError != "":
		return authorizer.DecisionNoOpinion, "", errors.New(status.EvaluationError)
	}
	return authorizer.DecisionNoOpinion, status.Reason, nil
}
