// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// A scan reads firstPage records, and then as many at once as have about pageBytes, at most maxPage: etcd counts all records
// that are left for each page, so large pages are cheap, and values differ a hundredfold in size.
const (
	firstPage = 500
	maxPage   = 4000
	pageBytes = 4 << 20
)

// pageTimeout bounds the wait for one page.
const pageTimeout = 20 * time.Second

// ErrCompacted says that the revision of a scan went away before its end. Scan again.
var ErrCompacted = errors.New("the database was compacted during the scan: run it again")

// ErrNoEnvelope says that a record holds no ciphertext that names its key.
var ErrNoEnvelope = errors.New("the record names no key")

// ErrKeyName says that the name of the key must not be shown: see KeyName.
var ErrKeyName = errors.New("the name of its key is not readable; if the key is in use, name the configuration that has it")

// errUndecodable stands for the decoder's own text, which may quote the object.
var errUndecodable = errors.New("the object in the record cannot be decoded")

// Scanned is what a scan tells of one record: neither its value nor its ciphertext.
type Scanned struct {
	// Namespace and Name are those of the record's place in etcd, escaped where they would upset a terminal.
	Namespace, Name string
	// Key names the key that seals the value, as status.key does; "" when the record does not say, or is of a deleted object.
	Key string
	// Deleted is set for an object that is deleted and waits for its finalizers: it has no value, which is not a fault.
	Deleted bool
	// Created is metadata.creationTimestamp; zero when the object cannot be decoded.
	Created time.Time
	// Err says why the record is not what this program writes. It quotes nothing of it.
	Err error
}

// Scanner reads what is stored without opening it: it needs no encryption key.
type Scanner struct {
	client clientv3.KV
	codec  *Codec
	prefix string
}

// NewScanner returns a scanner of all SecureValues under etcdPrefix, the value of --etcd-prefix. codec decodes the object
// part of a record.
func NewScanner(client clientv3.KV, codec runtime.Codec, etcdPrefix string) *Scanner {
	return &Scanner{client: client, codec: NewCodec(codec), prefix: RecordRoot(etcdPrefix)}
}

// Naming returns a scanner that names keys by a configuration: see KeyName. names has the longest first.
func (s *Scanner) Naming(names []string) *Scanner {
	named := *s
	named.codec = &Codec{object: s.codec.object, names: func() []string { return names }}
	return &named
}

// Scan calls visit for every record as of one revision, which it returns with the number of records. total is known from
// the first call on. It returns ErrCompacted when the revision went away.
func (s *Scanner) Scan(ctx context.Context, visit func(record Scanned, total int64)) (revision, total int64, err error) {
	return s.each(ctx, func(key string, record []byte, total int64) bool {
		visit(s.read(key, record), total)
		return true
	})
}

// each calls visit for every record as of one revision, until it returns false.
func (s *Scanner) each(ctx context.Context, visit func(key string, record []byte, total int64) bool) (revision, total int64, err error) {
	end := clientv3.GetPrefixRangeEnd(s.prefix)
	next, limit := s.prefix, int64(firstPage)
	for {
		page, err := s.page(ctx, next, end, limit, revision)
		if errors.Is(err, rpctypes.ErrCompacted) {
			return 0, 0, ErrCompacted
		}
		if err != nil {
			return 0, 0, fmt.Errorf("reading the stored records: %w", err)
		}
		if revision == 0 {
			revision, total = page.Header.Revision, page.Count
		}
		size := int64(1)
		for _, record := range page.Kvs {
			size += int64(len(record.Value))
			if !visit(string(record.Key), record.Value, total) {
				return revision, total, nil
			}
		}
		if !page.More || len(page.Kvs) == 0 {
			return revision, total, nil
		}
		next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		limit = min(maxPage, 1+pageBytes*int64(len(page.Kvs))/size)
	}
}

func (s *Scanner) page(ctx context.Context, from, end string, limit, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	return s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(revision))
}

// read takes a record apart. One whose object cannot be decoded still counts for its key.
func (s *Scanner) read(key string, record []byte) Scanned {
	var found Scanned
	found.Namespace, found.Name, _ = strings.Cut(escape(strings.TrimPrefix(key, s.prefix)), "/")
	_, sealed, err := splitFrame(record)
	if err != nil {
		found.Err = err
		return found
	}
	obj, _, err := s.codec.Decode(record, nil, nil)
	if err == nil {
		sv := obj.(*secret.SecureValue)
		found.Created = sv.CreationTimestamp.Time
		if sv.Namespace+"/"+sv.Name != strings.TrimPrefix(key, s.prefix) {
			err = ErrMisplaced
		} else {
			found.Deleted = sv.DeletionTimestamp != nil
		}
	}
	if found.Deleted {
		return found // its ciphertext, if an older version of this program left one, is never opened again
	}
	switch found.Key = s.codec.keyName(sealed); found.Key {
	case "":
		found.Err = ErrNoEnvelope
	case secret.UnreadableKey:
		found.Err = ErrKeyName
	}
	if err != nil {
		found.Err = err
	}
	return found
}

// escape returns a key of etcd as it may be printed.
func escape(key string) string {
	if secret.IsPrintable(key) {
		return key
	}
	quoted := strconv.QuoteToASCII(key)
	return quoted[1 : len(quoted)-1]
}
