// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
)

// metadata is a storage that a test writes. It runs in a bubble.
type metadata struct {
	revision uint64
	stored   map[string]*secret.SecureValue
	events   *watch.FakeWatcher
	followed int
	looked   func() // runs after each Lookup
	err      error
}

func (m *metadata) Follow(ctx context.Context) (watch.Interface, uint64, error) {
	if m.err != nil {
		return nil, 0, m.err
	}
	m.followed++
	m.events = watch.NewFakeWithChanSize(100, false)
	context.AfterFunc(ctx, m.events.Stop)
	return m.events, m.revision, nil
}

func (m *metadata) Lookup(_ context.Context, _, name string, since uint64) (*secret.SecureValue, error) {
	found := m.stored[name]
	if m.looked != nil {
		m.looked()
	}
	if since == 0 {
		return nil, errors.New("a lookup at no revision")
	}
	return found, m.err
}

// put writes an object and returns it. Without decrypters it is deleted.
func (m *metadata) put(name, uid string, version int64, decrypters ...string) *secret.SecureValue {
	m.revision++
	sv := &secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), ResourceVersion: strconv.FormatUint(m.revision, 10)},
		Spec:       secret.SecureValueSpec{Decrypters: decrypters},
		Status:     secret.SecureValueStatus{Version: version},
	}
	if len(decrypters) == 0 {
		delete(m.stored, name)
		m.events.Delete(sv)
	} else {
		m.stored[name] = sv
		m.events.Modify(sv)
	}
	return sv
}

// stream is one stream on a service that knows two rights: to decrypt everything but "secret", and to use k6-cloud.
type stream struct {
	*metadata
	steps   *steps
	changes *Changes
	service *Service
	denied  map[string]bool // rights that are withdrawn, by verb
	who     user.Info
	idErr   error
	events  []string
	took    time.Duration // to the first event
	ended   bool
	err     error
	cancel  context.CancelFunc
}

// inStream runs a test in a bubble, with a stream that has begun.
func inStream(t *testing.T, names []string, prepare func(*stream), test func(*stream)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stream{
			metadata: &metadata{revision: 10, stored: map[string]*secret.SecureValue{}, events: watch.NewFakeWithChanSize(100, false)},
			steps:    &steps{}, denied: map[string]bool{}, who: anybody,
		}
		s.changes = NewChanges(s.metadata)
		allowed := []string{"k6-cloud"}
		s.put("a", "u1", 3, "x", "k6-cloud")
		s.put("foreign", "u2", 1, "x")
		s.put("secret", "u3", 1, "k6-cloud")
		if prepare != nil {
			prepare(s)
		}
		s.service = newServiceWith(s.steps, allowed, func(q authorizer.Attributes) (authorizer.Decision, error) {
			if s.denied[q.GetVerb()] || q.GetName() == "secret" || q.GetVerb() == "use" && q.GetName() != "k6-cloud" {
				return authorizer.DecisionNoOpinion, s.steps.askErr
			}
			return authorizer.DecisionAllow, s.steps.askErr
		})
		s.service.changes = s.changes
		running, stop := context.WithCancel(t.Context())
		go s.changes.Run(running)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		s.cancel = cancel
		go func() {
			began := time.Now()
			r := Request{User: anybody, Namespace: "ns", Names: names, AuditID: "id", Source: "addr"}
			s.err = s.service.Watch(ctx, r, func() (user.Info, error) { return s.who, s.idErr }, func(e *secretwatchv1.WatchEvent) error {
				if len(s.events) == 0 {
					s.took = time.Since(began)
				}
				s.events = append(s.events, fmt.Sprintf("%s %d %s", e.GetName(), e.GetVersion(), e.GetUid()))
				return nil
			})
			s.ended = true
		}()
		time.Sleep(notFoundPace) // of the answer with a "not found"
		synctest.Wait()
		test(s)
		cancel()
		stop()
		synctest.Wait()
		if !s.ended {
			t.Error("the stream does not end with its request")
		}
		if left := len(s.changes.feeds); left > 0 {
			t.Errorf("%d names are followed after the last stream", left)
		}
	})
}

// want wants these events since the last call.
func (s *stream) want(t *testing.T, events ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(s.events, events) {
		t.Errorf("events %q, want %q", s.events, events)
	}
	s.events = nil
}

