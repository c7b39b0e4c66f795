// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

// RetiredKeys are the keys that no server may seal under any more, at one revision of etcd.
type RetiredKeys struct {
	// Revision is that revision.
	Revision int64
	// Keys is sorted by key.
	Keys []RetiredKeyRecord
}

// RetiredKeyRecord is the record that retires a key.
type RetiredKeyRecord struct {
	// Key is PROVIDER/NAME, or kms/NAME/HASH.
	Key string `json:"key"`
	// Revision is that of the record: no later revision holds a value that was sealed under the key after it.
	Revision int64 `json:"revision"`
	// Time is when an operator retired the key, by the clock of the operator.
	Time time.Time `json:"time"`
}

// retirement is the value of the record in etcd.
type retirement struct {
	Time time.Time `json:"time"`
}

// ListRetired reads all records at the current revision. etcdPrefix is the value of --etcd-prefix.
func ListRetired(ctx context.Context, kv clientv3.KV, etcdPrefix string) (*RetiredKeys, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	root := retiredRoot(etcdPrefix)
	got, err := kv.Get(ctx, root, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading the retired keys: %w", err)
	}
	found := &RetiredKeys{Revision: got.Header.Revision}
	for _, record := range got.Kvs {
		name, err := url.PathUnescape(strings.TrimPrefix(string(record.Key), root))
		if err != nil {
			name = strings.TrimPrefix(string(record.Key), root)
		}
		var value retirement
		_ = json.Unmarshal(record.Value, &value) // the time is for people: the record counts whatever it holds
		found.Keys = append(found.Keys,
			RetiredKeyRecord{Key: escape(name), Revision: record.CreateRevision, Time: value.Time})
	}
	return found, nil
}

// Covering returns the record that retires a key, or nil. That of kms/NAME retires all keys of the plugin.
func (r *RetiredKeys) Covering(key string) *RetiredKeyRecord {
	names := coveredBy(key)
	at := slices.IndexFunc(r.Keys, func(record RetiredKeyRecord) bool { return slices.Contains(names, record.Key) })
	if at < 0 {
		return nil
	}
	return &r.Keys[at]
}

// Retire writes the record of a key, unless it exists. Once it returns nil, nothing more is sealed under the key by a
// server that knows these records.
func Retire(ctx context.Context, kv clientv3.KV, etcdPrefix, key string) error {
	value, err := json.Marshal(retirement{Time: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	record := RetiredKey(etcdPrefix, key)
	_, err = kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(record), "=", 0)).
		Then(clientv3.OpPut(record, string(value))).Commit()
	if err != nil {
		return fmt.Errorf("writing the record of the retired key: %w", err)
	}
	return nil
}

// Unretire deletes the record of a key and reports whether there was one.
func Unretire(ctx context.Context, kv clientv3.KV, etcdPrefix, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	done, err := kv.Delete(ctx, RetiredKey(etcdPrefix, key))
	if err != nil {
		return false, fmt.Errorf("deleting the record of the retired key: %w", err)
	}
	return done.Deleted > 0, nil
}

// retiredPoll is how often WatchRetired reads the record of the write key.
const retiredPoll = 10 * time.Second

// WatchRetired keeps RetiredFault current until ctx ends. Writes do not depend on it: etcd decides about each.
func (s *Sealer) WatchRetired(ctx context.Context, kv clientv3.KV, etcdPrefix string) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		key, err := s.WriteKey()
		if err != nil {
			return // a KMS that has reported no key seals nothing either
		}
		var reads []clientv3.Op
		for _, name := range coveredBy(key) {
			reads = append(reads, clientv3.OpGet(RetiredKey(etcdPrefix, name), clientv3.WithCountOnly()))
		}
		ctx, cancel := context.WithTimeout(ctx, retiredPoll)
		defer cancel()
		done, err := kv.Txn(ctx).Then(reads...).Commit()
		if err != nil {
			return // the checks of etcd report it
		}
		for _, read := range done.Responses {
			if read.GetResponseRange().GetCount() > 0 {
				s.noteRetired(key)
				return
			}
		}
		if s.retired.Swap(nil) != nil {
			klog.InfoS("The write key is not retired: values are written again", "key", key)
		}
	}, retiredPoll)
}

// noteRetired remembers that a key is retired, and logs it once.
func (s *Sealer) noteRetired(key string) {
	if before := s.retired.Swap(&key); before == nil || *before != key {
		klog.ErrorS(nil, "The first key of the encryption configuration is retired: no value is written, nothing else "+
			"is affected; put the new key first", "flag", "--encryption-provider-config", "key", key)
	}
}

// RetiredFault returns a *RetiredError while the write key is known to be retired, else nil.
func (s *Sealer) RetiredFault() error {
	retired := s.retired.Load()
	if retired == nil {
		return nil
	}
	if key, err := s.WriteKey(); err == nil && key == *retired {
		return &RetiredError{Key: key}
	}
	return nil
}
