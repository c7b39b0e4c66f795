// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"time"
)

// Recorder is what the decrypt service needs of a Log.
type Recorder interface {
	// Record returns nil once every record is in the log, as durable as Config.Fsync requires, all of them or none.
	// After any error nothing may be released for these records. A denied record over the limit of its caller is
	// counted and summarized later instead of written. A caller that cancels ctx gets its error; the records may still
	// be written.
	Record(ctx context.Context, records ...Record) error
}

// Decision is the result for one name of a request.
type Decision string

// The decisions.
const (
	// Allow: the value is about to be released.
	Allow Decision = "allow"
	// Deny: nothing is released.
	Deny Decision = "deny"
)

// Reason explains a decision. The log distinguishes more cases than the answer to the caller.
type Reason string

// The reasons.
const (
	// ReasonGranted goes with Allow, every other one with Deny.
	ReasonGranted Reason = "granted"
	// ReasonNotAuthorized: no permission to decrypt this name in this namespace; nothing was read.
	ReasonNotAuthorized Reason = "not-authorized"
	// ReasonWildcard: the caller may use every decrypter, by a wildcard; nothing was read.
	ReasonWildcard Reason = "wildcard"
	// ReasonAbsent: the secure value does not exist.
	ReasonAbsent Reason = "absent"
	// ReasonDeleted: the secure value is deleted and waits for its finalizers.
	ReasonDeleted Reason = "deleted"
	// ReasonNotListed: the secure value lists no decrypter that the caller may use.
	ReasonNotListed Reason = "not-listed"
	// ReasonOpenFailed: the stored value did not open: key unavailable, or changed in the database.
	ReasonOpenFailed Reason = "open-failed"
)

// Record is the log entry for one name in one request. It has no field for a value, and none for groups: they are the
// same for all names of a request and part of the audit event with the same AuditID.
type Record struct {
	// Time is set by the log when it is zero.
	Time time.Time `json:"time"`
	// AuditID is shared by all records of a request and by its event in the ordinary audit log.
	AuditID string `json:"auditID,omitempty"`
	// User and UserUID are the authenticated caller.
	User    string `json:"user"`
	UserUID string `json:"userUID,omitempty"`
	// Source is the peer address of the connection. Headers are not trusted for it.
	Source string `json:"source,omitempty"`
	// Namespace and Name are the requested secure value.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID and Version identify the object and its value; empty when none was read.
	UID     string `json:"uid,omitempty"`
	Version int64  `json:"version,omitempty"`
	// Revision is the revision of etcd that was read.
	Revision int64 `json:"revision,omitempty"`
	// Decrypter is the entry of spec.decrypters that gave the caller access.
	Decrypter string   `json:"decrypter,omitempty"`
	Decision  Decision `json:"decision"`
	Reason    Reason   `json:"reason"`
	// Watch makes this the record of a stream of changes, which releases no value: Name lists the names, separated by
	// commas.
	Watch bool `json:"-"`
}

// maxField bounds each text of a record in bytes, so that callers cannot choose the size of a line.
const maxField = 1024

// check refuses contradictory records: a bug of the program, not a mistake of a caller.
func (r *Record) check() error {
	switch {
	case r.Decision != Allow && r.Decision != Deny:
		return fmt.Errorf("decrypt audit record of %s/%s: unknown decision %q", r.Namespace, r.Name, r.Decision)
	case r.Reason == "" || (r.Decision == Allow) != (r.Reason == ReasonGranted):
		return fmt.Errorf("decrypt audit record of %s/%s: reason %q does not go with decision %q",
			r.Namespace, r.Name, r.Reason, r.Decision)
	}
	return nil
}

// bounded returns r with every text cut to maxField and a note about the cut.
func (r Record) bounded() Record {
	for _, field := range []*string{
		&r.AuditID, &r.User, &r.UserUID, &r.Source, &r.Namespace, &r.Name, &r.UID, &r.Decrypter,
	} {
		if len(*field) > maxField {
			*field = fmt.Sprintf("%s… (cut, %d bytes)", (*field)[:maxField], len(*field))
		}
	}
	return r
}
