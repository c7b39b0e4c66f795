// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"time"
)

// Recorder takes records. It is what the decrypt service needs of a Log.
type Recorder interface {
	// Record returns nil once every record is in the log, as durable as Config.Fsync asks, all of them or none. Any
	// error means that nothing may be released on the strength of these records. A denied record over the limit of its
	// caller is counted and summed up later instead of written. A caller who leaves early (ctx) gets the error of ctx;
	// the records may still be written then.
	Record(ctx context.Context, records ...Record) error
}

// Decision says what came of a request for one name.
type Decision string

// The decisions.
const (
	// Allow: the value is about to be released.
	Allow Decision = "allow"
	// Deny: nothing is released.
	Deny Decision = "deny"
)

// Reason says why. The log tells apart what the answer to the caller does not.
type Reason string

// The reasons.
const (
	// ReasonGranted goes with Allow, every other one with Deny.
	ReasonGranted Reason = "granted"
	// ReasonNotAuthorized: no right to decrypt this name in this namespace; nothing was looked up.
	ReasonNotAuthorized Reason = "not-authorized"
	// ReasonWildcard: the caller may use every decrypter, by a wildcard; nothing was looked up.
	ReasonWildcard Reason = "wildcard"
	// ReasonAbsent: there is no such secure value.
	ReasonAbsent Reason = "absent"
	// ReasonDeleted: the secure value is deleted and waits for its finalizers.
	ReasonDeleted Reason = "deleted"
	// ReasonNotListed: the secure value lists no decrypter that the caller may use.
	ReasonNotListed Reason = "not-listed"
	// ReasonOpenFailed: the stored value did not open: key out of reach, or changed in the database.
	ReasonOpenFailed Reason = "open-failed"
)

// Record is what the log keeps of one name in one request. It has no field for a value, and no groups: they are the
// same for all names of a request and stand in the audit event that AuditID leads to.
type Record struct {
	// Time is set by the log when it is zero.
	Time time.Time `json:"time"`
	// AuditID is shared by all records of a request and by its event in the ordinary audit log.
	AuditID string `json:"auditID,omitempty"`
	// User and UserUID are the authenticated caller.
	User    string `json:"user"`
	UserUID string `json:"userUID,omitempty"`
	// Source is the address of the peer of the connection. No header is believed.
	Source string `json:"source,omitempty"`
	// Namespace and Name are what was asked for.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID and Version tell which object and which of its values; empty when none was read.
	UID     string `json:"uid,omitempty"`
	Version int64  `json:"version,omitempty"`
	// Revision is the revision of etcd that was read.
	Revision int64 `json:"revision,omitempty"`
	// Decrypter is the entry of spec.decrypters that let the caller in.
	Decrypter string `json:"decrypter,omitempty"`
	// Decision and Reason are what came of it.
	Decision Decision `json:"decision"`
	Reason   Reason   `json:"reason"`
}

// maxField bounds each text of a record in bytes, so that no caller decides how large a line is.
const maxField = 1024

// check refuses records that would not say what happened: a fault of the program, not of a caller.
func (r *Record) check() error {
	switch {
	case r.Decision != Allow && r.Decision != Deny:
		return fmt.Errorf("decrypt audit record of %s/%s: unknown decision %q", r.Namespace, r.Name, r.Decision)
	case r.Reason == "" || (r.Decision == Allow) != (r.Reason == ReasonGranted):
		return fmt.Errorf("decrypt audit record of %s/%s: reason %q does not go with decision %q", r.Namespace, r.Name, r.Reason, r.Decision)
	}
	return nil
}

// bounded returns r with every text cut to maxField, and says in the text that it was cut.
func (r Record) bounded() Record {
	for _, field := range []*string{&r.AuditID, &r.User, &r.UserUID, &r.Source, &r.Namespace, &r.Name, &r.UID, &r.Decrypter} {
		if len(*field) > maxField {
			*field = fmt.Sprintf("%s… (cut, %d bytes)", (*field)[:maxField], len(*field))
		}
	}
	return r
}
