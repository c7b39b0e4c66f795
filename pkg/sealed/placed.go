// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ErrMisplaced is returned for a record that names another object than its key in etcd does: it was copied or moved.
var ErrMisplaced = errors.New("etcd holds the record of another object in its place")

// misplacedMark is the Sealed of an object that stands for a misplaced record. It is not an envelope, so it never
// opens.
const misplacedMark = "misplaced"

// placed is the transformer of the etcd3 store, the only layer that sees an object's key. It replaces a misplaced
// record by an object with the name from the key and misplacedMark, and nothing of the record: an error would fail
// whole lists and the watch cache.
type placed struct {
	root  string
	codec runtime.Codec
}

var _ value.Transformer = placed{}

// TransformToStorage implements value.Transformer.
func (placed) TransformToStorage(_ context.Context, record []byte, _ value.Context) ([]byte, error) {
	return record, nil
}

// TransformFromStorage implements value.Transformer. A record that it cannot read is left to the codec.
func (p placed) TransformFromStorage(_ context.Context, record []byte, key value.Context) ([]byte, bool, error) {
	object, _, err := splitFrame(record)
	if err != nil {
		return record, false, nil //nolint:nilerr // the codec refuses it
	}
	at := bytes.TrimPrefix(key.AuthenticatedData(), []byte(p.root))
	namespace, name, ok := scanNames(object)
	if !ok {
		obj, _, err := p.codec.Decode(record, nil, nil)
		if err != nil {
			return record, false, nil //nolint:nilerr // as above
		}
		sv := obj.(*secret.SecureValue) // the codec decodes nothing else
		namespace, name = []byte(sv.Namespace), []byte(sv.Name)
	}
	if len(at) == len(namespace)+1+len(name) && bytes.HasPrefix(at, namespace) && at[len(namespace)] == '/' &&
		bytes.HasSuffix(at, name) {
		return record, false, nil
	}
	place := &secret.SecureValue{Sealed: []byte(misplacedMark)}
	place.Namespace, place.Name, _ = strings.Cut(string(at), "/")
	record, err = runtime.Encode(p.codec, place)
	return record, false, err
}

// The fields on the way to the names in a stored object: runtime.Unknown.raw, SecureValue.metadata, and in ObjectMeta.
const (
	protobufMagic  = "k8s\x00"
	rawField       = 2
	metadataField  = 1
	nameField      = 1
	namespaceField = 3
)

// scanNames returns the names in a protobuf encoded object without decoding it. It fails for other encodings, and for
// messages with a repeated field, which decoders merge.
func scanNames(object []byte) (namespace, name []byte, ok bool) {
	object, ok = bytes.CutPrefix(object, []byte(protobufMagic))
	if !ok {
		return nil, nil, false
	}
	metadata := onlyField(onlyField(object, rawField), metadataField)
	namespace, name = onlyField(metadata, namespaceField), onlyField(metadata, nameField)
	return namespace, name, len(namespace) > 0 && len(name) > 0
}

// onlyField returns the bytes of a field that a message has once, else nil.
func onlyField(message []byte, field protowire.Number) []byte {
	var found []byte
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 || number == field && (kind != protowire.BytesType || found != nil) {
			return nil
		}
		if number == field {
			found, _ = protowire.ConsumeBytes(message)
		}
		message = message[size:]
	}
	return found
}

// checkPlaced returns an *OperationError for a misplaced record.
func checkPlaced(obj *secret.SecureValue) error {
	if !isMisplaced(obj) {
		return nil
	}
	return operationError(ReadingRecord, obj, ErrMisplaced)
}

func isMisplaced(obj *secret.SecureValue) bool { return string(obj.Sealed) == misplacedMark }

// deletes reports whether a request deletes. Only such a request sees misplaced records, by the names from their keys:
// deleting is how they are cleaned up.
func deletes(ctx context.Context) bool {
	info, ok := request.RequestInfoFrom(ctx)
	return ok && (info.Verb == "delete" || info.Verb == "deletecollection")
}

func logMisplaced(obj *secret.SecureValue) {
	klog.ErrorS(ErrMisplaced,
		"Omitted a secure value from a list or watch; restore its record from a backup, or delete it",
		"securevalue", klog.KObj(obj))
}

// readError replaces the etcd3 store's error about an unreadable record, which quotes the key in etcd.
func readError(key string, err error) error {
	var operation *OperationError
	if FaultOf(err) == nil || errors.As(err, &operation) {
		return err
	}
	cause := errUndecodable
	if errors.Is(err, ErrFrame) {
		cause = ErrFrame
	}
	return operationError(ReadingRecord, objectAt(key), cause)
}

// objectAt returns an object with the names in a key.
func objectAt(key string) *secret.SecureValue {
	obj := &secret.SecureValue{}
	segments := strings.Split(key, "/")
	if n := len(segments); n > 1 {
		obj.Namespace, obj.Name = segments[n-2], segments[n-1]
	}
	return obj
}

// listError is readError for a list: its text may reach callers of another namespace through the watch cache, so it has
// no names.
func listError(err error) error {
	if FaultOf(err) == nil && apierrors.ReasonForError(err) != metav1.StatusReasonStoreReadError {
		return err
	}
	klog.ErrorS(err, "A list failed: some records cannot be read")
	status := apierrors.NewInternalError(errors.New("a stored record was changed, or written by a newer version " +
		"of the server; ask the operator: secret-apiserver keys report names it"))
	status.ErrStatus.Reason = metav1.StatusReasonStoreReadError
	return status
}
