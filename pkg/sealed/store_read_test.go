// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func TestReadsAreClean(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		first := s.create(t, "a", canary)
		last := s.create(t, "b", canary)
		for _, rv := range []string{"", "0", last.ResourceVersion} {
			mustBeClean(t, "get at "+rv, s.get(t, last, strings.TrimPrefix(rv, "0")))
			items := s.list(t, rv)
			if rv != "0" && len(items) != 2 {
				t.Errorf("list at %q has %d items", rv, len(items))
			}
			for i := range items {
				mustBeClean(t, "list at "+rv, &items[i])
			}
		}
		page := &secret.SecureValueList{}
		one := storage.ListOptions{Recursive: true, Predicate: storage.SelectionPredicate{
			Label: storage.Everything.Label, Field: storage.Everything.Field, GetAttrs: getAttrs, Limit: 1,
		}}
		if err := s.GetList(t.Context(), resourcePrefix+"/", one, page); err != nil || len(page.Items) != 1 {
			t.Fatalf("page: %d items, %v", len(page.Items), err)
		}
		mustBeClean(t, "a page", &page.Items[0])
		single := &secret.SecureValueList{}
		if err := s.GetList(t.Context(), keyOf(first), storage.ListOptions{Predicate: storage.Everything},
			single); err != nil || len(single.Items) != 1 {
			t.Fatalf("list of one key: %d items, %v", len(single.Items), err)
		}
		mustBeClean(t, "list of one key", &single.Items[0])
	})
}

func TestReadsNeverNeedTheKey(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		s.keys.failing.Store(true)
		s.keys.calls.Store(0)
		w := s.watch(t, storage.ListOptions{ResourceVersion: obj.ResourceVersion, Predicate: storage.Everything})
		s.get(t, obj, "")
		if items := s.list(t, ""); len(items) != 1 {
			t.Errorf("list has %d items", len(items))
		}
		s.mustUpdate(t, obj, relabel)
		s.mustUpdate(t, obj, func(o *secret.SecureValue) { o.Spec.Description = "edited" })
		s.mustUpdate(t, obj, func(o *secret.SecureValue) { o.Spec.Decrypters = []string{"synthetic", "k6"} })
		for range 3 {
			if kind, got := next(t, w); kind != watch.Modified {
				t.Errorf("event %s of %s, want MODIFIED", kind, got.Name)
			}
		}
		out := &secret.SecureValue{}
		if err := s.Delete(t.Context(), keyOf(obj), out, nil, storage.ValidateAllObjectFunc, nil,
			storage.DeleteOptions{}); err != nil {
			t.Errorf("Delete: %v", err)
		}
		if n := s.keys.calls.Load(); n != 0 {
			t.Errorf("the key was asked %d times", n)
		}
	})
}

func TestWatchEventsAreClean(t *testing.T) {
	selected := storage.SelectionPredicate{
		Label: mustSelector("team=a"), Field: storage.Everything.Field, GetAttrs: getAttrs,
	}
	for name, opts := range map[string]storage.ListOptions{
		"everything":      {Predicate: storage.Everything},
		"from the start":  {Predicate: storage.Everything, ResourceVersion: "0"},
		"a selection":     {Predicate: selected},
		"with timestamps": {Predicate: storage.Everything, RecordTimestamps: true},
	} {
		t.Run(name, func(t *testing.T) {
			forBoth(t, func(t *testing.T, s *stack) {
				before, opts := s.create(t, "before", canary), opts
				if opts.ResourceVersion == "" {
					opts.ResourceVersion = before.ResourceVersion
				} else if kind, got := next(t, s.watch(t, opts)); kind != watch.Added {
					t.Errorf("event %s", kind)
				} else {
					mustBeClean(t, "the initial event", got)
				}
				opts.ResourceVersion = before.ResourceVersion
				w := s.watch(t, opts)
				obj := s.create(t, "a", canary)
				s.mustUpdate(t, obj, newValue(canary+"2"))
				s.mustUpdate(t, obj, relabel) // leaves the selection
				out := &secret.SecureValue{}
				if err := s.Delete(t.Context(), keyOf(obj), out, nil, storage.ValidateAllObjectFunc, nil,
					storage.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				want := []watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Deleted}
				if opts.Predicate.Label.String() != "" {
					want = []watch.EventType{watch.Added, watch.Modified, watch.Deleted}
				}
				for _, kind := range want {
					got, about := next(t, w)
					if got != kind || about.Name != "a" {
						t.Errorf("event %s of %s, want %s", got, about.Name, kind)
					}
					mustBeClean(t, "event "+string(kind), about)
				}
			})
		})
	}
}

// TestFailedListIsClean: a list that meets a broken record returns what it read before, with its error.
func TestFailedListIsClean(t *testing.T) {
	s := newStack(t, false)
	s.create(t, "a", canary)
	broken := s.create(t, "b", canary)
	s.put(t, broken, s.raw(t, broken)[:20])
	list := &secret.SecureValueList{}
	err := s.GetList(t.Context(), resourcePrefix+"/",
		storage.ListOptions{Recursive: true, Predicate: storage.Everything}, list)
	if err == nil || len(list.Items) != 1 {
		t.Fatalf("%d items, error %v", len(list.Items), err)
	}
	mustBeClean(t, "a failed list", &list.Items[0])
}
