// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// TestRacingWriters lets writers of values, of labels and of decrypters race on one object. Whatever the order, every
// state that etcd ever held opens, to the value acknowledged for its version, and no edit without a value changed it.
func TestRacingWriters(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		const writers, rounds = 8, 6
		obj := s.create(t, "a", canary)
		var mu sync.Mutex
		acknowledged := map[int64]string{1: canary}
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for r := range rounds {
					v := fmt.Sprintf("%s-%d-%d", canary, w, r)
					out, err := s.update(asPUT(t.Context()), obj, newValue(v))
					if err != nil {
						t.Errorf("writing a value: %v", err)
						return
					}
					mu.Lock()
					if was, ok := acknowledged[out.Status.Version]; ok {
						t.Errorf("version %d was acknowledged twice: %s and %s", out.Status.Version, was, v)
					}
					acknowledged[out.Status.Version] = v
					mu.Unlock()
				}
			})
			group.Go(func() {
				ctx := t.Context()
				if w%2 == 0 {
					ctx = asPUT(ctx)
				}
				for r := range rounds {
					if _, err := s.update(ctx, obj, edit(w, r)); err != nil {
						t.Errorf("editing: %v", err)
						return
					}
				}
			})
		}
		group.Wait()
		if len(acknowledged) != writers*rounds+1 {
			t.Errorf("%d values were acknowledged, want %d", len(acknowledged), writers*rounds+1)
		}
		last := s.stored(t, obj)
		if last.Status.Version != writers*rounds+1 {
			t.Errorf("version %d at the end, want %d: a write was lost", last.Status.Version, writers*rounds+1)
		}
		s.mustOpenTo(t, obj, acknowledged[last.Status.Version])
		s.checkHistory(t, obj, acknowledged)
		s.mustHoldNoCanary(t)
	})
}

// edit changes a label, or every third time the decrypters, which re-seals.
func edit(writer, round int) func(*secret.SecureValue) {
	return func(o *secret.SecureValue) {
		if round%3 == 2 {
			o.Spec.Decrypters = []string{"k6", fmt.Sprintf("d%d", writer)}
			return
		}
		o.Labels = map[string]string{"writer": fmt.Sprint(writer), "round": fmt.Sprint(round)}
	}
}

// checkHistory opens the record of every revision.
func (s *stack) checkHistory(t *testing.T, obj *secret.SecureValue, acknowledged map[int64]string) {
	t.Helper()
	w := s.etcd.Watch(t.Context(), etcdPrefix+keyOf(obj), clientv3.WithRev(1))
	last := s.get(t, obj, "").ResourceVersion
	for resp := range w {
		for _, event := range resp.Events {
			record := decodeFrame(t, s.codec, event.Kv.Value)
			v, err := s.sealer.Open(t.Context(), record)
			if err != nil || v.Expose() != acknowledged[record.Status.Version] {
				t.Errorf("revision %d, version %d opens to %q with error %v, want %q",
					event.Kv.ModRevision, record.Status.Version, v.Expose(), err, acknowledged[record.Status.Version])
			}
			if fmt.Sprint(event.Kv.ModRevision) == last {
				return
			}
		}
	}
	t.Error("the history ended early")
}

// TestConflictIsRetriedOnFreshCiphertext: between the read of a label edit and its write a new value comes in. The
// edit must carry the new ciphertext, not the one it read first.
func TestConflictIsRetriedOnFreshCiphertext(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		turns := 0
		s.mustUpdate(t, obj, func(o *secret.SecureValue) {
			if turns++; turns == 1 {
				s.mustUpdate(t, obj, newValue(canary+"-between"))
			}
			relabel(o)
		})
		if turns != 2 {
			t.Errorf("the edit ran %d times, want 2", turns)
		}
		s.mustOpenTo(t, obj, canary+"-between")
	})
}

// TestWatchEndsWithItsReader: a reader that stops with events pending must not leave the pump behind.
func TestWatchEndsWithItsReader(t *testing.T) {
	for name, end := range map[string]func(stop, cancel func()){
		"stopped":         func(stop, _ func()) { stop() },
		"stopped twice":   func(stop, _ func()) { stop(); stop() },
		"context is over": func(_, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, false)
			obj := s.create(t, "a", canary)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, err := s.Watch(ctx, resourcePrefix+"/", storage.ListOptions{
				ResourceVersion: obj.ResourceVersion, Recursive: true, Predicate: storage.Everything,
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range watchBuffer + 2 { // nobody reads them
				s.mustUpdate(t, obj, func(o *secret.SecureValue) { o.Spec.Value = sensitive.New(fmt.Sprint(i)) })
			}
			eventually(t, "the buffer is not full", func() bool { return len(w.ResultChan()) == watchBuffer })
			end(w.Stop, cancel)
			mustEnd(t)
		})
	}
}

// mustEnd waits until no pump runs any more.
func mustEnd(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	eventually(t, "the pump of the watch hangs", func() bool {
		all := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(all, "strippedWatch") && !strings.Contains(all, "filteredWatch")
	})
}

func eventually(t *testing.T, otherwise string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, wait.ForeverTestTimeout, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Error(otherwise)
	}
}
