// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// parallelQuestions bounds how many questions one request asks at once: each may be a call of kube-apiserver.
const parallelQuestions = 16

// access settles what a caller may do. It holds no rule of its own: every question goes to the authorizer, with the
// namespace and the one name it is about, so that resourceNames count.
type access struct {
	authorizer authorizer.Authorizer
	// decrypters are those of --allowed-decrypters; any says that the flag holds "*".
	decrypters []string
	any        bool
	answers    *cache[bool]
	probe      rights.Probe
}

func newAccess(a authorizer.Authorizer, allowedDecrypters []string, ttl time.Duration) *access {
	return &access{
		authorizer: a,
		decrypters: slices.DeleteFunc(slices.Clone(allowedDecrypters), func(name string) bool { return name == validation.AnyDecrypter }),
		any:        slices.Contains(allowedDecrypters, validation.AnyDecrypter),
		answers:    newCache[bool](ttl),
	}
}

// caller is who asks, in one namespace, without the groups that rights.Caller takes out.
type caller struct {
	user      user.Info
	namespace string
	key       string
}

func newCaller(who user.Info, namespace string) caller {
	stripped := rights.Caller(who)
	return caller{user: stripped, namespace: namespace, key: callerKey(stripped, namespace)}
}

// callerKey tells callers apart by everything an authorizer may look at. Each part is preceded by its length.
func callerKey(who *user.DefaultInfo, namespace string) string {
	var b strings.Builder
	part := func(s string) { fmt.Fprintf(&b, "%d:%s", len(s), s) }
	part(namespace)
	part(who.Name)
	part(who.UID)
	fmt.Fprintf(&b, "%d.", len(who.Groups))
	for _, group := range who.Groups {
		part(group)
	}
	for _, name := range slices.Sorted(maps.Keys(who.Extra)) {
		part(name)
		fmt.Fprintf(&b, "%d.", len(who.Extra[name]))
		for _, value := range who.Extra[name] {
			part(value)
		}
	}
	return b.String()
}

// mayDecrypt returns those of the names that the caller may decrypt.
func (a *access) mayDecrypt(ctx context.Context, c caller, names []string) (sets.Set[string], error) {
	return a.askAll(ctx, c, rights.Decrypt, names)
}

// mayUse returns those of the allowed decrypters that the caller may use.
func (a *access) mayUse(ctx context.Context, c caller) (sets.Set[string], error) {
	return a.askAll(ctx, c, rights.Use, a.decrypters)
}

// mayUseOf is for a server that allows any decrypter: what can be listed is not known before the read, so it asks about
// what was read.
func (a *access) mayUseOf(ctx context.Context, c caller, listed sets.Set[string]) (sets.Set[string], error) {
	return a.askAll(ctx, c, rights.Use, sets.List(listed))
}

// holdsWildcard reports whether the caller may use a decrypter that does not exist, and so every decrypter.
func (a *access) holdsWildcard(ctx context.Context, c caller) (bool, error) {
	allowed, err := a.askAll(ctx, c, rights.Use, []string{a.probe.Decrypter()})
	return len(allowed) > 0, err
}

// question is one of the two of package rights.
type question func(who user.Info, namespace, name string) authorizer.AttributesRecord

// askAll asks about each name, about several at once where the answer is not known.
func (a *access) askAll(ctx context.Context, c caller, about question, names []string) (sets.Set[string], error) {
	allowed := sets.New[string]()
	var mu sync.Mutex
	questions, ctx := errgroup.WithContext(ctx)
	questions.SetLimit(parallelQuestions)
	verb := about(c.user, c.namespace, "").Verb
	for _, name := range names {
		key := verb + "/" + name + "/" + c.key // neither verb nor name has a slash
		if known, ok := a.answers.peek(key); ok {
			if known {
				mu.Lock()
				allowed.Insert(name)
				mu.Unlock()
			}
			continue
		}
		questions.Go(func() error {
			yes, err := a.answers.get(ctx, key, func(ctx context.Context) (bool, error) {
				return a.ask(ctx, about(c.user, c.namespace, name))
			})
			if err == nil && yes {
				mu.Lock()
				allowed.Insert(name)
				mu.Unlock()
			}
			return err
		})
	}
	return allowed, questions.Wait()
}

// ask is one question. What is not an answer is an error, never a yes and never a plain no.
func (a *access) ask(ctx context.Context, q authorizer.AttributesRecord) (bool, error) {
	decision, _, err := a.authorizer.Authorize(ctx, q)
	switch {
	case decision == authorizer.DecisionAllow:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("asking whether %q may %s %s %s/%s: %w",
			q.User.GetName(), q.Verb, q.Resource, q.Namespace, q.Name, err)
	default:
		return false, nil
	}
}
