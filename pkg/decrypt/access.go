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
	"golang.org/x/sync/singleflight"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

const (
	// parallelReviews bounds the concurrent questions of one request: each may be a call to kube-apiserver.
	parallelReviews = 16
	// reviewTimeout bounds a question that several requests wait for.
	reviewTimeout = 10 * time.Second
	// cacheSize bounds the cached decisions: callers times namespaces, and names for callers with resourceNames.
	cacheSize = 16384
)

// access determines the permissions of callers. It has no rules: every question goes to the authorizer, with the
// namespace and the one name it is about, so that resourceNames count.
//
// Decisions are cached for ttl from before the question. Concurrent requests share a question. Errors are not cached.
type access struct {
	authorizer authorizer.Authorizer
	// decrypters are those of --allowed-decrypters; any: the flag contains "*".
	decrypters []string
	any        bool
	probe      rights.Probe

	ttl       time.Duration
	decisions *utilcache.LRUExpireCache
	flights   singleflight.Group
}

func newAccess(a authorizer.Authorizer, allowedDecrypters []string, ttl time.Duration) *access {
	isAny := func(name string) bool { return name == validation.AnyDecrypter }
	return &access{
		authorizer: a,
		decrypters: slices.DeleteFunc(slices.Clone(allowedDecrypters), isAny),
		any:        slices.ContainsFunc(allowedDecrypters, isAny),
		ttl:        ttl,
		decisions:  utilcache.NewLRUExpireCache(cacheSize),
	}
}

// caller is the user of a request, without the groups that rights.Caller removes, in one namespace.
type caller struct {
	user      user.Info
	namespace string
	key       string
}

func newCaller(who user.Info, namespace string) caller {
	stripped := rights.Caller(who)
	return caller{user: stripped, namespace: namespace, key: callerKey(stripped, namespace)}
}

// callerKey distinguishes callers by everything an authorizer may look at. Each part is preceded by its length.
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

// grants are the permissions of a caller, determined before anything is read.
type grants struct {
	// decrypt are the names, use the allowed decrypters that the caller may decrypt and use.
	decrypt, use sets.Set[string]
	// wildcard: the caller may use any decrypter, so it gets no value.
	wildcard bool
}

// refusal returns the outcome of a name that is not read, and whether it is read.
func (g *grants) refusal(name string) (outcome, bool) {
	switch {
	case !g.decrypt.Has(name):
		return notAuthorized, false
	case g.wildcard:
		return wildcard, false
	default:
		return outcome{}, true
	}
}

// authorize determines which of the names the caller may decrypt, which of the allowed decrypters it may use, and, if
// that could release something, whether it holds a wildcard. The anonymous user may do nothing.
func (s *Service) authorize(ctx context.Context, c caller, names []string) (g grants, err error) {
	if c.user.GetName() == user.Anonymous {
		return g, nil
	}
	ctx, end := s.stage(ctx, "authorize")
	defer end()
	a := s.access
	if g.decrypt, err = a.askAll(ctx, c, rights.Decrypt, names); err != nil {
		return g, err
	}
	if g.use, err = a.mayUse(ctx, c, a.decrypters); err != nil {
		return g, err
	}
	if len(g.decrypt) > 0 && (len(g.use) > 0 || a.any) {
		// Permission to use a decrypter that does not exist is permission to use every decrypter.
		var every sets.Set[string]
		every, err = a.mayUse(ctx, c, []string{a.probe.Decrypter()})
		g.wildcard = len(every) > 0
	}
	return g, err
}

// mayUse returns the decrypters that the caller may use.
func (a *access) mayUse(ctx context.Context, c caller, decrypters []string) (sets.Set[string], error) {
	return a.askAll(ctx, c, rights.Use, decrypters)
}

// question is one of the two of package rights.
type question func(who user.Info, namespace, name string) authorizer.AttributesRecord

// askAll returns the names for which the answer is yes. What is not cached is asked concurrently.
func (a *access) askAll(ctx context.Context, c caller, about question, names []string) (sets.Set[string], error) {
	allowed := sets.New[string]()
	var mu sync.Mutex
	allow := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		allowed.Insert(name)
	}
	questions, ctx := errgroup.WithContext(ctx)
	questions.SetLimit(parallelReviews)
	verb := about(c.user, c.namespace, "").Verb
	for _, name := range names {
		key := verb + "/" + name + "/" + c.key // neither verb nor name has a slash
		if cached, ok := a.decisions.Get(key); ok {
			if cached.(bool) {
				allow(name)
			}
			continue
		}
		questions.Go(func() error {
			yes, err := a.askOnce(ctx, key, about(c.user, c.namespace, name))
			if err == nil && yes {
				allow(name)
			}
			return err
		})
	}
	return allowed, questions.Wait()
}

// askOnce shares a question with concurrent requests. With a ttl of zero every request asks for itself.
func (a *access) askOnce(ctx context.Context, key string, q authorizer.AttributesRecord) (bool, error) {
	if a.ttl <= 0 {
		return a.ask(ctx, q)
	}
	flight := a.flights.DoChan(key, func() (any, error) {
		if cached, ok := a.decisions.Get(key); ok { // by a question that ended since this request looked
			return cached, nil
		}
		// The question outlives the request that started it: others wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
		defer cancel()
		started := time.Now()
		yes, err := a.ask(ctx, q)
		if left := a.ttl - time.Since(started); err == nil && left > 0 {
			a.decisions.Add(key, yes, left)
		}
		return yes, err
	})
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case result := <-flight:
		return result.Err == nil && result.Val.(bool), result.Err
	}
}

// ask is one question. What is not an answer is an error, never a yes and never a plain no.
func (a *access) ask(ctx context.Context, q authorizer.AttributesRecord) (bool, error) {
	decision, _, err := a.authorizer.Authorize(ctx, q)
	switch {
	case decision == authorizer.DecisionAllow:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("checking whether %q may %s %s %s/%s: %w",
			q.User.GetName(), q.Verb, q.Resource, q.Namespace, q.Name, err)
	default:
		return false, nil
	}
}
