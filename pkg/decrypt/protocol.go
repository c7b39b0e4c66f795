// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	apimachineryvalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	apiaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// MaxNames is the maximum number of names per call: they are read in one etcd transaction.
const MaxNames = sealed.MaxOpen

// Request is a call of the service.
type Request struct {
	// User is the authenticated caller.
	User user.Info
	// Namespace and Names are the requested values. A name that comes twice counts once.
	Namespace string
	Names     []string
	// AuditID and Source go into the audit records: the id of the request and the address of the peer.
	AuditID, Source string
}

// normalise checks a request and drops repeated names. Its errors contain positions only: an invalid name may be
// anything, even a value pasted into the wrong field.
func (r *Request) normalise() error {
	if r.Namespace == "" {
		return errors.New("namespace is required")
	}
	if len(apimachineryvalidation.ValidateNamespaceName(r.Namespace, false)) > 0 {
		return errors.New("namespace must be a DNS-1123 label: up to 63 lower case letters, digits and '-'")
	}
	if len(r.Names) == 0 {
		return fmt.Errorf("names must have 1 to %d entries", MaxNames)
	}
	once := make([]string, 0, min(len(r.Names), MaxNames))
	seen := sets.New[string]()
	for i, name := range r.Names {
		if len(apimachineryvalidation.NameIsDNSSubdomain(name, false)) > 0 {
			field := "the name"
			if len(r.Names) > 1 {
				field = fmt.Sprintf("names[%d]", i)
			}
			return errors.New(field + " must be a DNS-1123 subdomain: up to 253 lower case letters, " +
				"digits, '-' and '.'")
		}
		if seen.Has(name) {
			continue
		}
		if len(once) == MaxNames {
			return fmt.Errorf("names has more than %d entries; use several calls", MaxNames)
		}
		seen.Insert(name)
		once = append(once, name)
	}
	r.Names = once
	return nil
}

// outcome is the result for one name: what the caller learns, and what the audit log records.
type outcome struct {
	// message is empty for a value that is released. Clients compare the first three texts below: they must not change.
	message string
	// code is that of a call for this name alone.
	code   connect.Code
	reason audit.Reason
}

const (
	textNotAuthorized = "not authorized"
	textNotFound      = "not found"
	textFailed        = "decryption failed"
	textUnavailable   = "unavailable"
)

// The outcomes.
var (
	released       = outcome{reason: audit.ReasonGranted}
	notAuthorized  = outcome{textNotAuthorized, connect.CodePermissionDenied, audit.ReasonNotAuthorized}
	wildcard       = outcome{textNotAuthorized, connect.CodePermissionDenied, audit.ReasonWildcard}
	absent         = outcome{textNotFound, connect.CodeNotFound, audit.ReasonAbsent}
	deleted        = outcome{textNotFound, connect.CodeNotFound, audit.ReasonDeleted}
	notListed      = outcome{textNotFound, connect.CodeNotFound, audit.ReasonNotListed}
	damaged        = outcome{textNotFound, connect.CodeNotFound, audit.ReasonOpenFailed}
	failed         = outcome{textFailed, connect.CodeInternal, audit.ReasonOpenFailed}
	keyUnavailable = outcome{textUnavailable, connect.CodeUnavailable, audit.ReasonOpenFailed}
)

// Answer has one Result for each name, in the order of the request.
type Answer struct {
	// Revision is the revision of etcd that was read; 0 when nothing was.
	Revision int64
	Results  []Result
}

// Result is a value, or why there is none.
type Result struct {
	Name string
	// Object is set only when the caller may have the value.
	Object *secret.SecureValue
	// Value is set when the outcome is released.
	Value sensitive.Value

	outcome   outcome
	decrypter string
	record    *sealed.Record
}

// settle sets the outcome of a name that was read. A caller that may not use a decrypter of the value learns nothing of
// it, not even that its record is damaged.
func (r *Result) settle(ctx context.Context, record *sealed.Record, uses sets.Set[string]) {
	r.record = record
	switch {
	case record.Err != nil:
		klog.ErrorS(record.Err, "A record of a secure value is invalid: it was changed",
			keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
		r.outcome = damaged
		return
	case record.Object == nil:
		r.outcome = absent
		return
	case record.Object.DeletionTimestamp != nil: // it waits for its finalizers, and its value is gone
		r.outcome = deleted
		return
	}
	at := slices.IndexFunc(record.Object.Spec.Decrypters, uses.Has)
	if at < 0 {
		r.outcome = notListed
		return
	}
	r.outcome, r.Object, r.decrypter = released, record.Object, record.Object.Spec.Decrypters[at]
}

// err is the error of a call for this name alone.
func (r *Result) err() error {
	if r.outcome == released {
		return nil
	}
	return connect.NewError(r.outcome.code, errors.New(r.outcome.message))
}

// count returns how many results have a message; that of released values is empty.
func (a *Answer) count(message string) int {
	n := 0
	for i := range a.Results {
		if a.Results[i].outcome.message == message {
			n++
		}
	}
	return n
}

// err is the error of a call that could have released values and released none because all their keys are unavailable:
// clients retry on it. When only some of the values are concerned, their results have the message.
func (a *Answer) err() error {
	if a.count(textUnavailable) == 0 || a.count(released.message)+a.count(textFailed) > 0 {
		return nil
	}
	return unavailable(textUnavailable + ": encryption key unavailable; retry later")
}

// records returns one audit record per name.
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
		Namespace: request.Namespace, Name: r.Name, Decrypter: r.decrypter,
		Decision: r.outcome.decision(), Reason: r.outcome.reason,
	}
	if r.record != nil {
		record.Revision = revision
		if object := r.record.Object; object != nil {
			record.UID, record.Version = string(object.UID), object.Status.Version
		}
	}
	return record
}

func (o outcome) decision() audit.Decision {
	if o == released {
		return audit.Allow
	}
	return audit.Deny
}
