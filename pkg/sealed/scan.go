// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// A scan reads firstPage records, then pages of about pageBytes, at most maxPage records: etcd counts all remaining
// records for each page, so large pages are cheap, and values differ a hundredfold in size.
const (
	firstPage = 500
	maxPage   = 4000
	pageBytes = 4 << 20
)

// pageTimeout bounds the wait for one page, and for one request about retired keys.
const pageTimeout = 20 * time.Second

// ErrCompacted is returned if the revision of a scan was compacted before its end. Scan again.
var ErrCompacted = errors.New("the database was compacted during the scan: run it again")

// ErrNoEnvelope is returned for a record without a ciphertext that names its key.
var ErrNoEnvelope = errors.New("the record names no key")

// ErrKeyName is returned if the name of the key must not be shown: see KeyName.
var ErrKeyName = errors.New("the name of its key is not readable; if the key is in use, name the configuration " +
	"that has it")

// errUndecodable replaces the decoder's error, which may quote the object.
var errUndecodable = errors.New("the object in the record cannot be decoded")

// Scanned is what a scan reports about one record: neither its value nor its ciphertext.
type Scanned struct {
	// Namespace and Name are from the key in etcd, escaped if they are not printable.
	Namespace, Name string
	// Key names the key of the value, as status.key does; "" if the record has no envelope or the object is deleted.
	Key string
	// Sealing is set for the private half of a sealing key, which is not a value. Namespace is SealingKeyNamespace.
	Sealing bool
	// SealedTo is the id of the sealing key in spec.sealedValue; "" without one.
	SealedTo string
	// Deleted is set for an object that is deleted and waits for its finalizers: having no value is not a fault.
	Deleted bool
	// Revision is when the record was written. Unfenced is set if its writer does not know retired keys.
	Revision int64
	Unfenced bool
	// Created is metadata.creationTimestamp; zero if the object cannot be decoded.
	Created time.Time
	// Err reports why the record is not what this program writes. It never quotes it.
	Err error
}

// Scanner reads the stored records without opening them: it needs no encryption key.
type Scanner struct {
	client clientv3.KV
	codec  *Codec
	roots  [2]string // see Roots
}

// Roots returns the key prefixes of all that is sealed under etcdPrefix, the value of --etcd-prefix: the values, then
// the private halves of the sealing keys.
func Roots(etcdPrefix string) [2]string {
	return [2]string{RecordRoot(etcdPrefix), sealingRoot(etcdPrefix)}
}

// NewScanner returns a scanner of all that is sealed under etcdPrefix, the value of --etcd-prefix. codec decodes the
// object part of a record.
func NewScanner(client clientv3.KV, codec runtime.Codec, etcdPrefix string) *Scanner {
	return &Scanner{client: client, codec: NewCodec(codec), roots: Roots(etcdPrefix)}
}

// Naming returns a scanner that names keys by a configuration: see KeyName. names has the longest name first.
func (s *Scanner) Naming(names []string) *Scanner {
	named := *s
	named.codec = &Codec{object: s.codec.object, names: func() []string { return names }}
	return &named
}

// Scan calls visit for every record at a revision, and returns the number of objects; visit gets that total too. It
// returns ErrCompacted if the revision was compacted.
func (s *Scanner) Scan(ctx context.Context, revision int64, visit func(record Scanned, total int64)) (total int64,
	err error) {
	return s.each(ctx, revision, func(kv *mvccpb.KeyValue, total int64) bool {
		found := s.read(string(kv.Key), kv.Value)
		found.Revision = kv.ModRevision
		visit(found, total)
		return true
	})
}

// each calls visit for every record at a revision, until it returns false; 0 is the current one. It returns the number
// of objects.
func (s *Scanner) each(ctx context.Context, revision int64, visit func(record *mvccpb.KeyValue, total int64) bool) (
	total int64, err error) {
	for i, root := range s.roots {
		end, next, limit := clientv3.GetPrefixRangeEnd(root), root, int64(firstPage)
		for more := true; more; {
			page, err := s.page(ctx, next, end, limit, revision)
			if errors.Is(err, rpctypes.ErrCompacted) {
				return 0, ErrCompacted
			}
			if err != nil {
				return 0, fmt.Errorf("reading the stored records: %w", err)
			}
			if revision == 0 {
				revision = page.Header.Revision
			}
			if i == 0 && next == root {
				total = page.Count
			}
			size := int64(1)
			for _, record := range page.Kvs {
				size += int64(len(record.Value))
				if !visit(record, total) {
					return total, nil
				}
			}
			if more = page.More && len(page.Kvs) > 0; more {
				next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
				limit = min(maxPage, 1+pageBytes*int64(len(page.Kvs))/size)
			}
		}
	}
	return total, nil
}

