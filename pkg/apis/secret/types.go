// SPDX-License-Identifier: Apache-2.0

package secret

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// Limits of the contract (secrets-management-http-api.md, "Create a secure value").
const (
	// MaxDescriptionLength is in characters, that is Unicode code points.
	MaxDescriptionLength = 25
	// MaxValueBytes is the size of a value in bytes of UTF-8.
	MaxValueBytes = 24576
	// MaxDecrypters is the length of spec.decrypters.
	MaxDecrypters = 64
)

// Annotations of the group. All but AnnotationValueRevision are set by the server alone.
const (
	// AnnotationCreatedBy names the authenticated user who created the object.
	AnnotationCreatedBy = "grafana.app/createdBy"
	// AnnotationUpdatedBy names the authenticated user of the last change.
	AnnotationUpdatedBy = "grafana.app/updatedBy"
	// AnnotationUpdatedTimestamp is the time of the last change, RFC 3339 in UTC.
	AnnotationUpdatedTimestamp = "grafana.app/updatedTimestamp"
	// AnnotationDecryptersChangedBy names the user who last added or removed a decrypter. Absent: as it was created.
	AnnotationDecryptersChangedBy = "secret.grafana.app/decryptersChangedBy"
	// AnnotationDecryptersAddedBy maps decrypters to the users who listed them, but for the creator. A JSON object.
	AnnotationDecryptersAddedBy = "secret.grafana.app/decryptersAddedBy"
	// AnnotationDecryptersKeptBy names users who wrote a value for the list since it last grew, latest last. A JSON array.
	AnnotationDecryptersKeptBy = "secret.grafana.app/decryptersKeptBy"
	// AnnotationValueRevision is free for GitOps tools, which cannot see a value change, to announce one.
	AnnotationValueRevision = "secret.grafana.app/value-revision"
)

// CauseDeleted is the cause in the Status of a 409 that refuses a new value for an object that is deleted and waits for its
// finalizers. Trying again does not help.
const CauseDeleted metav1.CauseType = "Deleted"

// CauseWriteKey is the cause in the Status of a rewrap that failed which names the key that the server seals with.
const CauseWriteKey metav1.CauseType = "WriteKey"

// KeeperSystem is the only keeper: the value is sealed in this server's own etcd.
const KeeperSystem = "system"

// FieldSelectorDecrypter is the field label that selects by membership in spec.decrypters.
const FieldSelectorDecrypter = "spec.decrypter"

// DecrypterSelectorPrefix starts the internal field keys, one for each decrypter of an object: upstream compares a
// field with one value, so membership becomes a key of its own whose value is "true".
const DecrypterSelectorPrefix = FieldSelectorDecrypter + ":"

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValue is a secret that can be written and never read back.
type SecureValue struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Spec   SecureValueSpec
	Status SecureValueStatus

	// Sealed is the ciphertext of Spec.Value with its envelope. It exists only between the framing codec and the
	// sealing store: above the store it is always nil.
	Sealed []byte
}

// SecureValueSpec is what a writer asks for.
type SecureValueSpec struct {
	// Description says what the value is for: 1 to MaxDescriptionLength characters.
	Description string
	// Value is write-only and nil on everything that was read. Nil on an update keeps the stored value.
	Value *sensitive.Value
	// Decrypters are the services that may open the value, in the writer's order, without duplicates.
	Decrypters []string
	// Keeper and Ref belong to the API that this one follows and are not served: validation refuses them, since leaving
	// them out silently would store something else than the writer asked for.
	Keeper string
	Ref    string
}

// SecureValueStatus is what the server says of the stored value.
type SecureValueStatus struct {
	// Version counts the values written, from 1.
	Version int64
	// Keeper names the backend that holds the value.
	Keeper string
	// Key names the key that sealed the value. Derived from the envelope on every read and never stored.
	Key string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValueList is a list of SecureValue.
type SecureValueList struct {
	metav1.TypeMeta
	metav1.ListMeta

	Items []SecureValue
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValueRewrap asks the server to seal a stored value anew under the key that it seals with now, and says what
// came of it. It can neither set nor show a value.
type SecureValueRewrap struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Status SecureValueRewrapStatus
}

// SecureValueRewrapStatus is the outcome of a rewrap.
type SecureValueRewrapStatus struct {
	// Key names the key that seals the value after the request.
	Key string
	// WriteKey names the key that the server seals with now.
	WriteKey string
	// Rewrapped is false when the value was under the write key already: then nothing was written.
	Rewrapped bool
}
