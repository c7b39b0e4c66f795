// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// steps is a store and an audit log in one that remembers in which order it was used.
type steps struct {
	done      []string
	read      [][]string
	records   []audit.Record
	askErr    error
	readErr   error
	recordErr error
	openErr   map[string]error
	takes     time.Duration // that a read does, in a bubble
}

func (s *steps) Read(_ context.Context, _ string, names []string) (*sealed.Reading, error) {
	time.Sleep(s.takes)
	s.done = append(s.done, "read")
	s.read = append(s.read, names)
	reading := &sealed.Reading{Revision: 7}
	for _, name := range names {
		record := sealed.Record{Name: name}
		switch name {
		case "absent":
		case "damaged":
			record.Err = sealed.ErrFrame
		default:
			decrypters := []string{"x", "k6-cloud"}
			if name == "foreign" {
				decrypters = []string{"x"}
			}
			record.Object = &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "u"}, Spec: secret.SecureValueSpec{Decrypters: decrypters}}
		}
		if name == "deleted" {
			record.Object.DeletionTimestamp = new(metav1.Now())
		}
		reading.Records = append(reading.Records, record)
	}
	return reading, s.readErr
}

func (s *steps) Open(_ context.Context, record *sealed.Record) (sensitive.Value, error) {
	s.done = append(s.done, "open "+record.Name)
	return "value of " + sensitive.Value(record.Name), s.openErr[record.Name]
}

func (s *steps) Record(_ context.Context, records ...audit.Record) error {
	s.done = append(s.done, "record")
	s.records = append(s.records, records...)
	return s.recordErr
}

// newTestService knows one right to decrypt, on everything but "secret", and one decrypter, k6-cloud.
func newTestService(s *steps) *Service {
	return newServiceWith(s, []string{"k6-cloud"}, func(q authorizer.Attributes) (authorizer.Decision, error) {
		if s.askErr != nil {
			return authorizer.DecisionNoOpinion, s.askErr
		}
		if q.GetName() == "secret" || q.GetVerb() == "use" && q.GetName() != "k6-cloud" {
			return authorizer.DecisionNoOpinion, nil
		}
		return authorizer.DecisionAllow, nil
	})
}

// newServiceWith is a service whose every question is a step.
func newServiceWith(
	s *steps, decrypters []string, answer func(authorizer.Attributes) (authorizer.Decision, error),
) *Service {
	a := &asked{answer: func(q authorizer.Attributes) (authorizer.Decision, error) {
		what := q.GetVerb() + " " + q.GetName()
		if isProbe(q) {
			what = "use random"
		}
		s.done = append(s.done, what)
		return answer(q)
	}}
	return NewService(ServiceConfig{Reader: s, Authorizer: a.authorizer(), Recorder: s, AllowedDecrypters: decrypters})
}

// isProbe reports whether a question is about a decrypter that nobody lists.
func isProbe(q authorizer.Attributes) bool {
	return q.GetVerb() == "use" && len(q.GetName()) == validation.LabelValueMaxLength
}

