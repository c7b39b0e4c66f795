// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// +genclient
// +genclient:method=CreateRewrap,verb=create,subresource=rewrap,input=SecureValueRewrap,result=SecureValueRewrap
// +genclient:method=CreateReseal,verb=create,subresource=reseal,input=SecureValueReseal,result=SecureValueReseal
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValue is a secret that can be written and never read back through this API. Only the services named in
// spec.decrypters may open it, over a separate, audited port.
type SecureValue struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. Set name, or a non-empty generateName.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what to store and who may open it.
	Spec SecureValueSpec `json:"spec" protobuf:"bytes,2,opt,name=spec"`

	// status is set by the server and ignored on input.
	// +optional
	Status SecureValueStatus `json:"status" protobuf:"bytes,3,opt,name=status"`
}

// SecureValueSpec describes a secure value.
type SecureValueSpec struct {
	// description is a short text that explains the purpose of this secure value. Required, 1 to 25 characters.
	// +k8s:validation:minLength=1
	// +k8s:validation:maxLength=25
	Description string `json:"description" protobuf:"bytes,1,opt,name=description"`

	// value is the secret to store: 1 to 24576 bytes of UTF-8. Write-only: no response ever holds it. Required on
	// create. On an update that carries a resourceVersion, and on every patch, leaving it out keeps the stored value.
	// The limit counts bytes, while the maxLength of this schema counts characters: a text of fewer characters may still
	// be too long.
	// +optional
	// +k8s:validation:minLength=1
	// +k8s:validation:maxLength=24576
	Value *sensitive.Value `json:"value,omitempty" protobuf:"bytes,2,opt,name=value,casttype=github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive.Value"`

	// decrypters lists the services that may open the value: at most 64, unique, each a label value of 1 to 63 characters
	// that the server's --allowed-decrypters allows. Adding one to a stored value needs a new value in the same request.
	// +optional
	// +listType=atomic
	// +k8s:validation:maxItems=64
	// +k8s:validation:items:minLength=1
	// +k8s:validation:items:maxLength=63
	// +k8s:validation:items:pattern="^([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9]$"
	Decrypters []string `json:"decrypters,omitempty" protobuf:"bytes,3,rep,name=decrypters"`

	// keeper must be left out: this server has no keeper but its own, "system", which holds every value. A request that
	// sets it is refused.
	// +optional
	Keeper string `json:"keeper,omitempty" protobuf:"bytes,4,opt,name=keeper"`

	// ref must be left out: a reference to a value elsewhere needs a keeper other than "system". A request that sets it
	// is refused.
	// +optional
	Ref string `json:"ref,omitempty" protobuf:"bytes,5,opt,name=ref"`

	// sealedValue is the value encrypted to a key of this server, for exactly this namespace, name and list of
	// decrypters: "sv1:KEY:EXPIRY:TEXT", at most 40960 characters, as `kubectl securevalue seal` makes it. It is no
	// secret: it may stand in Git, and reads return it. A changed one is a new value; the one that the stored value came
	// from is not. It must not be set together with a value. Writing a value removes it.
	// +optional
	// +k8s:validation:maxLength=40960
	SealedValue string `json:"sealedValue,omitempty" protobuf:"bytes,6,opt,name=sealedValue"`
}

// SecureValueStatus is what the server says of the stored value.
type SecureValueStatus struct {
	// version counts the values that were written, from 1. It rises by one with each new value, even an equal one.
	// +optional
	Version int64 `json:"version,omitempty" protobuf:"varint,1,opt,name=version"`

	// keeper names the backend that holds the value. Always "system".
	// +optional
	Keeper string `json:"keeper,omitempty" protobuf:"bytes,2,opt,name=keeper"`

	// key names the key under which the value is sealed, as PROVIDER/NAME; never the key itself.
	// +optional
	Key string `json:"key,omitempty" protobuf:"bytes,3,opt,name=key"`

	// externalID is accepted for clients that send it, and never returned.
	// +optional
	ExternalID string `json:"externalID,omitempty" protobuf:"bytes,4,opt,name=externalID"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValueList is a list of SecureValue.
type SecureValueList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the secure values, each with its apiVersion and kind, none with its value.
	Items []SecureValue `json:"items" protobuf:"bytes,2,rep,name=items"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValueRewrap is posted to securevalues/NAME/rewrap: the server seals the stored value anew under the key that it
// seals with now. The value, spec, labels, generation and status.version stay as they are. It can neither set nor show
// a value.
type SecureValueRewrap struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the secure value. It may be left out of a request: the address names it.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// status is set by the server and ignored on input.
	// +optional
	Status SecureValueRewrapStatus `json:"status" protobuf:"bytes,2,opt,name=status"`
}

