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
	prefix string
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
	compares := append(make([]clientv3.Cmp, 0, 1+len(fences)),
		clientv3.Compare(clientv3.ModRevision(key), "=", revision))
	reads := make([]clientv3.Op, 0, 1+len(fences)) // executed only on failure
	for _, name := range fences {
		record := RetiredKey(f.prefix, name)
		compares = append(compares, clientv3.Compare(clientv3.CreateRevision(record), "=", 0))
		reads = append(reads, clientv3.OpGet(record, clientv3.WithCountOnly()))
	}
	if opts.GetOnFailure {
		reads = append(reads, clientv3.OpGet(key))
	}
	done, err := f.KV.Txn(ctx).If(compares...).Then(
		clientv3.OpPut(key, string(value), clientv3.WithLease(opts.LeaseID))).Else(reads...).Commit()
	if err != nil {
		return kubernetes.PutResponse{}, err
	}
	resp := kubernetes.PutResponse{Succeeded: done.Succeeded, Revision: done.Header.Revision}
	if done.Succeeded {
		return resp, nil
	}
	if len(done.Responses) != len(reads) {
		return resp, fmt.Errorf("etcd answered a refused write with %d reads: want %d", len(done.Responses), len(reads))
	}
	for _, read := range done.Responses[:len(fences)] {
		if read.GetResponseRange().GetCount() > 0 {
			return kubernetes.PutResponse{}, &RetiredError{Key: w.key}
		}
	}
	if opts.GetOnFailure {
		if found := done.Responses[len(fences)].GetResponseRange().GetKvs(); len(found) == 1 {
			resp.KV = found[0]
		}
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
func RetiredKey(etcdPrefix, key string) string {
	segments := strings.Split(key, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return retiredRoot(etcdPrefix) + strings.Join(segments, "/")
}
