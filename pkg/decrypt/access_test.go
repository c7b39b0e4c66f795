// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// asked is an authorizer that answers by a function and remembers what it was asked.
type asked struct {
	mu     sync.Mutex
	asked  []authorizer.Attributes
	answer func(authorizer.Attributes) (authorizer.Decision, error)
}

func (a *asked) authorizer() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, q authorizer.Attributes) (authorizer.Decision, string, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked = append(a.asked, q)
		decision, err := a.answer(q)
		return decision, "", err
	})
}

func yes(authorizer.Attributes) (authorizer.Decision, error) { return authorizer.DecisionAllow, nil }

var anybody = &user.DefaultInfo{Name: "k6", UID: "1", Groups: []string{"a", user.SystemPrivilegedGroup, "b"}}

func TestQuestions(t *testing.T) {
	a := &asked{answer: yes}
	access := newAccess(a.authorizer(), []string{"k6-cloud", "*"}, 0)
	c := newCaller(anybody, "ns")
	if got, err := access.askAll(t.Context(), c, rights.Decrypt, []string{"x", "y"}); err != nil || !got.HasAll("x", "y") || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := access.mayUse(t.Context(), c, access.decrypters); err != nil || !got.Has("k6-cloud") || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	want := map[string]bool{"decrypt securevalues x": true, "decrypt securevalues y": true, "use decrypters k6-cloud": true}
	for _, q := range a.asked {
		if !want[q.GetVerb()+" "+q.GetResource()+" "+q.GetName()] {
			t.Errorf("asked for %s %s %s", q.GetVerb(), q.GetResource(), q.GetName())
		}
		if q.GetNamespace() != "ns" || q.GetAPIGroup() != "secret.grafana.app" || !q.IsResourceRequest() || q.GetSubresource() != "" {
			t.Errorf("asked about %+v", q)
		}
		if !slices.Equal(q.GetUser().GetGroups(), []string{"a", "b"}) {
			t.Errorf("asked for groups %v", q.GetUser().GetGroups())
		}
	}
	if len(a.asked) != len(want) {
		t.Errorf("%d questions", len(a.asked))
	}
	if !slices.Contains(anybody.Groups, user.SystemPrivilegedGroup) {
		t.Error("the caller's own groups were changed")
	}
}

// TestNoAnswerIsNoYes asks an authorizer that fails, denies, or has no opinion.
func TestNoAnswerIsNoYes(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		decision authorizer.Decision
		err      error
		fails    bool
	}{
		"error":             {authorizer.DecisionNoOpinion, broken, true},
		"denied with error": {authorizer.DecisionDeny, broken, true},
		"denied":            {authorizer.DecisionDeny, nil, false},
		"no opinion":        {authorizer.DecisionNoOpinion, nil, false},
	} {
		a := &asked{answer: func(authorizer.Attributes) (authorizer.Decision, error) { return test.decision, test.err }}
		access := newAccess(a.authorizer(), []string{"k6-cloud"}, time.Minute)
		for range 2 {
			got, err := access.askAll(t.Context(), newCaller(anybody, "ns"), rights.Decrypt, []string{"x"})
			if len(got) != 0 || (err != nil) != test.fails {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
		if test.fails && len(a.asked) != 2 {
			t.Errorf("%s: an error was kept", name)
		}
	}
}

// TestWildcardIsCached asks once about the random decrypter, as about others: its name must stay for that.
func TestWildcardIsCached(t *testing.T) {
	a := &asked{answer: yes}
	s := &Service{access: newAccess(a.authorizer(), []string{"k6-cloud"}, time.Minute)}
	for range 2 {
		if got, err := s.authorize(t.Context(), newCaller(anybody, "ns"), []string{"x"}); !got.wildcard || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	if len(a.asked) != 3 || !isProbe(a.asked[2]) || a.asked[2].GetNamespace() != "ns" {
		t.Errorf("asked %v", a.asked)
	}
}

// TestCallersAreToldApart asks that no two callers share an answer.
func TestCallersAreToldApart(t *testing.T) {
	keys := map[string]string{}
	for name, c := range map[string]caller{
		"plain":          newCaller(&user.DefaultInfo{Name: "a", Groups: []string{"b"}}, "ns"),
		"name and uid":   newCaller(&user.DefaultInfo{Name: "a", UID: "b"}, "ns"),
		"namespace":      newCaller(&user.DefaultInfo{Name: "a", Groups: []string{"b"}}, "n"),
		"two groups":     newCaller(&user.DefaultInfo{Name: "a", Groups: []string{"b", ""}}, "ns"),
		"joined":         newCaller(&user.DefaultInfo{Name: "a1:b"}, "ns"),
		"extra":          newCaller(&user.DefaultInfo{Name: "a", Groups: []string{"b"}, Extra: map[string][]string{"k": {"v"}}}, "ns"),
		"extra in pairs": newCaller(&user.DefaultInfo{Name: "a", Groups: []string{"b"}, Extra: map[string][]string{"k": {}, "v": {}}}, "ns"),
		"moved":          newCaller(&user.DefaultInfo{Name: "sa", Groups: []string{"b"}}, "n"),
	} {
		if other, taken := keys[c.key]; taken {
			t.Errorf("%s and %s have one key", name, other)
		}
		keys[c.key] = name
	}
}

// TestDecisionsAreShared lets many requests need one decision, and asks again when it is too old, counted from before
// the question.
func TestDecisionsAreShared(t *testing.T) {
	var questions atomic.Int64
	started, release := make(chan struct{}), make(chan struct{})
	blocking := authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		if questions.Add(1) == 1 {
			close(started)
		}
		<-release
		return authorizer.DecisionAllow, "", nil
	})
	c, names := newCaller(anybody, "ns"), []string{"x"}
	a := newAccess(blocking, nil, time.Hour)
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := a.askAll(gone, c, rights.Decrypt, names); first <- err }()
	<-started
	cancel() // the others still get the answer
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the request that was canceled got %v", err)
	}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if got, err := a.askAll(t.Context(), c, rights.Decrypt, names); !got.Has("x") || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	close(release)
	group.Wait()
	if n := questions.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
	old := newAccess(blocking, nil, time.Nanosecond)
	for range 2 {
		if _, err := old.askAll(t.Context(), c, rights.Decrypt, names); err != nil {
			t.Error(err)
		}
	}
	if n := questions.Load(); n != 3 {
		t.Errorf("%d questions: a decision older than its ttl was cached", n)
	}
}
