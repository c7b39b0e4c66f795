// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// opener is a subject that may open a value as one of its decrypters, and why.
type opener struct {
	// Subject has both permissions. If Also is set, only callers that are both subjects have them.
	Subject subject  `json:"subject"`
	Also    *subject `json:"also,omitempty"`
	// Decrypter is the entry of the value's list.
	Decrypter string `json:"decrypter"`
	// Decrypt and Use are the ways to each permission.
	Decrypt []way `json:"decrypt"`
	Use     []way `json:"use"`
}

// way is one binding that grants a permission.
type way struct {
	// Binding and Role are written KIND/NAME.
	Binding string `json:"binding"`
	Role    string `json:"role"`
	// To is the group of the subject that the binding names.
	To string `json:"to,omitempty"`
	// Wildcards names the lists of the rule that match only by "*".
	Wildcards []string `json:"wildcards,omitempty"`
}

// refusal is a subject that RBAC allows and the decrypt port refuses.
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
	// Deleted is set if the object waits for its finalizers: it has no value.
	Deleted bool      `json:"deleted,omitempty"`
	Openers []opener  `json:"openers"`
	Refused []refusal `json:"refused,omitempty"`
	// Indirect are subjects that may not open the value but can make themselves readers.
	Indirect []indirect `json:"indirect,omitempty"`
	// NotLookedAt is where Indirect may be incomplete, and why.
	NotLookedAt []string `json:"notLookedAt,omitempty"`
	// rights is the number of subjects with the verb decrypt.
	rights int
}

// held has the ways of each subject to one permission, in the order of the bindings.
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
	return way{
		Binding: h.BindingKind + "/" + h.BindingName, Role: h.RoleKind + "/" + h.RoleName, Wildcards: h.Wildcards,
	}
}

// bar removes subjects that are never accepted.
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

// whoCan finds all subjects that may open a value.
func whoCan(snapshot *rbac.Snapshot, v value) *answer {
	a := &answer{
		Namespace: v.namespace, Name: v.name, Decrypters: v.decrypters, Deleted: v.deleted, Openers: []opener{},
	}
	if v.deleted {
		return a
	}
	decrypt := newHeld(snapshot.Holders(rights.Decrypt(nil, v.namespace, v.name)))
	a.Refused = decrypt.bar()
	a.rights = len(decrypt.order)
	for _, decrypter := range v.decrypters {
		use := newHeld(snapshot.Holders(rights.Use(nil, v.namespace, decrypter)))
		use.bar()
		a.Openers = append(a.Openers, join(decrypt, use, decrypter)...)
	}
	a.refuse(newHeld(snapshot.Holders(rights.Use(nil, v.namespace, rights.RandomDecrypter()))))
	return a
}

// refuse moves subjects with a wildcard from the openers to the refused.
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

// is reports whether every caller that matches the opener is a subject.
func (o *opener) is(who subject) bool {
	return o.Subject == who || implies(o.Subject, who) || o.Also != nil && (*o.Also == who || implies(*o.Also, who))
}

// join pairs the subjects of both permissions. All pairs of one subject become one opener.
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
			case relate(a, b) == relFirst:
				add(a, subject{}, decrypt.ways[a], through(b, use.ways[b]))
			case relate(a, b) == relSecond:
				add(b, subject{}, through(a, decrypt.ways[a]), use.ways[b])
			case relate(a, b) == relSome && a.Kind == rbacv1.GroupKind:
				add(b, a, decrypt.ways[a], use.ways[b]) // a user in a group reads better than the reverse
			case relate(a, b) == relSome:
				add(a, b, decrypt.ways[a], use.ways[b])
			}
		}
	}
	var certain, conditional []opener
	for _, pair := range order {
		switch o := found[pair]; {
		case o.Also == nil:
			certain = append(certain, *o)
		case found[[2]subject{pair[0]}] == nil && found[[2]subject{pair[1]}] == nil: // neither has both alone
			conditional = append(conditional, *o)
		}
	}
	return append(certain, conditional...)
}

// through sets the group that the bindings name.
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

// String is BINDING of ROLE, with the group and the wildcards.
func (w way) String() string {
	text := w.Binding
	if w.To != "" {
		text += " to " + w.To
	}
	text += " of " + w.Role
	if len(w.Wildcards) > 0 {
		text += " (* in " + strings.Join(w.Wildcards, ", ") + ")"
	}
	return text
}
