// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"context"
	"errors"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// errNoUser is returned for a request nobody authenticated; a wiring fault, so it must not pass for a plain denial.
var errNoUser = errors.New("no user on the request; authentication did not run before authorization")

var (
	_ authorizer.Authorizer   = &Authorizer{}
	_ authorizer.RuleResolver = &Authorizer{}
)

// Authorizer decides by RBAC alone, on the snapshot the store holds at that moment. No group is privileged.
type Authorizer struct {
	store *Store
}

// New returns an Authorizer over a store.
func New(store *Store) *Authorizer {
	return &Authorizer{store: store}
}

// Authorize allows a request that a rule covers and has no opinion on any other.
func (r *Authorizer) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	who := a.GetUser()
	if who == nil {
		return authorizer.DecisionNoOpinion, "", errNoUser
	}
	snapshot, asked := r.store.Snapshot(), requestOf(a)
	if reason, ok := snapshot.cluster.allows(who, &asked); ok {
		return authorizer.DecisionAllow, reason, nil
	}
	if local := snapshot.namespaces[a.GetNamespace()]; local != nil {
		if reason, ok := local.allows(who, &asked); ok {
			return authorizer.DecisionAllow, reason, nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// ConditionsAwareAuthorize returns the decision of Authorize: RBAC knows no conditions.
func (r *Authorizer) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(r.Authorize(ctx, a))
}

// EvaluateConditions fails closed: RBAC never returns a condition.
func (*Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor lists the rules a user has in a namespace, those of the whole cluster first.
func (r *Authorizer) RulesFor(_ context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if who == nil {
		return nil, nil, false, errNoUser
	}
	snapshot := r.store.Snapshot()
	grants := snapshot.cluster.grantsOf(who)
	if local := snapshot.namespaces[namespace]; local != nil {
		grants = append(grants, local.grantsOf(who)...)
	}
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	for _, g := range grants {
		for n := range g.rules {
			resources, urls = appendRule(resources, urls, &g.rules[n])
		}
	}
	return resources, urls, false, nil
}

func appendRule(resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, rule *rbacv1.PolicyRule) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo) {
	if len(rule.Resources) > 0 {
		resources = append(resources, &authorizer.DefaultResourceRuleInfo{
			Verbs:         rule.Verbs,
			APIGroups:     rule.APIGroups,
			Resources:     rule.Resources,
			ResourceNames: rule.ResourceNames,
		})
	}
	if len(rule.NonResourceURLs) > 0 {
		urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{
			Verbs:           rule.Verbs,
			NonResourceURLs: rule.NonResourceURLs,
		})
	}
	return resources, urls
}

// allows looks at the grants of the user's name, then at those of each group.
func (s *scope) allows(who user.Info, r *request) (string, bool) {
	if reason, ok := anyAllows(s.users[who.GetName()], r); ok {
		return reason, true
	}
	for _, group := range who.GetGroups() {
		if reason, ok := anyAllows(s.groups[group], r); ok {
			return reason, true
		}
	}
	return "", false
}

func anyAllows(entries []entry, r *request) (string, bool) {
	for i := range entries {
		rules := entries[i].rules
		for n := range rules {
			if r.coveredBy(&rules[n]) {
				return entries[i].reason, true
			}
		}
	}
	return "", false
}

// grantsOf returns the user's grants, each once, in the order of the bindings.
func (s *scope) grantsOf(who user.Info) []*grant {
	var out []*grant
	for _, e := range s.users[who.GetName()] {
		out = append(out, e.grant)
	}
	for _, group := range who.GetGroups() {
		for _, e := range s.groups[group] {
			out = append(out, e.grant)
		}
	}
	slices.SortFunc(out, func(a, b *grant) int { return cmp.Compare(a.order, b.order) })
	return slices.Compact(out)
}

// serviceAccountUser is the user name a ServiceAccount authenticates with.
func serviceAccountUser(subject *rbacv1.Subject, bindingNamespace string) string {
	return serviceaccount.MakeUsername(cmp.Or(subject.Namespace, bindingNamespace), subject.Name)
}
