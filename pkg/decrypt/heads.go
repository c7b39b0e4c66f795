// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

// HeadStore publishes the head of one instance's audit log in etcd. It is not in package audit because the kubectl
// plugin verifies logs without a client of etcd.
type HeadStore struct {
	kv  clientv3.KV
	key string
}

var _ audit.HeadStore = (*HeadStore)(nil)

// HeadKey returns the etcd key of an instance's head, under the prefix of --etcd-prefix.
func HeadKey(prefix, instance string) string {
	return strings.TrimSuffix(prefix, "/") + "/decrypt-audit-heads/" + url.PathEscape(instance)
}

// NewHeadStore returns the store of the head at key.
func NewHeadStore(kv clientv3.KV, key string) *HeadStore { return &HeadStore{kv: kv, key: key} }

// publishedHead is the value of the key. Head is in the form that `audit verify --head` takes.
type publishedHead struct {
	Head string    `json:"head"`
	Time time.Time `json:"time"`
}

// Load implements audit.HeadStore.
func (s *HeadStore) Load(ctx context.Context) (audit.Head, bool, error) {
	head, revision, err := s.load(ctx)
	return head, revision > 0, err
}

// load returns the head and the revision of the key, 0 when there is none.
func (s *HeadStore) load(ctx context.Context) (audit.Head, int64, error) {
	got, err := s.kv.Get(ctx, s.key)
	if err != nil {
		return audit.Head{}, 0, fmt.Errorf("reading %s from etcd: %w", s.key, err)
	}
	if len(got.Kvs) == 0 {
		return audit.Head{}, 0, nil
	}
	var value publishedHead
	if err := json.Unmarshal(got.Kvs[0].Value, &value); err != nil {
		return audit.Head{}, 0, fmt.Errorf("%s in etcd is not a published head: %w", s.key, err)
	}
	head, err := audit.ParseHead(value.Head)
	if err != nil {
		return audit.Head{}, 0, fmt.Errorf("%s in etcd: %w", s.key, err)
	}
	return head, got.Kvs[0].ModRevision, nil
}

// Advance implements audit.HeadStore.
func (s *HeadStore) Advance(ctx context.Context, head audit.Head, earlier func(audit.Head) (bool, error)) error {
	published, revision, err := s.load(ctx)
	switch {
	case err != nil:
		return err
	case revision > 0 && published == head:
		return nil
	case revision > 0:
		ok := published.Sequence < head.Sequence
		if ok {
			ok, err = earlier(published)
		}
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s in etcd has %s: %w", s.key, published, audit.ErrHeadBehind)
		}
	}
	value, err := json.Marshal(publishedHead{Head: head.String(), Time: time.Now().UTC()})
	if err != nil {
		return err
	}
	ctx = etcd.Reserved(ctx) // values are released while the disk has no room for others
	unchanged := clientv3.Compare(clientv3.ModRevision(s.key), "=", revision)
	done, err := s.kv.Txn(ctx).If(unchanged).Then(clientv3.OpPut(s.key, string(value))).Commit()
	if err != nil {
		return fmt.Errorf("writing %s to etcd: %w", s.key, err)
	}
	if !done.Succeeded {
		return fmt.Errorf("%s in etcd was changed by another writer: %w", s.key, audit.ErrHeadBehind)
	}
	return nil
}
