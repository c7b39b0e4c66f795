// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// ErrNoSealingKey is returned for a text whose sealing key is not here.
var ErrNoSealingKey = errors.New("this server has no such sealing key: it was retired, or belongs to another server")

// SealingKeys are the key pairs of spec.sealedValue, in etcd: see models/sealing-keys.pml. The newest is active, all of
// them open. Every text that is opened reads its key from etcd first, so that a key that another server made opens at
// once, and one that was retired never more.
type SealingKeys struct {
	kv     clientv3.KV
	prefix string
	sealer *Sealer
	maxAge time.Duration

	opened sync.Map // of openedKey by id
	failed bool     // the last rewrap failed, which is logged
}

// openedKey is a parsed key with the revision of its record: parsing costs as much as opening a text.
type openedKey struct {
	revision int64
	key      *sealing.PrivateKey
}

// NewSealingKeys returns the keys under etcdPrefix (--etcd-prefix). One that is older than maxAge is replaced when
// somebody asks for the key to seal to; 0 is never.
func NewSealingKeys(kv clientv3.KV, etcdPrefix string, sealer *Sealer, maxAge time.Duration) *SealingKeys {
	return &SealingKeys{kv: kv, prefix: etcdPrefix, sealer: sealer, maxAge: maxAge}
}

// List returns the keys, the active one first, and the revision of etcd. It makes a key if there is none or the active
// one is to be replaced: nobody needs a key before. It returns an *OperationError if none can be made.
func (k *SealingKeys) List(ctx context.Context) ([]SealingKey, int64, error) {
	found, last, revision, err := listSealingKeys(ctx, k.kv, k.prefix)
	if err != nil || len(found) > 0 && !k.due(found[0]) {
		return found, revision, err
	}
	if err = k.create(ctx, last); err != nil {
		if len(found) == 0 {
			return nil, 0, operationError(Sealing, sealingKeyObject(""), err)
		}
		klog.ErrorS(err, "The active sealing key is to be replaced, and stays until a new one can be made",
			"sealingkey", found[0].ID)
		return found, revision, nil
	}
	found, _, revision, err = listSealingKeys(ctx, k.kv, k.prefix)
	if err == nil && len(found) == 0 {
		err = errors.New("the sealing key that was made is gone: try again")
	}
	return found, revision, err
}

func (k *SealingKeys) due(active SealingKey) bool {
	return active.Replaced || k.maxAge > 0 && time.Since(active.Created) > k.maxAge
}

// create makes a key, unless there is one that was made after the revision last. The first server wins.
func (k *SealingKeys) create(ctx context.Context, last int64) error {
	private, err := sealing.GenerateKey()
	if err != nil {
		return err
	}
	id := private.Public().ID()
	sealed, err := k.sealer.sealFor(ctx, sealingAAD(id), sensitive.Value(private.Bytes()))
	if err != nil {
		return err
	}
	key := SealingKey{ID: id, Public: private.Public(), Created: time.Now().UTC().Truncate(time.Second)}
	made, err := k.put(ctx, key, sealed,
		clientv3.Compare(clientv3.CreateRevision(sealingRoot(k.prefix)), "<", last+1).WithPrefix())
	if made {
		klog.InfoS("Made a sealing key", "sealingkey", id)
	}
	return err
}

// put writes the record of a key if guard holds, and reports whether it did. As every write that seals, it compares
// that the storage key is not retired, and returns a *RetiredError otherwise.
func (k *SealingKeys) put(ctx context.Context, key SealingKey, sealed []byte, guard clientv3.Cmp) (bool, error) {
	name := KeyName(sealed, nil)
	if name == "" || name == secret.UnreadableKey {
		return false, ErrKeyName
	}
	record, err := key.record(sealed)
	if err != nil {
		return false, err
	}
	compares, reads := []clientv3.Cmp{guard}, []clientv3.Op{}
	for _, covering := range coveredBy(name) {
		retired := RetiredKey(k.prefix, covering)
		compares = append(compares, clientv3.Compare(clientv3.CreateRevision(retired), "=", 0))
		reads = append(reads, clientv3.OpGet(retired, clientv3.WithCountOnly()))
	}
	done, err := k.kv.Txn(ctx).If(compares...).
		Then(clientv3.OpPut(sealingRoot(k.prefix)+key.ID, string(record))).Else(reads...).Commit()
	if err != nil {
		return false, fmt.Errorf("writing a sealing key: %w", err)
	}
	if done.Succeeded {
		return true, nil
	}
	for _, read := range done.Responses {
		if read.GetResponseRange().GetCount() > 0 {
			k.sealer.noteRetired(name)
			return false, &RetiredError{Key: name}
		}
	}
	return false, nil
}

