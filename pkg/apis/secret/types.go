// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// Limits of the contract (secrets-management-http-api.md, "Create a secure value").
const (
	// MaxDescriptionLength is in characters, that is Unicode code points.
	MaxDescriptionLength = 25
	// MaxValueBytes is the size of a value in bytes of UTF-8.
	MaxValueBytes = 24576
	// MaxDecrypters is the length of spec.decrypters.
	MaxDecrypters = 64
	// MaxSealedValueBytes is the length of spec.sealedValue.
	MaxSealedValueBytes = sealing.MaxTextBytes
)

// DefaultDecrypters returns the decrypters of the contract (secrets-management-http-api.md, "Decrypters"), the default
// of --allowed-decrypters.
func DefaultDecrypters() []string {
	return []string{"k6-cloud", "provisioning.grafana.app", "synthetic-monitoring"}
}

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
	// AnnotationDecryptersKeptBy names users who wrote a value for the list since it last grew, latest last. A JSON
	// array.
	AnnotationDecryptersKeptBy = "secret.grafana.app/decryptersKeptBy"
	// AnnotationSealedFrom is SealedFrom in the stored object. It is never served.
	AnnotationSealedFrom = "secret.grafana.app/sealedFrom"
	// AnnotationValueRevision is for GitOps tools, which cannot see that a value changed.
	AnnotationValueRevision = "secret.grafana.app/value-revision"
)

// CauseDeleted is the cause in the Status of a 409 that refuses a new value for an object that is deleted and waits for
// its finalizers. A retry does not help.
const CauseDeleted metav1.CauseType = "Deleted"

// CauseWriteKey is the cause in the Status of a failed rewrap that names the active write key.
const CauseWriteKey metav1.CauseType = "WriteKey"

// KeeperSystem is the only keeper: the value is sealed in this server's own etcd.
const KeeperSystem = "system"

// FieldSelectorDecrypter is the field label that selects by membership in spec.decrypters.
const FieldSelectorDecrypter = "spec.decrypter"

// DecrypterSelectorPrefix starts the internal field keys, one for each decrypter of an object: upstream compares a
// field with one value, so membership becomes a separate key whose value is "true".
const DecrypterSelectorPrefix = FieldSelectorDecrypter + ":"

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValue is a write-only secret.
type SecureValue struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Spec   SecureValueSpec
	Status SecureValueStatus

	// Sealed is the ciphertext of Spec.Value with its envelope. It exists only between the codec and the sealing store:
	// above the store it is always nil.
	Sealed []byte
	// SealedFrom is the SHA-256 of the spec.sealedValue that the stored value came from; nil for a plain one. It is
	// stored and not served: that text is not a new value, however a client brings it back.
	SealedFrom []byte
}

// SecureValueSpec is the desired state.
type SecureValueSpec struct {
	// Description says what the value is for: 1 to MaxDescriptionLength characters.
	Description string
	// Value is write-only and nil in objects that were read. Nil in an update keeps the stored value.
	Value *sensitive.Value
	// Decrypters are the services that may open the value, in the writer's order, without duplicates.
	Decrypters []string
	// Keeper and Ref belong to the API that this one follows and are not supported: validation refuses them, since
	// ignoring them would store something else than the writer asked for.
	Keeper string
	Ref    string
	// SealedValue is the value as a text of pkg/sealing, which is readable; "" for a value that came in Value.
	SealedValue string
}

// SecureValueStatus describes the stored value.
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

// SecureValueRewrap asks the server to re-encrypt a stored value under the active write key, and has the outcome. It
// can neither set nor show a value.
type SecureValueRewrap struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Status SecureValueRewrapStatus
}

// SecureValueRewrapStatus is the outcome of a rewrap.
type SecureValueRewrapStatus struct {
	// Key names the key that seals the value after the request.
	Key string
	// WriteKey names the active write key.
	WriteKey string
	// Rewrapped is false if the value was under the write key already: then nothing was written.
	Rewrapped bool
	// Servers are the running servers, only after a dry run.
	Servers []SecureValueServer
}

// SecureValueServer is a server as it announces itself.
type SecureValueServer struct {
	// Name is the name of the server; several may have the same.
	Name string
	// Version is the version of the program.
	Version string
	// WriteKey names the key with which the server seals; "" while a KMS is unavailable.
	WriteKey string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValueReseal moves a sealed value to the active sealing key, and has the outcome. It can neither set nor show a
// value.
type SecureValueReseal struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Spec   SecureValueResealSpec
	Status SecureValueResealStatus
}

// SecureValueResealSpec is the sealed value to move, and what it is bound to beside its name and namespace.
type SecureValueResealSpec struct {
	SealedValue string
	Decrypters  []string
}

// SecureValueResealStatus is the outcome of a reseal.
type SecureValueResealStatus struct {
	// SealedValue is the same value for the same object, sealed to the active key.
	SealedValue string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SealingKey is a public key to which values are sealed. Its name is the id of the key.
type SealingKey struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Spec   SealingKeySpec
	Status SealingKeyStatus
}

// SealingKeySpec is the public half of the key.
type SealingKeySpec struct {
	PublicKey []byte
	Suite     string
}

// SealingKeyStatus says what the key is for.
type SealingKeyStatus struct {
	// Active is set for the key to seal to. The others only open.
	Active bool
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SealingKeyList is a list of SealingKey.
type SealingKeyList struct {
	metav1.TypeMeta
	metav1.ListMeta

	Items []SealingKey
}

// MarshalJSON omits the value. The hub type is never sent: only loggers and error texts marshal it, and klog marshals
// every structure. An encoder used on the hub by mistake loses the value, and validation refuses it.
func (s SecureValueSpec) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Description string
		Decrypters  []string
	}{s.Description, s.Decrypters})
}

// SealingKeyOf returns the id of the sealing key in a spec.sealedValue; "" for "".
func SealingKeyOf(sealedValue string) string {
	_, rest, _ := strings.Cut(sealedValue, ":")
	id, _, _ := strings.Cut(rest, ":")
	return id
}

// UnreadableKey replaces a status.key that must not be shown: bytes from etcd may be anything, including a control
// sequence for a terminal. It cannot be confused with a name, which has a slash.
const UnreadableKey = "unreadable"

// KMSHashLength is the number of hexadecimal digits of a KMS key id's SHA-256 at the end of the name of its key.
const KMSHashLength = 8

// MaxKeyName is the longest name of a key, in bytes.
const MaxKeyName = 253

// IsKeyName reports whether name is [A-Za-z0-9._-]{1,253}, which is valid everywhere: the prefix of an envelope ends at
// a colon, status.key is split at slashes, and terminals, metrics and logs show it unescaped.
func IsKeyName(name string) bool {
	return name != "" && len(name) <= MaxKeyName && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) < 0
}

// IsPrintable reports whether text is safe to show in a terminal, a log line and a metric.
func IsPrintable(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// ShowKey returns a status.key, or UnreadableKey if it must not be shown.
func ShowKey(key string) string {
	if !IsPrintable(key) {
		return UnreadableKey
	}
	return key
}

// CoversKey reports whether a configured key (PROVIDER/NAME) is, or stands for, the key of a stored value: kms/NAME
// stands for all keys of that KMS, whose names end with a hash.
func CoversKey(configured, stored string) bool {
	hash, ok := strings.CutPrefix(stored, configured+"/")
	return configured == stored ||
		ok && strings.HasPrefix(configured, "kms/") && len(hash) == KMSHashLength && !strings.Contains(hash, "/")
}
