// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// errNoUser is returned for a request without a user. It is a wiring fault and must not look like a plain denial.
var errNoUser = errors.New("no user on the request; authentication did not run before authorization")

var (
	_ authorizer.Authorizer   = &Authorizer{}
	_ authorizer.RuleResolver = &Authorizer{}
	_ authorizer.Authorizer   = &Standalone{}
	_ authorizer.RuleResolver = &Standalone{}
)

// Authorizer decides by RBAC alone, by the snapshot that is in force. No group is privileged.
type Authorizer struct {
	authorizer.AuthorizerFunc
	current atomic.Pointer[Snapshot]
}

// New returns an authorizer with a snapshot in force.
func New(snapshot *Snapshot) *Authorizer {
	a := &Authorizer{}
	a.AuthorizerFunc = a.authorize
	a.current.Store(snapshot)
	return a
}

// authorize allows a request that a rule covers and has no opinion on any other.
func (r *Authorizer) authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	caller := a.GetUser()
	if caller == nil {
		return authorizer.DecisionNoOpinion, "", errNoUser
	}
	snapshot, request := r.current.Load(), requestOf(a)
	if reason, ok := snapshot.cluster.allows(caller, &request); ok {
		return authorizer.DecisionAllow, reason, nil
	}
	if local := snapshot.namespaces[a.GetNamespace()]; local != nil {
		if reason, ok := local.allows(caller, &request); ok {
			return authorizer.DecisionAllow, reason, nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// RulesFor lists the rules of a user in a namespace, those of the whole cluster first.
func (r *Authorizer) RulesFor(
	_ context.Context, caller user.Info, namespace string,
) (resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	if caller == nil {
		return nil, nil, false, errNoUser
	}
	snapshot := r.current.Load()
	grants := snapshot.cluster.grantsOf(caller)
	if local := snapshot.namespaces[namespace]; local != nil {
		grants = append(grants, local.grantsOf(caller)...)
	}
	for _, g := range grants {
		for _, rule := range g.rules {
			if len(rule.Resources) > 0 {
				resources = append(resources, &authorizer.DefaultResourceRuleInfo{
					Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources,
					ResourceNames: rule.ResourceNames,
				})
			}
			if len(rule.NonResourceURLs) > 0 {
				urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs,
					NonResourceURLs: rule.NonResourceURLs})
			}
		}
	}
	return resources, urls, false, nil
}

// allows looks at the grants of the user's name, then at those of each group.
func (s *scope) allows(caller user.Info, r *request) (string, bool) {
	if reason, ok := anyAllows(s.users[caller.GetName()], r); ok {
		return reason, true
	}
	for _, group := range caller.GetGroups() {
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
func (s *scope) grantsOf(caller user.Info) []*grant {
	entries := slices.Clone(s.users[caller.GetName()])
	for _, group := range caller.GetGroups() {
		entries = append(entries, s.groups[group]...)
	}
	var out []*grant
	for _, e := range entries {
		out = append(out, e.grant)
	}
	slices.SortFunc(out, func(a, b *grant) int { return cmp.Compare(a.order, b.order) })
	return slices.Compact(out)
}

// Standalone is the authorizer of the standalone API port: members of system:masters may do everything, other users
// what RBAC allows. The decrypt port must use Authorizer instead.
type Standalone struct {
	authorizer.AuthorizerFunc
	rbac *Authorizer
}

// NewStandalone returns the authorizer of the standalone API port.
func NewStandalone(rbac *Authorizer) *Standalone {
	authorize := func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if privileged(a.GetUser()) {
			return authorizer.DecisionAllow, "", nil
		}
		return rbac.Authorize(ctx, a)
	}
	return &Standalone{AuthorizerFunc: authorize, rbac: rbac}
}

// privileged replaces upstream's authorizerfactory, which would link CEL into the kubectl plugin.
func privileged(caller user.Info) bool {
	return caller != nil && slices.Contains(caller.GetGroups(), user.SystemPrivilegedGroup)
}

// RulesFor lists "everything" for a privileged user, so that `kubectl auth can-i --list` is right, and the RBAC rules
// for other users.
func (s *Standalone) RulesFor(
	ctx context.Context, caller user.Info, namespace string,
) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if !privileged(caller) {
		return s.rbac.RulesFor(ctx, caller, namespace)
	}
	every := []string{"*"}
	return []authorizer.ResourceRuleInfo{
			&authorizer.DefaultResourceRuleInfo{Verbs: every, APIGroups: every, Resources: every},
		}, []authorizer.NonResourceRuleInfo{
			&authorizer.DefaultNonResourceRuleInfo{Verbs: every, NonResourceURLs: every},
		}, false, nil
}