func (s *Scanner) page(ctx context.Context, from, end string, limit, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	return s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(revision))
}

// read decodes a record. One whose object cannot be decoded still counts for its key.
func (s *Scanner) read(key string, record []byte) Scanned {
	if id, ok := strings.CutPrefix(key, s.roots[1]); ok {
		return s.readSealingKey(id, record)
	}
	var found Scanned
	found.Namespace, found.Name, _ = strings.Cut(escape(strings.TrimPrefix(key, s.roots[0])), "/")
	_, sealed, err := splitFrame(record)
	if err != nil {
		found.Err = err
		return found
	}
	found.Unfenced = isUnfenced(record)
	obj, _, err := s.codec.Decode(record, nil, nil)
	if err == nil {
		sv := obj.(*secret.SecureValue)
		found.Created = sv.CreationTimestamp.Time
		if sv.Namespace+"/"+sv.Name != strings.TrimPrefix(key, s.roots[0]) {
			err = ErrMisplaced
		} else {
			found.Deleted = sv.DeletionTimestamp != nil
			found.SealedTo = escape(secret.SealingKeyOf(sv.Spec.SealedValue))
		}
	}
	if found.Deleted {
		return found // a ciphertext that an older version of this program left is never opened
	}
	found.setKey(s.codec.keyName(sealed))
	if err != nil {
		found.Err = err
	}
	return found
}

// readSealingKey is read for the record of a sealing key.
func (s *Scanner) readSealingKey(id string, record []byte) Scanned {
	found := Scanned{Namespace: SealingKeyNamespace, Name: escape(id), Sealing: true}
	key, sealed, err := splitSealingKey(id, record)
	if err != nil {
		found.Err = err
		return found
	}
	found.Created = key.Created
	found.setKey(s.codec.keyName(sealed))
	return found
}

// setKey sets the name of the key, or the fault that there is none to show.
func (s *Scanned) setKey(name string) {
	switch s.Key = name; name {
	case "":
		s.Err = ErrNoEnvelope
	case secret.UnreadableKey:
		s.Err = ErrKeyName
	}
}

// escape returns a printable form of a key in etcd.
func escape(key string) string {
	if secret.IsPrintable(key) {
		return key
	}
	quoted := strconv.QuoteToASCII(key)
	return quoted[1 : len(quoted)-1]
}

// Verifier checks whether records open, for tools that must not see their values: it returns nothing of them.
type Verifier struct {
	scanner Scanner
	sealer  *Sealer
}

// NewVerifier returns a verifier of the records under etcdPrefix, the value of --etcd-prefix. codec decodes the object
// part of a record; transformer decrypts with keys.
func NewVerifier(codec runtime.Codec, etcdPrefix string, transformer value.Transformer, keys Keys) *Verifier {
	sealer := NewSealer(transformer, keys)
	return &Verifier{scanner: Scanner{codec: sealer.Codec(codec), roots: Roots(etcdPrefix)}, sealer: sealer}
}

// Read reads the record of a key in etcd without opening it.
func (v *Verifier) Read(key string, record []byte) Scanned { return v.scanner.read(key, record) }

// Verify reads and opens the record of a key in etcd. The returned Err is nil if it opens, or the object is deleted and
// has no value.
func (v *Verifier) Verify(ctx context.Context, key string, record []byte) Scanned {
	found := v.Read(key, record)
	if found.Err == nil && !found.Deleted {
		found.Err = v.open(ctx, key, record)
	}
	return found
}

func (v *Verifier) open(ctx context.Context, key string, record []byte) error {
	var err error
	if id, ok := strings.CutPrefix(key, v.scanner.roots[1]); ok {
		_, err = openSealingKey(ctx, v.sealer, id, record)
	} else {
		var obj runtime.Object
		if obj, _, err = v.scanner.codec.Decode(record, nil, nil); err != nil {
			return err
		}
		_, err = v.sealer.Open(ctx, obj.(*secret.SecureValue)) // the codec decodes nothing else
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrBound):
		return ErrBound
	default:
		return FaultOf(err)
	}
}