func TestDecrypt(t *testing.T) {
	s := &steps{openErr: map[string]error{"changed": sealed.ErrBound, "locked": sealed.ErrKeyUnavailable}}
	names := []string{"a", "secret", "absent", "foreign", "damaged", "changed", "locked", "deleted", "a"}
	answer, err := newTestService(s).Decrypt(t.Context(), Request{User: anybody, Namespace: "ns", Names: names, AuditID: "id", Source: "addr"})
	if err != nil || answer.Revision != 7 || len(answer.Results) != 8 {
		t.Fatalf("%+v, %v", answer, err)
	}
	want := map[string]struct {
		message  string
		decision audit.Decision
		reason   audit.Reason
	}{
		"a":       {"", audit.Allow, audit.ReasonGranted},
		"secret":  {"not authorized", audit.Deny, audit.ReasonNotAuthorized},
		"absent":  {"not found", audit.Deny, audit.ReasonAbsent},
		"foreign": {"not found", audit.Deny, audit.ReasonNotListed},
		"damaged": {"not found", audit.Deny, audit.ReasonOpenFailed},
		"changed": {"decryption failed", audit.Deny, audit.ReasonOpenFailed},
		"deleted": {"not found", audit.Deny, audit.ReasonDeleted},
		"locked":  {"unavailable", audit.Deny, audit.ReasonOpenFailed},
	}
	for i, r := range answer.Results {
		w, record := want[r.Name], s.records[i]
		if r.outcome.message != w.message || (r.Value != "") != (w.message == "") {
			t.Errorf("%s: %q", r.Name, r.outcome.message)
		}
		if record.Name != r.Name || record.Decision != w.decision || record.Reason != w.reason || record.AuditID != "id" || record.Source != "addr" || record.User != "k6" {
			t.Errorf("%s: recorded %+v", r.Name, record)
		}
	}
	if s.records[0].Decrypter != "k6-cloud" || s.records[1].Decrypter != "" {
		t.Errorf("recorded decrypters %q and %q", s.records[0].Decrypter, s.records[1].Decrypter)
	}
	if slices.Contains(s.read[0], "secret") || len(s.read) != 1 {
		t.Errorf("read %v", s.read)
	}
	last := slices.Index(s.done, "read")
	if slices.ContainsFunc(s.done[last:], func(step string) bool {
		return strings.HasPrefix(step, "use ") || strings.HasPrefix(step, "decrypt ")
	}) {
		t.Errorf("a right was asked for after the read: %v", s.done)
	}
	if slices.Contains(s.done, "open foreign") || slices.Contains(s.done, "open deleted") || s.done[len(s.done)-1] != "record" {
		t.Errorf("done: %v", s.done)
	}
}

// TestCallerLeft ends a call by its caller, by the caller's deadline and by the server's own, in each step.
func TestCallerLeft(t *testing.T) {
	left, hangUp := context.WithCancel(t.Context())
	hangUp()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	slow, cancelSlow := context.WithDeadlineCause(t.Context(), time.Now().Add(-time.Second), errRequestTimeout)
	defer cancelSlow()
	for name, test := range map[string]struct {
		ctx  context.Context //nolint:containedctx // a table
		want connect.Code
	}{
		"left": {left, connect.CodeCanceled}, "late": {late, connect.CodeDeadlineExceeded}, "slow": {slow, connect.CodeUnavailable},
	} {
		for step, s := range map[string]*steps{
			"authorize": {askErr: test.ctx.Err()}, "read": {readErr: test.ctx.Err()}, "record": {recordErr: test.ctx.Err()},
			"open": {openErr: map[string]error{"a": sealed.ErrKeyUnavailable}},
		} {
			answer, err := newTestService(s).Decrypt(test.ctx, Request{User: anybody, Namespace: "ns", Names: []string{"a"}})
			if connect.CodeOf(err) != test.want || answer != nil && answer.count(released.message) > 0 {
				t.Errorf("%s in %s: %v, %v", name, step, answer, err)
			}
		}
		s := &steps{}
		service := newTestService(s)
		service.pace = time.Hour
		answer, err := service.Decrypt(test.ctx, Request{User: anybody, Namespace: "ns", Names: []string{"a", "absent"}})
		if connect.CodeOf(err) != test.want || answer != nil {
			t.Errorf("%s while waiting: %v, %v", name, answer, err)
		}
	}
}

// TestNothingLeavesUnrecorded makes each step fail: there is an error and no answer.
func TestNothingLeavesUnrecorded(t *testing.T) {
	broken := errors.New("broken")
	for name, s := range map[string]*steps{
		"audit log": {recordErr: broken}, "storage": {readErr: broken}, "the only key": {openErr: map[string]error{"a": sealed.ErrKeyUnavailable}},
	} {
		answer, err := newTestService(s).Decrypt(t.Context(), Request{User: anybody, Namespace: "ns", Names: []string{"a"}})
		if connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("%s: want Unavailable, got %v", name, err)
		}
		if answer != nil && answer.count(released.message) > 0 {
			t.Errorf("%s: a value came beside the error", name)
		}
	}
}

