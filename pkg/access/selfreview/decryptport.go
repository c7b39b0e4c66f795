// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

const (
	whyMasters = "the decrypt port takes group system:masters out of a caller's groups"
	whyUnnamed = "name one decrypter: permission to use every decrypter reads no value"
)

// errPartly goes with a list of rules in which a wildcard seems to cover the verbs of the decrypt port.
var errPartly = errors.New(`wildcards do not include verbs "decrypt" and "use": the decrypt port accepts only grants by name`)

// decryptPort answers about the verbs of the decrypt port as that port does: the authorizer of the API would say yes to
// administrators, who are then refused.
type decryptPort struct {
	authorizer authorizer.UnconditionalAuthorizer
}

// concerns reports whether a question is about the decrypt port. No resource of the API has its verbs.
func (decryptPort) concerns(a *authorizer.AttributesRecord) bool {
	return a.ResourceRequest && (a.Verb == rights.VerbDecrypt || a.Verb == rights.VerbUse)
}

// Authorize answers a question that concerns the port.
func (p decryptPort) Authorize(
	ctx context.Context, question authorizer.AttributesRecord,
) (decision authorizer.Decision, reason string, err error) {
	who := question.User
	question.User = rights.Caller(who)
	decision, reason, err = p.authorizer.Authorize(ctx, question)
	if decision != authorizer.DecisionAllow {
		if privileged(who) {
			reason = whyMasters
		}
		return decision, reason, err
	}
	wildcard, err := p.wildcard(ctx, question.User, question.Namespace)
	switch {
	case err != nil:
		return authorizer.DecisionNoOpinion, "", err
	case wildcard:
		return authorizer.DecisionDeny, rights.WhyWildcard, nil
	case question.Verb == rights.VerbUse && question.Name == "":
		return authorizer.DecisionDeny, whyUnnamed, nil
	}
	return decision, reason, nil
}

// wildcard reports whether a caller may use every decrypter.
func (p decryptPort) wildcard(ctx context.Context, caller user.Info, namespace string) (bool, error) {
	decision, _, err := p.authorizer.Authorize(ctx, rights.Use(caller, namespace, rights.RandomDecrypter()))
	return decision == authorizer.DecisionAllow, err
}

// overstated reports whether the rules of a caller seem to give what the decrypt port refuses.
func (p decryptPort) overstated(ctx context.Context, who user.Info, namespace string) (bool, error) {
	if privileged(who) {
		return true, nil
	}
	return p.wildcard(ctx, rights.Caller(who), namespace)
}

func privileged(who user.Info) bool {
	return slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup)
}
