// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// opener is who may open a value as one of its decrypters, and why.
type opener struct {
	// Subject has both rights. When Also is set, only who is both subjects has them.
	Subject subject  `json:"subject"`
	Also    *subject `json:"also,omitempty"`
	// Decrypter is the entry of the value's list.
	Decrypter string `json:"decrypter"`
	// Decrypt and Use are the ways to either right.
	Decrypt []way `json:"decrypt"`
	Use     []way `json:"use"`
}

// way is one binding that gives a right.
type way struct {
	// Binding and Role are written KIND/NAME.
	Binding string `json:"binding"`
	Role    string `json:"role"`
	// To is who the binding names, where that is a group of the subject.
	To string `json:"to,omitempty"`
	// Wildcards names the lists of the rule that give the right by "*" only.
	Wildcards []string `json:"wildcards,omitempty"`
}

// refusal is who would be allowed by RBAC and is refused all the same.
type refusal struct {
	Subject subject `json:"subject"`
	Reason  string  `json:"reason"`
	Ways    []way   `json:"ways"`
}

// answer is what who-can-decrypt prints.
type answer struct {
	Namespace  string   `json:"namespace"`
	Name       string   `json:"name"`
	Decrypters []string `json:"decrypters"`
	// Deleted is set when the value is gone and its object waits for its finalizers: nobody may open it.
	Deleted bool      `json:"deleted,omitempty"`
	Openers []opener  `json:"openers"`
	Refused []refusal `json:"refused,omitempty"`
	// Indirect are subjects that may not open the value, and may make themselves readers.
	Indirect []indirect `json:"indirect,omitempty"`
	// NotLookedAt says where Indirect may be incomplete, and why.
	NotLookedAt []string `json:"notLookedAt,omitempty"`
	// rights are how many subjects have the first right at all.
	rights int
}

// held are the ways of each subject to one right, in the order of the bindings.
type held struct {
	ways  map[subject][]way
	order []subject
}

func newHeld(holders []rbac.Holder) held {
	h := held{ways: map[subject][]way{}}
	for i := range holders {
		who := newSubject(holders[i].Subject)
		if _, known := h.ways[who]; !known {
			h.order = append(h.order, who)
		}
		h.ways[who] = append(h.ways[who], newWay(&holders[i]))
	}
	return h
}

func newWay(h *rbac.Holder) way {
	return way{Binding: h.BindingKind + "/" + h.BindingName, Role: h.RoleKind + "/" + h.RoleName, Wildcards: h.Wildcards}
}

// bar takes out who is never let in.
func (h *held) bar() []refusal {
	var refused []refusal
	h.order = slices.DeleteFunc(h.order, func(who subject) bool {
		reason, ok := barred[who]
		if ok {
			refused = append(refused, refusal{who, reason, h.ways[who]})
		}
		return ok
	})
	return refused
}

// whoCan finds everybody who may open a value.
func whoCan(snapshot *rbac.Snapshot, v value) answer {
	a := answer{Namespace: v.namespace, Name: v.name, Decrypters: v.decrypters, Deleted: v.deleted, Openers: []opener{}}
	if v.deleted {
		return a
	}
	decrypt := newHeld(snapshot.Holders(v.decrypt(nil)))
	a.Refused = decrypt.bar()
	a.rights = len(decrypt.order)
	for _, decrypter := range v.decrypters {
		use := newHeld(snapshot.Holders(v.use(nil, decrypter)))
		use.bar()
		a.Openers = append(a.Openers, join(decrypt, use, decrypter)...)
	}
	a.refuse(newHeld(snapshot.Holders(v.useAny(nil))))
	return a
}

// refuse moves callers that hold a wildcard from the openers to the refused.
func (a *answer) refuse(wildcards held) {
	a.Openers = slices.DeleteFunc(a.Openers, func(o opener) bool {
		for _, holder := range wildcards.order {
			if !o.is(holder) {
				continue
			}
			ways := wildcards.ways[holder]
			if o.Subject != holder {
				ways = through(holder, ways)
			}
			known := func(r refusal) bool { return r.Subject == o.Subject }
			if !slices.ContainsFunc(a.Refused, known) { // once for all of its decrypters
				a.Refused = append(a.Refused, refusal{o.Subject, rights.WhyWildcard, ways})
			}
			return true
		}
		return false
	})
}

// is reports whether every caller that the opener stands for is a subject.
func (o *opener) is(who subject) bool {
	return o.Subject == who || implies(o.Subject, who) || o.Also != nil && (*o.Also == who || implies(*o.Also, who))
}

// join pairs who has one right with who has the other. The pairs of one subject become one opener.
func join(decrypt, use held, decrypter string) []opener {
	found := map[[2]subject]*opener{}
	var order [][2]subject
	add := func(who, also subject, decryptWays, useWays []way) {
		pair := [2]subject{who, also}
		o := found[pair]
		if o == nil {
			o = &opener{Subject: who, Decrypter: decrypter}
			if also != (subject{}) {
				o.Also = &also
			}
			found[pair], order = o, append(order, pair)
		}
		o.Decrypt, o.Use = appendNew(o.Decrypt, decryptWays), appendNew(o.Use, useWays)
	}
	for _, a := range decrypt.order {
		for _, b := range use.order {
			switch {
			case a == b:
				add(a, subject{}, decrypt.ways[a], use.ways[b])
			case relate(a, b) == first:
				add(a, subject{}, decrypt.ways[a], through(b, use.ways[b]))
			case relate(a, b) == second:
				add(b, subject{}, through(a, decrypt.ways[a]), use.ways[b])
			case relate(a, b) == both && a.Kind == rbacv1.GroupKind:
				add(b, a, decrypt.ways[a], use.ways[b]) // a user in a group reads better than the reverse
			case relate(a, b) == both:
				add(a, b, decrypt.ways[a], use.ways[b])
			}
		}
	}
	all := make([]opener, 0, len(order))
	for _, pair := range order {
		// Who may by one of the two alone needs no second.
		if o := found[pair]; o.Also == nil || found[[2]subject{pair[0]}] == nil && found[[2]subject{pair[1]}] == nil {
			all = append(all, *o)
		}
	}
	// What is certain stands before what depends on a group.
	slices.SortStableFunc(all, func(a, b opener) int { return cmp.Compare(conditions(a), conditions(b)) })
	return all
}

func conditions(o opener) int {
	if o.Also == nil {
		return 0
	}
	return 1
}

// through names the group that a binding is about.
func through(group subject, ways []way) []way {
	named := slices.Clone(ways)
	for i := range named {
		named[i].To = group.String()
	}
	return named
}

func appendNew(ways, more []way) []way {
	for _, w := range more {
		if !slices.ContainsFunc(ways, func(have way) bool { return have.Binding == w.Binding && have.To == w.To }) {
			ways = append(ways, w)
		}
	}
	return ways
}
