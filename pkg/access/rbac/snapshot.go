// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Snapshot is an immutable, validated and indexed set of RBAC objects, including the built-in ones.
type Snapshot struct {
	cluster    scope
	namespaces map[string]*scope
	objects    int // without the built-in ones
}

// scope holds the grants of one namespace, or those of the whole cluster, by subject.
type scope struct {
	users  map[string][]entry
	groups map[string][]entry
	grants []*grant // of all bindings, in their order
}

// grant is what one binding gives to its subjects.
type grant struct {
	// order is the binding's place in the set, so that rules are listed in a stable order.
	order   int
	rules   []rbacv1.PolicyRule
	binding *item
}

// entry is one subject of a grant, with the reason for an allow: a decision does not build strings.
type entry struct {
	*grant
	reason string
}

// build validates items, adds the built-in ones, resolves aggregation and indexes the result. It returns all faults,
// after those found while decoding.
func build(items []*item, errs []error) (*Snapshot, error) {
	all, faults := withBuiltin(items)
	errs = append(errs, faults...)
	for _, i := range items {
		if err := i.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, checkRefs(items, all)...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	aggregate(sorted(all, func(i *item) bool { return i.key.kind == kindClusterRole }))
	return index(all, len(items)), nil
}

// withBuiltin collects all objects by name and reports those that are defined twice.
func withBuiltin(items []*item) (map[key]*item, []error) {
	all := make(map[key]*item, len(items)+8)
	builtin := make(map[key]bool, 8)
	for _, i := range Builtin().items() {
		all[i.key] = i
		builtin[i.key] = true
	}
	var errs []error
	for _, i := range items {
		switch first := all[i.key]; {
		case builtin[i.key]:
			errs = append(errs, i.errorf("is built in and cannot be redefined; remove it or give it another name"))
		case first != nil:
			errs = append(errs, i.errorf("is defined a second time (first in %s); remove one of the two", first.at))
		default:
			all[i.key] = i
		}
	}
	return all, errs
}

// checkRefs reports bindings to roles that do not exist. An invalid roleRef is reported by validate.
func checkRefs(items []*item, all map[key]*item) []error {
	var errs []error
	for _, i := range items {
		if i.binding == nil || i.broken || i.binding.ref.Name == "" {
			continue
		}
		target := i.target()
		if target.kind != kindRole && target.kind != kindClusterRole || target.kind == kindRole && !i.namespaced() {
			continue
		}
		if all[target] == nil {
			errs = append(errs, i.errorf("roleRef names %s, which does not exist; add it or correct roleRef", target))
		}
	}
	return errs
}

// target returns the role that a binding refers to.
func (i *item) target() key {
	k := key{kind: i.binding.ref.Kind, name: i.binding.ref.Name}
	if k.kind == kindRole {
		k.namespace = i.key.namespace
	}
	return k
}

func sorted(all map[key]*item, keep func(*item) bool) []*item {
	var out []*item
	for _, i := range all {
		if keep(i) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *item) int {
		return cmp.Or(
			cmp.Compare(a.key.kind, b.key.kind),
			cmp.Compare(a.key.namespace, b.key.namespace),
			cmp.Compare(a.key.name, b.key.name),
		)
	})
	return out
}

func index(all map[key]*item, objects int) *Snapshot {
	s := &Snapshot{cluster: newScope(), namespaces: make(map[string]*scope), objects: objects}
	for order, i := range sorted(all, func(i *item) bool { return i.binding != nil }) {
		target := &s.cluster
		if i.namespaced() {
			target = s.namespaces[i.key.namespace]
			if target == nil {
				added := newScope()
				target = &added
				s.namespaces[i.key.namespace] = target
			}
		}
		target.add(i, &grant{order: order, rules: all[i.target()].role.rules, binding: i})
	}
	return s
}

func newScope() scope {
	return scope{users: make(map[string][]entry), groups: make(map[string][]entry)}
}

// add indexes a grant by the subjects of its binding.
func (s *scope) add(binding *item, g *grant) {
	s.grants = append(s.grants, g)
	for _, subject := range binding.binding.subjects {
		e := entry{grant: g, reason: reason(binding, &subject)}
		switch subject.Kind {
		case rbacv1.GroupKind:
			s.groups[subject.Name] = append(s.groups[subject.Name], e)
		case rbacv1.UserKind:
			s.users[subject.Name] = append(s.users[subject.Name], e)
		case rbacv1.ServiceAccountKind:
			name := serviceaccount.MakeUsername(cmp.Or(subject.Namespace, binding.key.namespace), subject.Name)
			s.users[name] = append(s.users[name], e)
		}
	}
}

// reason is the text of an allow, in upstream's words, which audit tools know.
func reason(binding *item, subject *rbacv1.Subject) string {
	name, holder := binding.key.name, subject.Name
	if binding.namespaced() {
		name += "/" + binding.key.namespace
	}
	if subject.Kind == rbacv1.ServiceAccountKind {
		holder += "/" + cmp.Or(subject.Namespace, binding.key.namespace)
	}
	return fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q",
		binding.key.kind, name, binding.binding.ref.Kind, binding.binding.ref.Name, subject.Kind, holder)
}
