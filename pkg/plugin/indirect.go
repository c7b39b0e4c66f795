// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// indirect is a subject that may not open the value but can make itself or another subject a reader.
type indirect struct {
	Subject subject `json:"subject"`
	// Of is the reader whose credentials the permissions grant, or the value for permissions that make new readers.
	Of string `json:"of"`
	// Rights are permissions, written VERB RESOURCE as in RBAC rules.
	Rights []string `json:"rights"`
	Ways   []way    `json:"ways"`
}

// power is a permission that leads to opening a value. docs/security-model.md has the same list.
type power struct {
	group, resource, subresource string
	verbs                        []string
}

var (
	anyChange = []string{"create", "update", "patch"}
	// ofAccount grant the credentials of a ServiceAccount, in its namespace.
	ofAccount = []power{
		{"", "serviceaccounts", "token", []string{"create"}},
		{"", "serviceaccounts", "", []string{"impersonate"}},
		{"", "pods", "", anyChange}, // a Pod runs as any account of its namespace; a patch replaces its image
		{"", "replicationcontrollers", "", anyChange},
		{"apps", "deployments", "", anyChange}, {"apps", "statefulsets", "", anyChange},
		{"apps", "daemonsets", "", anyChange}, {"apps", "replicasets", "", anyChange},
		{"batch", "jobs", "", anyChange}, {"batch", "cronjobs", "", anyChange},
		{"", "pods", "exec", []string{"create", "get"}}, {"", "pods", "attach", []string{"create", "get"}},
		{"", "pods", "ephemeralcontainers", []string{"update", "patch"}},
		{"", "secrets", "", []string{"get", "list", "watch", "create"}}, // ServiceAccount tokens
	}
	// ofEverything grant the credentials of any account.
	ofEverything = []power{
		{"", "nodes", "proxy", []string{"create", "get"}}, // exec through the kubelet
		{"", "users", "", []string{"impersonate"}}, {"", "groups", "", []string{"impersonate"}},
	}
	// toBind grants the permissions of a role, toEscalate any: in the namespace of an account or of the value.
	toBind = []power{
		{rbacv1.GroupName, "clusterroles", "", []string{"bind"}}, {rbacv1.GroupName, "roles", "", []string{"bind"}},
	}
	toEscalate = []power{
		{rbacv1.GroupName, "clusterroles", "", []string{"escalate"}},
		{rbacv1.GroupName, "roles", "", []string{"escalate"}},
	}
	// ofValue make new readers of a stored value.
	ofValue = []power{{secret.GroupName, secret.Resource, "", []string{"extend"}}}
)

// String is RESOURCE.GROUP/SUBRESOURCE, as kubectl writes it.
func (p *power) String() string {
	text := p.resource
	if p.group != "" {
		text += "." + p.group
	}
	if p.subresource != "" {
		text += "/" + p.subresource
	}
	return text
}

// search collects the holders of powers.
type search struct {
	snapshot *rbac.Snapshot
	readers  []opener
	found    []indirect
}

// whoElse lists subjects that can become readers without being openers. A standalone server has only the powers over
// values: it has no Pods and issues no tokens.
func whoElse(snapshot *rbac.Snapshot, v value, readers []opener, cluster bool) []indirect {
	if v.deleted { // it has no value
		return nil
	}
	s := &search{snapshot: snapshot, readers: readers}
	of := "SecureValue " + v.namespace + "/" + v.name
	s.add(of, v.namespace, v.name, ofValue)
	if !cluster {
		return s.found
	}
	for _, role := range rolesOf(readers) {
		s.add(of, v.namespace, role, toBind)
	}
	s.add(of, v.namespace, rbac.AnyName, toEscalate)
	for _, account := range accounts(readers) {
		of := account.String()
		s.add(of, account.Namespace, account.Name, ofAccount[:2])
		s.add(of, account.Namespace, rbac.AnyName, slices.Concat(ofAccount[2:], ofEverything, toEscalate))
		for _, role := range []string{"edit", "admin", "cluster-admin"} { // built-in roles with these powers
			s.add(of, account.Namespace, role, toBind)
		}
	}
	return s.found
}