// TestWildcardReadsNothing asks as callers that may use some decrypter, every decrypter or none: when the random
// decrypter is asked about, and that its answer decides before anything is read.
func TestWildcardReadsNothing(t *testing.T) {
	broken := errors.New("broken")
	none, some := authorizer.DecisionNoOpinion, authorizer.DecisionAllow
	for name, test := range map[string]struct {
		decrypters     []string
		decrypt, named authorizer.Decision
		probe          authorizer.Decision
		probeErr       error
		done           []string
		reason         audit.Reason
		fails          bool
	}{
		"by name": {
			decrypters: []string{"k6-cloud"}, decrypt: some, named: some, reason: audit.ReasonGranted,
			done: []string{"decrypt a", "use k6-cloud", "use random", "read", "open a", "record"},
		},
		"by wildcard": {
			decrypters: []string{"k6-cloud"}, decrypt: some, named: some, probe: some, reason: audit.ReasonWildcard,
			done: []string{"decrypt a", "use k6-cloud", "use random", "record"},
		},
		"error": {
			decrypters: []string{"k6-cloud"}, decrypt: some, named: some, probeErr: broken, fails: true,
			done: []string{"decrypt a", "use k6-cloud", "use random"},
		},
		"no decrypter": {
			decrypters: []string{"k6-cloud"}, decrypt: some, named: none, reason: audit.ReasonNotListed,
			done: []string{"decrypt a", "use k6-cloud", "read", "record"},
		},
		"wildcard without decrypt": {
			decrypters: []string{"k6-cloud"}, decrypt: none, named: some, probe: some, reason: audit.ReasonNotAuthorized,
			done: []string{"decrypt a", "use k6-cloud", "record"},
		},
		"any decrypter, by name": {
			decrypters: []string{"*"}, decrypt: some, named: some, reason: audit.ReasonGranted,
			done: []string{"decrypt a", "use random", "read", "use k6-cloud", "use x", "open a", "record"},
		},
		"any decrypter, by wildcard": {
			decrypters: []string{"*"}, decrypt: some, named: some, probe: some, reason: audit.ReasonWildcard,
			done: []string{"decrypt a", "use random", "record"},
		},
		"any decrypter, error": {
			decrypters: []string{"*"}, decrypt: some, named: some, probeErr: broken, fails: true,
			done: []string{"decrypt a", "use random"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &steps{}
			service := newServiceWith(s, test.decrypters, func(q authorizer.Attributes) (authorizer.Decision, error) {
				switch {
				case q.GetVerb() == "decrypt":
					return test.decrypt, nil
				case isProbe(q):
					return test.probe, test.probeErr
				default:
					return test.named, nil
				}
			})
			answer, err := service.Decrypt(t.Context(), Request{User: anybody, Namespace: "ns", Names: []string{"a"}})
			if test.decrypters[0] == "*" && len(s.done) > 4 {
				slices.Sort(s.done[3:5]) // asked at the same time
			}
			if !slices.Equal(s.done, test.done) {
				t.Errorf("did %q, want %q", s.done, test.done)
			}
			if test.fails {
				if connect.CodeOf(err) != connect.CodeUnavailable {
					t.Errorf("want Unavailable, got %v", err)
				}
				return
			}
			if err != nil || s.records[0].Reason != test.reason {
				t.Fatalf("recorded %+v, %v", s.records, err)
			}
			refused := test.reason == audit.ReasonWildcard || test.reason == audit.ReasonNotAuthorized
			if got := answer.Results[0]; (got.outcome.message == textNotAuthorized) != refused || (got.Value != "") != (test.reason == audit.ReasonGranted) {
				t.Errorf("answered %q", got.outcome.message)
			}
		})
	}
}

// TestAnonymousMayDoNothing asks nobody about a caller that an authenticator calls anonymous.
func TestAnonymousMayDoNothing(t *testing.T) {
	s := &steps{}
	who := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	answer, err := newTestService(s).Decrypt(t.Context(), Request{User: who, Namespace: "ns", Names: []string{"a"}})
	if err != nil || answer.Results[0].outcome != notAuthorized || !slices.Equal(s.done, []string{"record"}) {
		t.Errorf("did %q, %v", s.done, err)
	}
}
