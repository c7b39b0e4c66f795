// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

// Store is the head of one instance.
type Store struct {
	kv  clientv3.KV
	key string
}

var _ HeadStore = (*Store)(nil)

// Key is where the head of an instance is, under the prefix of --etcd-prefix.
func Key(prefix, instance string) string {
	return strings.TrimSuffix(prefix, "/") + "/decrypt-audit-heads/" + url.PathEscape(instance)
}

// New returns the store of the head at key.
func New(kv clientv3.KV, key string) *Store { return &Store{kv: kv, key: key} }

// stored is the value of the key. Head is in the form that `audit verify --head` takes.
type stored struct {
	Head string    `json:"head"`
	Time time.Time `json:"time"`
}

// Load implements audit.HeadStore.
func (s *Store) Load(ctx context.Context) (Head, bool, error) {
	head, revision, err := s.load(ctx)
	return head, revision > 0, err
}

// load returns the head and the revision of the key, 0 when there is none.
func (s *Store) load(ctx context.Context) (Head, int64, error) {
	got, err := s.kv.Get(ctx, s.key)
	if err != nil {
		return Head{}, 0, fmt.Errorf("reading %s from etcd: %w", s.key, err)
	}
	if len(got.Kvs) == 0 {
		return Head{}, 0, nil
	}
	var value stored
	if err := json.Unmarshal(got.Kvs[0].Value, &value); err != nil {
		return Head{}, 0, fmt.Errorf("%s in etcd is no published head: %w", s.key, err)
	}
	head, err := ParseHead(value.Head)
	if err != nil {
		return Head{}, 0, fmt.Errorf("%s in etcd: %w", s.key, err)
	}
	return head, got.Kvs[0].ModRevision, nil
}

// Advance implements audit.HeadStore.
func (s *Store) Advance(ctx context.Context, head Head) error {
	published, revision, err := s.load(ctx)
	switch {
	case err != nil:
		return err
	case revision > 0 && published == head:
		return nil
	case revision > 0 && published.Sequence >= head.Sequence:
		return fmt.Errorf("%s in etcd has %s: %w", s.key, published, ErrHeadBehind)
	}
	value, err := json.Marshal(stored{Head: head.String(), Time: time.Now().UTC()})
	if err != nil {
		return err
	}
	done, err := s.kv.Txn(etcd.Reserved(ctx)). // values are released while the disk has no room for others
							If(clientv3.Compare(clientv3.ModRevision(s.key), "=", revision)).
							Then(clientv3.OpPut(s.key, string(value))).
							Commit()
	if err != nil {
		return fmt.Errorf("writing %s to etcd: %w", s.key, err)
	}
	if !done.Succeeded {
		return fmt.Errorf("%s in etcd was written by somebody else: %w", s.key, ErrHeadBehind)
	}
	return nil
}
