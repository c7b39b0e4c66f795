// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
)

// Outcome is what a caller is told about a name.
type Outcome int

// The outcomes.
const (
	// NotAuthorized: the caller may not decrypt this name in this namespace, or holds a wildcard.
	NotAuthorized Outcome = iota
	// NotFound: there is no such value, or the caller may use none of its decrypters.
	NotFound
	// Released: here is the value.
	Released
	// Failed: the stored value was changed and does not open.
	Failed
	// KeyUnavailable: the key of the value is out of reach.
	KeyUnavailable
)

// Message is the text of an outcome without a value. Clients decide by the first three of them, so they do not change.
func (o Outcome) Message() string {
	switch o {
	case NotAuthorized:
		return "not authorized"
	case NotFound:
		return "not found"
	case Failed:
		return "decryption failed"
	case KeyUnavailable:
		return "unavailable"
	default:
		return ""
	}
}

// notFoundPace is the grid on which an answer with a "not found" in it leaves: the time it takes to read and decode a
// value that the caller may not see is rounded away. A service asks for names that exist, so it does not wait.
const notFoundPace = 5 * time.Millisecond

// keepPace waits for the grid if a name was looked up and not found.
func (s *Service) keepPace(ctx context.Context, started time.Time, answer *Answer) error {
	if s.pace <= 0 || !answer.looksUp(NotFound) {
		return nil
	}
	timer := time.NewTimer(s.pace - time.Since(started)%s.pace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		if left := callerLeft(ctx); left != nil {
			return left
		}
		return unavailable(errRequestTimeout.Error())
	case <-timer.C:
		return nil
	}
}

func (a *Answer) looksUp(outcome Outcome) bool {
	for i := range a.Results {
		if a.Results[i].Outcome == outcome {
			return true
		}
	}
	return false
}

// records is what the audit log keeps of an answer: one record for each name.
func (a *Answer) records(r *Request) []audit.Record {
	records := make([]audit.Record, len(a.Results))
	for i := range a.Results {
		records[i] = a.Results[i].auditRecord(r, a.Revision)
	}
	return records
}

func (r *Result) auditRecord(request *Request, revision int64) audit.Record {
	record := audit.Record{
		AuditID: request.AuditID, User: request.User.GetName(), UserUID: request.User.GetUID(), Source: request.Source,
		Namespace: request.Namespace, Name: r.Name, Decrypter: r.decrypter, Decision: audit.Deny, Reason: r.reason,
	}
	if r.reason == audit.ReasonGranted {
		record.Decision = audit.Allow
	}
	if r.record != nil {
		record.Revision = revision
		if object := r.record.Object; object != nil {
			record.UID, record.Version = string(object.UID), object.Status.Version
		}
	}
	return record
}