// rolesOf returns the names of the roles that the readers use.
func rolesOf(readers []opener) []string {
	var names []string
	for i := range readers {
		for _, w := range slices.Concat(readers[i].Decrypt, readers[i].Use) {
			if _, name, _ := strings.Cut(w.Role, "/"); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// accounts returns the ServiceAccounts among readers. A group of them stands for all accounts of its namespace or of
// all namespaces.
func accounts(readers []opener) []subject {
	var all []subject
	for i := range readers {
		who := readers[i].Subject
		if who.Kind == rbacv1.GroupKind {
			namespace, of := strings.CutPrefix(who.Name, serviceaccount.ServiceAccountGroupPrefix)
			if !of && who.Name != serviceaccount.AllServiceAccountsGroup {
				continue
			}
			if !of {
				namespace = metav1.NamespaceAll
			}
			who = subject{rbacv1.ServiceAccountKind, namespace, rbac.AnyName}
		}
		if who.Kind == rbacv1.ServiceAccountKind && !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return all
}

// add finds the holders of powers and merges those of one subject over one reader.
func (s *search) add(of, namespace, name string, powers []power) {
	for i := range powers {
		p := &powers[i]
		for _, verb := range p.verbs {
			holders := newHeld(s.snapshot.Holders(authorizer.AttributesRecord{
				Verb: verb, Namespace: namespace, Name: nameFor(verb, p, name), ResourceRequest: true,
				APIGroup: p.group, Resource: p.resource, Subresource: p.subresource,
			}))
			for _, who := range holders.order {
				if !s.reads(who) {
					s.hold(who, of, verb+" "+p.String(), holders.ways[who])
				}
			}
		}
	}
}

// nameFor omits the name for requests without one: a rule that names objects does not permit creating one.
func nameFor(verb string, p *power, name string) string {
	if verb == "create" && p.subresource == "" {
		return ""
	}
	return name
}

// reads reports whether a subject is itself a reader.
func (s *search) reads(who subject) bool {
	return slices.ContainsFunc(s.readers, func(o opener) bool {
		return o.Also == nil && (o.Subject == who || implies(who, o.Subject))
	})
}

func (s *search) hold(who subject, of, right string, ways []way) {
	at := slices.IndexFunc(s.found, func(have indirect) bool { return have.Subject == who && have.Of == of })
	if at < 0 {
		s.found = append(s.found, indirect{Subject: who, Of: of})
		at = len(s.found) - 1
	}
	if !slices.Contains(s.found[at].Rights, right) {
		s.found[at].Rights = append(s.found[at].Rights, right)
	}
	s.found[at].Ways = appendNew(s.found[at].Ways, ways)
}

// ofKubernetes reports whether a subject is a part of Kubernetes, whose controllers create Pods everywhere. They are
// counted, not listed.
func (i *indirect) ofKubernetes() bool {
	if i.Subject.Kind == rbacv1.ServiceAccountKind {
		return i.Subject.Namespace == metav1.NamespaceSystem
	}
	return i.Subject.Kind == rbacv1.UserKind && strings.HasPrefix(i.Subject.Name, "system:") ||
		i.Subject == subject{Kind: rbacv1.GroupKind, Name: user.NodesGroup}
}

// summary joins the verbs of one resource, and the resources with the same verbs.
func (i *indirect) summary() []string {
	var resources, lists []string
	verbs, same := map[string][]string{}, map[string][]string{}
	for _, right := range i.Rights {
		verb, resource, _ := strings.Cut(right, " ")
		if _, known := verbs[resource]; !known {
			resources = append(resources, resource)
		}
		verbs[resource] = append(verbs[resource], verb)
	}
	for _, resource := range resources {
		list := strings.Join(verbs[resource], "/")
		if _, known := same[list]; !known {
			lists = append(lists, list)
		}
		same[list] = append(same[list], resource)
	}
	lines := make([]string, len(lists))
	for n, list := range lists {
		lines[n] = list + " " + strings.Join(same[list], ", ")
	}
	return lines
}

// printIndirect adds the subjects that can become readers.
func (a *answer) printIndirect(text *strings.Builder) {
	for _, of := range a.groups() {
		fmt.Fprintf(text, "\nIndirect, by permissions over %s:\n", of)
		for n := range a.Indirect {
			if i := &a.Indirect[n]; i.Of == of && !i.ofKubernetes() {
				fmt.Fprintf(text, "  %s, by %s:\n", i.Subject, waysText(i.Ways))
				for _, line := range i.summary() {
					fmt.Fprintf(text, "    %s\n", line)
				}
			}
		}
	}
	hidden := sets.New[subject]()
	for n := range a.Indirect {
		if i := &a.Indirect[n]; i.ofKubernetes() {
			hidden.Insert(i.Subject)
		}
	}
	if len(hidden) > 0 {
		fmt.Fprintf(text, "\n%d more are parts of Kubernetes (accounts in kube-system, users system:...); "+
			"-o json lists them.\n", len(hidden))
	}
	for _, unknown := range a.NotLookedAt {
		fmt.Fprintf(text, "\nNot looked at: %s.\n", unknown)
	}
}

// groups returns what the listed permissions are over.
func (a *answer) groups() []string {
	var all []string
	for n := range a.Indirect {
		if i := &a.Indirect[n]; !i.ofKubernetes() && !slices.Contains(all, i.Of) {
			all = append(all, i.Of)
		}
	}
	return all
}

func waysText(ways []way) string {
	texts := make([]string, len(ways))
	for n, w := range ways {
		texts[n] = w.String()
	}
	return strings.Join(texts, " and ")
}