func (s *stream) wantEnd(t *testing.T, code connect.Code) {
	t.Helper()
	synctest.Wait()
	if !s.ended || connect.CodeOf(s.err) != code {
		t.Errorf("ended %t with %v, want code %v", s.ended, s.err, code)
	}
}

func TestWatchTellsWhatTheCallerCanOpen(t *testing.T) {
	inStream(t, []string{"a", "secret", "absent", "foreign", "a"}, nil, func(s *stream) {
		s.want(t, "a 3 u1", "secret 0 ", "absent 0 ", "foreign 0 ")
		s.put("a", "u1", 4, "x", "k6-cloud")
		s.want(t, "a 4 u1")
		s.put("a", "u1", 4, "x", "k6-cloud") // another label
		s.put("foreign", "u2", 2, "x")
		s.put("secret", "u3", 2, "k6-cloud")
		s.put("other", "u4", 2, "k6-cloud")
		s.want(t)
		s.put("foreign", "u2", 2, "x", "k6-cloud")
		s.want(t, "foreign 2 u2")
		s.put("a", "u1", 4, "k6-cloud")
		s.want(t, "a 4 u1")
		s.put("a", "u1", 4, "x")
		s.want(t, "a 0 ")
		s.put("a", "u1", 5)
		s.want(t)
		s.put("a", "u5", 1, "k6-cloud")
		s.want(t, "a 1 u5")
		waiting := s.put("a", "u5", 1, "k6-cloud").DeepCopy()
		waiting.DeletionTimestamp, waiting.ResourceVersion = new(metav1.Now()), "1000"
		s.metadata.events.Modify(waiting)
		s.want(t, "a 0 ")
		shared := s.stored["foreign"].DeepCopy()
		shared.Spec.Decrypters, shared.Status.Version, shared.ResourceVersion = []string{"k6-cloud"}, 7, "1001"
		s.metadata.events.Modify(encodedOnce{Object: shared})
		s.want(t, "foreign 7 u2")
	})
}

// encodedOnce is an event as the watch cache sends it while several watches are open.
type encodedOnce struct {
	runtime.CacheableObject
	runtime.Object
}

func (e encodedOnce) GetObject() runtime.Object        { return e.Object }
func (e encodedOnce) GetObjectKind() schema.ObjectKind { return e.Object.GetObjectKind() }
func (e encodedOnce) DeepCopyObject() runtime.Object   { return e.Object.DeepCopyObject() }

// TestWatchBeginsOnTheGrid when a name is not found, as a decrypt does, and asks each question once, before it looks up.
func TestWatchBeginsOnTheGrid(t *testing.T) {
	for name, want := range map[string]time.Duration{"a": 0, "absent": notFoundPace, "foreign": notFoundPace} {
		inStream(t, []string{name}, nil, func(s *stream) {
			if s.took != want || len(s.events) != 1 {
				t.Errorf("%s: %d events after %v, want %v", name, len(s.events), s.took, want)
			}
			if !slices.Equal(s.steps.done, []string{"decrypt " + name, "use k6-cloud", "use random", "record"}) {
				t.Errorf("%s: %q", name, s.steps.done)
			}
		})
	}
}

