// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/storage/sealed"
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
}

func (s *steps) Read(_ context.Context, _ string, names []string) (*sealed.Reading, error) {
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
	a := &asked{answer: func(q authorizer.Attributes) (authorizer.Decision, error) {
		s.done = append(s.done, "ask")
		if s.askErr != nil {
			return authorizer.DecisionNoOpinion, s.askErr
		}
		if q.GetName() == "secret" {
			return authorizer.DecisionNoOpinion, nil
		}
		return authorizer.DecisionAllow, nil
	}}
	return NewService(ServiceConfig{Reader: s, Authorizer: a.authorizer(), Recorder: s, AllowedDecrypters: []string{"k6-cloud"}})
}

func TestDecrypt(t *testing.T) {
	s := &steps{openErr: map[string]error{"changed": sealed.ErrBound, "locked": sealed.ErrKeyUnavailable}}
	names := []string{"a", "secret", "absent", "foreign", "damaged", "changed", "locked", "a"}
	answer, err := newTestService(s).Decrypt(t.Context(), Request{User: anybody, Namespace: "ns", Names: names, AuditID: "id", Source: "addr"})
	if err != nil || answer.Revision != 7 || len(answer.Results) != 7 {
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
		"locked":  {"unavailable", audit.Deny, audit.ReasonOpenFailed},
	}
	for i, r := range answer.Results {
		w, record := want[r.Name], s.records[i]
		if r.Outcome.Message() != w.message || (r.Value != "") != (w.message == "") {
			t.Errorf("%s: %q", r.Name, r.Outcome.Message())
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
	if slices.Contains(s.done[last:], "ask") {
		t.Errorf("a right was asked for after the read: %v", s.done)
	}
	if slices.Contains(s.done, "open foreign") || s.done[len(s.done)-1] != "record" {
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
			if connect.CodeOf(err) != test.want || answer != nil && answer.looksUp(Released) {
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
		if answer != nil && answer.looksUp(Released) {
			t.Errorf("%s: a value came beside the error", name)
		}
	}
}