// SecureValueRewrapStatus says what came of a rewrap.
type SecureValueRewrapStatus struct {
	// key names the key that seals the value after the request, as PROVIDER/NAME.
	// +optional
	Key string `json:"key,omitempty" protobuf:"bytes,1,opt,name=key"`

	// writeKey names the key that the server seals with now. A value whose status.key differs is stale.
	// +optional
	WriteKey string `json:"writeKey,omitempty" protobuf:"bytes,2,opt,name=writeKey"`

	// rewrapped is false when the value was under the write key already: then nothing was written.
	// +optional
	Rewrapped bool `json:"rewrapped,omitempty" protobuf:"varint,3,opt,name=rewrapped"`

	// servers are the running servers, only after a dry run. It is information: a server that is paused is not among
	// them and may write again later.
	// +optional
	// +listType=atomic
	Servers []SecureValueServer `json:"servers,omitempty" protobuf:"bytes,4,rep,name=servers"`
}

// SecureValueServer is a server as it announces itself to the others.
type SecureValueServer struct {
	// name is the name of the server; several may have the same.
	Name string `json:"name" protobuf:"bytes,1,opt,name=name"`

	// version is the version of its program.
	// +optional
	Version string `json:"version,omitempty" protobuf:"bytes,2,opt,name=version"`

	// writeKey names the key that it seals with now; left out while a KMS is unavailable.
	// +optional
	WriteKey string `json:"writeKey,omitempty" protobuf:"bytes,3,opt,name=writeKey"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecureValueReseal is posted to securevalues/NAME/reseal: the server seals the value in a sealedValue to its active
// key, for the same object, decrypters and expiry. The secure value need not exist. A text that expired is refused.
type SecureValueReseal struct {
	metav1.TypeMeta `json:",inline"`
	// metadata names the secure value. It may be left out of a request: the address names it.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is the text to seal again.
	Spec SecureValueResealSpec `json:"spec" protobuf:"bytes,2,opt,name=spec"`

	// status is set by the server and ignored on input.
	// +optional
	Status SecureValueResealStatus `json:"status" protobuf:"bytes,3,opt,name=status"`
}

// SecureValueResealSpec is a sealed value with the decrypters that it is bound to.
type SecureValueResealSpec struct {
	// sealedValue is the text to seal again.
	// +k8s:validation:maxLength=40960
	SealedValue string `json:"sealedValue" protobuf:"bytes,1,opt,name=sealedValue"`

	// decrypters are those that it was sealed for, in any order.
	// +optional
	// +listType=atomic
	// +k8s:validation:maxItems=64
	Decrypters []string `json:"decrypters,omitempty" protobuf:"bytes,2,rep,name=decrypters"`
}

// SecureValueResealStatus says what came of a reseal.
type SecureValueResealStatus struct {
	// sealedValue is the same value for the same object, decrypters and expiry, sealed to the active key.
	// +optional
	SealedValue string `json:"sealedValue,omitempty" protobuf:"bytes,1,opt,name=sealedValue"`
}

// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SealingKey is a public key of this server, to which `kubectl securevalue seal` encrypts. Its name is the id of the
// key: the first 16 hexadecimal digits of the SHA-256 of spec.publicKey. The server makes, replaces and keeps the keys;
// the private halves are never served.
type SealingKey struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is the public half of the key.
	Spec SealingKeySpec `json:"spec" protobuf:"bytes,2,opt,name=spec"`

	// status says what the key is for.
	// +optional
	Status SealingKeyStatus `json:"status" protobuf:"bytes,3,opt,name=status"`
}

// SealingKeySpec is the public half of a sealing key.
type SealingKeySpec struct {
	// publicKey is the public key, as its suite encodes it.
	PublicKey []byte `json:"publicKey" protobuf:"bytes,1,opt,name=publicKey"`

	// suite names the encryption: "sv1" is HPKE (RFC 9180) with MLKEM768X25519, HKDF-SHA256 and AES-256-GCM.
	Suite string `json:"suite" protobuf:"bytes,2,opt,name=suite"`
}

// SealingKeyStatus says what a sealing key is for.
type SealingKeyStatus struct {
	// active is true for the one key to seal to. The others only open what was sealed to them.
	// +optional
	Active bool `json:"active,omitempty" protobuf:"varint,1,opt,name=active"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SealingKeyList is a list of SealingKey.
type SealingKeyList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the sealing keys, the active one first.
	Items []SealingKey `json:"items" protobuf:"bytes,2,rep,name=items"`
}
