// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// MaxOpen is the maximum number of names of one Read: etcd's default limit for a transaction.
const MaxOpen = 128

// Opener reads records as they are in etcd and opens those that its caller authorized. It uses an etcd client because
// storage.Interface cannot read several objects at one revision, and because nothing above the Store may see a
// ciphertext.
//
// Reading and opening are two steps, so that authorization happens in between: based on the record and before anything
// is decrypted.
type Opener struct {
	etcd   clientv3.KV
	root   string
	codec  runtime.Decoder
	sealer *Sealer
}

// NewOpener returns an Opener over the records that the etcd3 store keeps under prefix (--etcd-prefix).
func NewOpener(etcd clientv3.KV, prefix string, codec *Codec, sealer *Sealer) *Opener {
	return &Opener{etcd: etcd, codec: codec, sealer: sealer, root: RecordRoot(prefix)}
}

// RecordRoot returns the key prefix of all records; NAMESPACE/NAME follows. The etcd3 store builds it in the same way.
func RecordRoot(etcdPrefix string) string {
	return path.Join("/", etcdPrefix, secret.GroupName, secret.Resource) + "/"
}

// Reading is what one namespace held under some names at one revision.
type Reading struct {
	// Revision is the revision of etcd.
	Revision int64
	// Records has one entry for each requested name, in that order.
	Records []Record
}

// Record is the record of one name: absent (no object, no error), present, or unreadable (an error).
type Record struct {
	// Name is the requested name.
	Name string
	// Object is the stored object without its ciphertext, nil unless the record is present. One with a
	// deletionTimestamp has no value: Open returns ErrDeleted.
	Object *secret.SecureValue
	// Err reports why an existing record is unusable: it is not a frame, or belongs to another namespace or name.
	Err error

	sealed []byte
}

// Read reads the records of up to MaxOpen names of a namespace in one transaction. An error means that nothing was
// read.
func (o *Opener) Read(ctx context.Context, namespace string, names []string) (*Reading, error) {
	if len(names) == 0 || len(names) > MaxOpen {
		return nil, fmt.Errorf("reading %d records: want 1 to %d", len(names), MaxOpen)
	}
	gets := make([]clientv3.Op, len(names))
	for i, name := range names {
		if !isSegment(namespace) || !isSegment(name) {
			return nil, errors.New("reading a record: namespace and name must be single segments of a key")
		}
		gets[i] = clientv3.OpGet(o.root + namespace + "/" + name)
	}
	response, err := o.etcd.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, fmt.Errorf("reading %d records of namespace %s: %w", len(names), namespace, err)
	}
	if len(response.Responses) != len(names) {
		return nil,
			fmt.Errorf("reading %d records of namespace %s: etcd answered for %d", len(names), namespace,
				len(response.Responses))
	}
	reading := &Reading{Revision: response.Header.Revision, Records: make([]Record, len(names))}
	for i, name := range names {
		reading.Records[i] = Record{Name: name}
		if found := response.Responses[i].GetResponseRange(); found != nil && len(found.Kvs) == 1 {
			reading.Records[i].decode(o.codec, namespace, found.Kvs[0].Value)
		}
	}
	return reading, nil
}

// isSegment keeps a name inside the key prefix of its namespace.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// decode reads a frame. A record that names another object than its key does was copied there by a client with access
// to etcd: it would be authorized by the rules of this namespace and open with the AAD of the other, so it is refused.
func (r *Record) decode(codec runtime.Decoder, namespace string, frame []byte) {
	obj, _, err := codec.Decode(frame, nil, nil)
	if err != nil {
		r.Err = fmt.Errorf("decoding the record of %s/%s: %w", namespace, r.Name, err)
		return
	}
	object := obj.(*secret.SecureValue) // the codec decodes nothing else
	if object.Namespace != namespace || object.Name != r.Name {
		r.Err = fmt.Errorf("the record of %s/%s: %w", namespace, r.Name, ErrMisplaced)
		return
	}
	r.sealed, object.Sealed = object.Sealed, nil
	r.Object = object
}

// Open decrypts the value of a record that is present. It returns ErrDeleted for a deleted object; FaultOf classifies
// other errors.
func (o *Opener) Open(ctx context.Context, record *Record) (sensitive.Value, error) {
	if record.Object == nil {
		return "", errors.New("opening a record that is not there")
	}
	if record.Object.DeletionTimestamp != nil {
		return "", ErrDeleted
	}
	return o.sealer.Open(ctx, withSealed(record.Object, record.sealed))
}