// Open returns the value in a text. It returns ErrNoSealingKey without the key of the text, sealing.ErrNotForThis for a
// text that does not open with it, and an *OperationError if the key cannot be opened.
func (k *SealingKeys) Open(ctx context.Context, text sealing.Text, binding sealing.Binding) (sensitive.Value, error) {
	key, err := k.private(ctx, text.KeyID())
	if err != nil {
		return "", err
	}
	v, err := key.Open(text, binding)
	return sensitive.Value(v), err
}

// Seal returns a new text of a value, sealed to the active key.
func (k *SealingKeys) Seal(ctx context.Context, v sensitive.Value, binding sealing.Binding) (string, error) {
	found, _, err := k.List(ctx)
	if err != nil {
		return "", err
	}
	return found[0].Public.Seal([]byte(v.Expose()), binding)
}

// private reads the record of a key, and opens it if it changed. Nothing is locked meanwhile: a KMS may take seconds.
func (k *SealingKeys) private(ctx context.Context, id string) (*sealing.PrivateKey, error) {
	got, err := k.kv.Get(ctx, sealingRoot(k.prefix)+id)
	if err != nil {
		return nil, fmt.Errorf("reading a sealing key: %w", err)
	}
	if len(got.Kvs) == 0 {
		k.opened.Delete(id)
		return nil, ErrNoSealingKey
	}
	record := got.Kvs[0]
	if known, ok := k.opened.Load(id); ok && known.(openedKey).revision == record.ModRevision {
		return known.(openedKey).key, nil
	}
	key, err := openSealingKey(ctx, k.sealer, id, record.Value)
	if err != nil {
		return nil, operationError(Opening, sealingKeyObject(id), err)
	}
	k.opened.Store(id, openedKey{record.ModRevision, key})
	return key, nil
}

// Run moves the private halves to the active write key, soon after it changes, until ctx ends.
func (k *SealingKeys) Run(ctx context.Context) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, pageTimeout)
		defer cancel()
		err := k.rewrap(ctx)
		if err != nil && !k.failed {
			klog.ErrorS(err, "Could not re-encrypt the sealing keys under the write key; retrying")
		}
		k.failed = err != nil
	}, retiredPoll)
}

func (k *SealingKeys) rewrap(ctx context.Context) error {
	writeKey, err := k.sealer.WriteKey()
	if err != nil {
		return nil //nolint:nilerr // a KMS that has reported no key: the notice about it tells
	}
	got, err := k.kv.Get(ctx, sealingRoot(k.prefix), clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("reading the sealing keys: %w", err)
	}
	var errs []error
	for _, record := range got.Kvs {
		errs = append(errs, k.rewrapOne(ctx, record, writeKey))
	}
	return errors.Join(errs...)
}

func (k *SealingKeys) rewrapOne(ctx context.Context, record *mvccpb.KeyValue, writeKey string) error {
	id := string(record.Key[len(sealingRoot(k.prefix)):])
	key, sealed, err := splitSealingKey(id, record.Value)
	if err != nil || k.sealer.keyName(sealed) == writeKey {
		return err
	}
	private, err := k.sealer.openFor(ctx, sealingAAD(id), sealed)
	if err != nil {
		return operationError(Opening, sealingKeyObject(id), err)
	}
	if sealed, err = k.sealer.sealFor(ctx, sealingAAD(id), private); err != nil {
		return operationError(Sealing, sealingKeyObject(id), err)
	}
	unchanged := clientv3.Compare(clientv3.ModRevision(string(record.Key)), "=", record.ModRevision)
	_, err = k.put(ctx, key, sealed, unchanged)
	return err
}

// listSealingKeys returns the readable keys, the newest first, when the newest record was made, and the revision of
// etcd.
func listSealingKeys(ctx context.Context, kv clientv3.KV, etcdPrefix string) (
	found []SealingKey, last, revision int64, err error) {
	root := sealingRoot(etcdPrefix)
	got, err := kv.Get(ctx, root, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, 0, fmt.Errorf("reading the sealing keys: %w", err)
	}
	for _, record := range got.Kvs {
		last = max(last, record.CreateRevision)
		id := string(record.Key[len(root):])
		key, _, err := splitSealingKey(id, record.Value)
		if err != nil {
			klog.ErrorS(err, "Omitted a sealing key; restore its record from a backup", "sealingkey", escape(id))
			continue
		}
		key.made, key.revision = record.CreateRevision, record.ModRevision
		found = append(found, key)
	}
	slices.SortFunc(found, func(a, b SealingKey) int { return cmp.Compare(b.made, a.made) })
	return found, last, got.Header.Revision, nil
}
