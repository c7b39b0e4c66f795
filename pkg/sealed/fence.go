// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ErrKeyRetired is returned for a write that seals under a retired key. Nothing was written.
var ErrKeyRetired = errors.New("the key is retired: it must not seal anything any more")

// RetiredError is ErrKeyRetired with the name of the key.
type RetiredError struct {
	// Key is PROVIDER/NAME, for a KMS with the hash of its key id.
	Key string
}

// Error implements error.
func (e *RetiredError) Error() string { return e.Key + ": " + ErrKeyRetired.Error() }

// Unwrap makes FaultOf return ErrKeyRetired.
func (e *RetiredError) Unwrap() error { return ErrKeyRetired }

// errUndeclared is returned for a write of which a fence cannot know whether it seals. Nothing was written.
var errUndeclared = errors.New("a write to etcd does not declare whether it seals a value")

// write declares what a Store writes. It is in the context of the write, as the etcd3 store seals nothing and a
// transaction knows only bytes; those cannot tell: a write that starts from the watch cache has no bytes to compare.
type write struct {
	declared bool
	key      string // that sealed the ciphertext for this write; "" for one that was stored before, or for none
}

type writeKey struct{}

// newWrite returns a context in which nothing is declared.
func newWrite(ctx context.Context) (context.Context, *write) {
	w := &write{}
	return context.WithValue(ctx, writeKey{}, w), w
}

// sealed declares a write that seals under a key: its server must be allowed to.
func (w *write) sealed(key string) { w.declared, w.key = true, key }

// carried declares a write that keeps the stored ciphertext, or drops it.
func (w *write) carried() { w.declared, w.key = true, "" }

// fence makes every write that seals compare, in its own transaction, that its key is not retired: see
// models/rotation.pml. However late a server reads its configuration, nothing is sealed under a key once the record of
// its retirement is in etcd.
type fence struct {
	*kubernetes.Client
	root string // see retiredRoot
}

var _ kubernetes.Interface = (*fence)(nil)

// OptimisticPut is that of the client with a comparison for each record that would retire the key of a declared write.
// It returns a *RetiredError if there is one, whether or not the revision differs too: "not succeeded" would tell the
// etcd3 store that the object exists, or to try again.
func (f *fence) OptimisticPut(ctx context.Context, key string, value []byte, revision int64,
	opts kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	w, ok := ctx.Value(writeKey{}).(*write)
	if !ok || !w.declared {
		return kubernetes.PutResponse{}, errUndeclared
	}
	if w.key == "" {
		return f.Client.OptimisticPut(ctx, key, value, revision, opts)
	}
	fences := coveredBy(w.key)
	compares := make([]clientv3.Cmp, 1, 1+len(fences))
	compares[0] = clientv3.Compare(clientv3.ModRevision(key), "=", revision)
	for _, name := range fences {
		compares = append(compares, clientv3.Compare(clientv3.CreateRevision(f.root+escapeKey(name)), "=", 0))
	}
	for {
		done, err := f.KV.Txn(ctx).If(compares...).Then(
			clientv3.OpPut(key, string(value), clientv3.WithLease(opts.LeaseID))).Commit()
		if err != nil {
			return kubernetes.PutResponse{}, err
		}
		if done.Succeeded {
			return kubernetes.PutResponse{Succeeded: true, Revision: done.Header.Revision}, nil
		}
		resp, err := f.refused(ctx, key, w.key, fences)
		if err != nil || resp.KV.GetModRevision() != revision {
			if !opts.GetOnFailure {
				resp.KV = nil
			}
			return resp, err
		} // else what refused the write is gone: the key is not retired any more, or a record was deleted
	}
}

// refused reads why a write failed: it returns a *RetiredError, or the record at key.
func (f *fence) refused(ctx context.Context, key, sealedUnder string, fences []string) (kubernetes.PutResponse, error) {
	reads := []clientv3.Op{clientv3.OpGet(key)}
	for _, name := range fences {
		reads = append(reads, clientv3.OpGet(f.root+escapeKey(name), clientv3.WithCountOnly()))
	}
	done, err := f.KV.Txn(ctx).Then(reads...).Commit()
	if err != nil {
		return kubernetes.PutResponse{}, err
	}
	if len(done.Responses) != len(reads) {
		return kubernetes.PutResponse{}, fmt.Errorf("etcd answered %d of %d reads", len(done.Responses), len(reads))
	}
	for _, read := range done.Responses[1:] {
		if read.GetResponseRange().GetCount() > 0 {
			return kubernetes.PutResponse{}, &RetiredError{Key: sealedUnder}
		}
	}
	resp := kubernetes.PutResponse{Revision: done.Header.Revision}
	if found := done.Responses[0].GetResponseRange().GetKvs(); len(found) == 1 {
		resp.KV = found[0]
	}
	return resp, nil
}

// coveredBy returns the keys whose retirement covers a KeyName: itself, and for a KMS all keys of its plugin.
func coveredBy(key string) []string {
	if end := strings.LastIndexByte(key, '/'); end > 0 && secret.CoversKey(key[:end], key) {
		return []string{key, key[:end]}
	}
	return []string{key}
}

// retiredRoot returns the etcd key prefix of the records of retired keys, which lie beside the announced servers.
func retiredRoot(etcdPrefix string) string { return path.Join("/", etcdPrefix, "retired-keys") + "/" }

// RetiredKey returns the etcd key of the record that retires a key, PROVIDER/NAME or kms/NAME/HASH. etcdPrefix is the
// value of --etcd-prefix.
func RetiredKey(etcdPrefix, key string) string { return retiredRoot(etcdPrefix) + escapeKey(key) }

// escapeKey escapes everything in the name of a key but the slashes.
func escapeKey(key string) string { return strings.ReplaceAll(url.PathEscape(key), "%2F", "/") }
