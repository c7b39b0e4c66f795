// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var (
	_ authorizer.Authorizer   = &Standalone{}
	_ authorizer.RuleResolver = &Standalone{}
)

// Standalone is the authorizer of the standalone API port: members of system:masters may do everything, everybody
// else what RBAC allows. The decrypt port must use Authorizer instead.
type Standalone struct{ rbac *Authorizer }

// NewStandalone returns the authorizer of the standalone API port over a store.
func NewStandalone(store *Store) *Standalone { return &Standalone{New(store)} }

// privileged replaces upstream's authorizerfactory, which would link CEL into the kubectl plugin.
func privileged(who user.Info) bool {
	return who != nil && slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup)
}

// Authorize allows privileged users everything and asks RBAC about everybody else.
func (s *Standalone) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if privileged(a.GetUser()) {
		return authorizer.DecisionAllow, "", nil
	}
	return s.rbac.Authorize(ctx, a)
}

// ConditionsAwareAuthorize returns the decision of Authorize: neither part knows conditions.
func (s *Standalone) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(s.Authorize(ctx, a))
}

// EvaluateConditions fails closed: neither part returns a condition.
func (*Standalone) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor lists "everything" for a privileged user, so that `kubectl auth can-i --list` tells the truth, and the RBAC
// rules for everybody else.
func (s *Standalone) RulesFor(ctx context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if privileged(who) {
		every := []string{"*"}
		return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: every, APIGroups: every, Resources: every}},
			[]authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: every, NonResourceURLs: every}}, false, nil
	}
	return s.rbac.RulesFor(ctx, who, namespace)
}