// TestWatchIsRecordedOnce as what it is, without reading anything in etcd.
func TestWatchIsRecordedOnce(t *testing.T) {
	inStream(t, []string{"a", "secret"}, nil, func(s *stream) {
		s.put("a", "u1", 4, "k6-cloud")
		synctest.Wait()
		want := audit.Record{
			AuditID: "id", User: "k6", UserUID: "1", Source: "addr", Namespace: "ns", Name: "a,secret", Watch: true,
			Decision: audit.Allow, Reason: audit.ReasonGranted,
		}
		if len(s.steps.records) != 1 || s.steps.records[0] != want || len(s.steps.read) > 0 {
			t.Errorf("recorded %+v, read %v", s.steps.records, s.steps.read)
		}
	})
	for name, c := range map[string]struct {
		names   []string
		prepare func(*stream)
		code    connect.Code
		reason  audit.Reason
	}{
		"no right":       {[]string{"secret"}, nil, connect.CodePermissionDenied, audit.ReasonNotAuthorized},
		"no record":      {[]string{"a"}, func(s *stream) { s.steps.recordErr = errors.New("full") }, connect.CodeUnavailable, audit.ReasonGranted},
		"no authorizer":  {[]string{"a"}, func(s *stream) { s.steps.askErr = errors.New("down"); s.denied["use"] = true }, connect.CodeUnavailable, ""},
		"no storage":     {[]string{"a"}, func(s *stream) { s.looked = func() { s.metadata.err = errors.New("down") } }, connect.CodeUnavailable, audit.ReasonGranted},
		"not following":  {[]string{"a"}, func(s *stream) { s.metadata.err = errors.New("down") }, connect.CodeUnavailable, audit.ReasonGranted},
		"a wrong name":   {[]string{"A"}, nil, connect.CodeInvalidArgument, ""},
		"too many names": {strings.Split(strings.Repeat("a,", 200)+"b", ","), nil, 0, audit.ReasonGranted},
	} {
		t.Run(name, func(t *testing.T) {
			inStream(t, c.names, c.prepare, func(s *stream) {
				if c.code != 0 {
					s.wantEnd(t, c.code)
				}
				if got := s.steps.records; len(got) > 1 || c.reason != "" && (len(got) != 1 || got[0].Reason != c.reason) {
					t.Errorf("recorded %+v", got)
				}
				if c.code != 0 && len(s.events) > 0 {
					t.Errorf("events %q", s.events)
				}
			})
		})
	}
}

func TestWatchEnds(t *testing.T) {
	names := []string{"a", "absent"}
	begun := []string{"a 3 u1", "absent 0 "}
	t.Run("a right to decrypt is withdrawn", func(t *testing.T) {
		inStream(t, names, nil, func(s *stream) {
			s.want(t, begun...)
			time.Sleep(watchCheck)
			s.want(t, " 0 ")
			s.denied["decrypt"] = true
			time.Sleep(watchCheck)
			s.want(t, "a 0 ")
			s.wantEnd(t, connect.CodePermissionDenied)
		})
	})
	t.Run("a decrypter is withdrawn before a change", func(t *testing.T) {
		inStream(t, names, nil, func(s *stream) {
			s.want(t, begun...)
			s.denied["use"] = true
			s.put("a", "u1", 4, "k6-cloud")
			s.want(t, "a 0 ")
			s.denied["use"] = false
			time.Sleep(watchCheck)
			s.want(t, "a 4 u1", " 0 ")
		})
	})
	t.Run("credentials are withdrawn", func(t *testing.T) {
		inStream(t, names, nil, func(s *stream) {
			s.want(t, begun...)
			s.idErr = errUnauthenticated
			time.Sleep(watchCheck)
			s.wantEnd(t, connect.CodeUnauthenticated)
			s.want(t)
		})
	})
	t.Run("the caller's groups change", func(t *testing.T) {
		inStream(t, names, nil, func(s *stream) {
			s.who = &user.DefaultInfo{Name: user.Anonymous}
			time.Sleep(watchCheck)
			s.wantEnd(t, connect.CodePermissionDenied)
		})
	})
	t.Run("its life is over", func(t *testing.T) {
		inStream(t, names, nil, func(s *stream) {
			time.Sleep(watchLife - time.Second)
			if synctest.Wait(); s.ended {
				t.Error("ended too early")
			}
			time.Sleep(watchLife + time.Second)
			if synctest.Wait(); !s.ended || s.err != nil {
				t.Errorf("ended %t with %v", s.ended, s.err)
			}
		})
	})
	t.Run("the watch of the store ends", func(t *testing.T) {
		inStream(t, names, nil, func(s *stream) {
			s.metadata.events.Stop()
			s.wantEnd(t, connect.CodeUnavailable)
			time.Sleep(2 * time.Second)
			if s.followed != 2 || s.changes.since == 0 {
				t.Errorf("followed %d times", s.followed)
			}
		})
	})
}

// TestWatchNeverGoesBack although a change from before the look-up arrives after it.
func TestWatchNeverGoesBack(t *testing.T) {
	inStream(t, []string{"a"}, func(s *stream) {
		s.looked = func() {
			s.looked = nil
			old := s.stored["a"].DeepCopy()
			old.Status.Version, old.ResourceVersion = 2, "9"
			s.metadata.events.Modify(old)
		}
	}, func(s *stream) {
		s.want(t, "a 3 u1")
		s.put("a", "u1", 9, "k6-cloud")
		s.want(t, "a 9 u1")
	})
}
