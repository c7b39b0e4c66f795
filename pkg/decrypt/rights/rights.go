// SPDX-License-Identifier: Apache-2.0

// Package rights states who may open a value, as questions to an authorizer: verb decrypt on the value and verb use on
// one of its decrypters, both in the value's namespace and both granted by name. The decrypt port, the self reviews of
// a standalone server and the kubectl plugin ask the same questions.
//
// It must never answer a question itself, and never count a group that Kubernetes gives every permission.
package rights

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// The two verbs, and the resource of the second.
const (
	VerbDecrypt        = "decrypt"
	VerbUse            = "use"
	ResourceDecrypters = "decrypters"
)

// WhyWildcard is why a caller that may use every decrypter is refused.
const WhyWildcard = "permission to use every decrypter is a wildcard, which reads no value: " +
	"grant decrypters by resourceNames only"

// Decrypt asks whether who may decrypt a value, or with an empty name every value of the namespace.
func Decrypt(who user.Info, namespace, name string) authorizer.AttributesRecord {
	return question(who, VerbDecrypt, namespace, secret.Resource, name)
}

// Use asks whether who may use a decrypter.
func Use(who user.Info, namespace, decrypter string) authorizer.AttributesRecord {
	return question(who, VerbUse, namespace, ResourceDecrypters, decrypter)
}

func question(who user.Info, verb, namespace, resource, name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: who, Verb: verb, Namespace: namespace, Name: name, ResourceRequest: true,
		APIGroup: secret.GroupName, APIVersion: v1beta1.SchemeGroupVersion.Version, Resource: resource,
	}
}

// Caller is who without the groups that are not asked about: system:masters, which Kubernetes gives every permission,
// and system:unauthenticated.
func Caller(who user.Info) *user.DefaultInfo {
	return &user.DefaultInfo{
		Name: who.GetName(), UID: who.GetUID(), Extra: who.GetExtra(),
		Groups: slices.DeleteFunc(slices.Clone(who.GetGroups()), func(group string) bool {
			return group == user.SystemPrivilegedGroup || group == user.AllUnauthenticated
		}),
	}
}

// RandomDecrypter returns a well-formed name that no value and no role lists. Who may use it may use every decrypter.
func RandomDecrypter() string {
	return (rand.Text() + rand.Text() + rand.Text())[:validation.LabelValueMaxLength]
}

// probeLife is how long a Probe keeps a name.
const probeLife = time.Hour

// Probe is a random decrypter that stays the same for an hour, so that answers about it can be cached. The zero value
// is ready, for concurrent use.
type Probe struct {
	mu    sync.Mutex
	name  string
	until time.Time
}

// Decrypter returns the current name.
func (p *Probe) Decrypter() string { return p.at(time.Now()) }

func (p *Probe) at(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !now.Before(p.until) {
		p.name, p.until = RandomDecrypter(), now.Add(probeLife)
	}
	return p.name
}
