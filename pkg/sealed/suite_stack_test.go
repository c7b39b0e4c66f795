// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

const (
	suitePrefix = "suite!"
	podPrefix   = "/pods/"
)

// suiteStack is one storage for one test of upstream's suite.
type suiteStack struct {
	*podAdapter
	raw    *Store
	sealer *Sealer
	codec  *failingCodec
	client *kubernetes.Client
}

// failingCodec stands for records that cannot be decoded.
type failingCodec struct {
	*Codec
	failing atomic.Bool
}

// Decode implements runtime.Decoder.
func (c *failingCodec) Decode(
	data []byte, defaults *schema.GroupVersionKind, into runtime.Object,
) (runtime.Object, *schema.GroupVersionKind, error) {
	if c.failing.Load() {
		return nil, nil, errors.New("the record does not decode")
	}
	return c.Codec.Decode(data, defaults, into)
}

func newSuite(t *testing.T) *suiteStack {
	t.Helper()
	s := &suiteStack{
		sealer: NewSealer(newTransformer(t, "aesgcm"), nil),
		codec:  &failingCodec{Codec: NewCodec(objectCodec())},
	}
	s.client = runEtcd(t)
	// The compactor gets its own client: the suite counts the requests of the other.
	background, err := clientv3.New(clientv3.Config{Endpoints: s.client.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = background.Close() })
	compactor := etcd3.NewCompactor(background, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	lower := newSwappable(storagetesting.NewPrefixTransformer([]byte(suitePrefix), false))
	versioner := storage.APIObjectVersioner{}
	raw, err := etcd3.New(s.client, compactor, s.codec, newSecureValue, newSecureValueList, "", podPrefix,
		secret.GroupResource, lower, etcd3.LeaseManagerConfig{ReuseDurationSeconds: 1, MaxObjectCount: 1000},
		etcd3.NewDefaultDecoder(s.codec, versioner), versioner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	s.raw = New(raw, s.codec, s.sealer)
	s.podAdapter = &podAdapter{Interface: s.raw, lower: lower}
	return s
}

// newCachedSuite puts the watch cache on top, as upstream's cacher tests do.
func newCachedSuite(t *testing.T, keyFunc func(string, runtime.Object) (string, error)) *suiteStack {
	t.Helper()
	s := newSuite(t)
	indexers := cache.Indexers{
		"f:spec.nodeName": func(obj any) ([]string, error) {
			return []string{toPod(obj.(*secret.SecureValue)).Spec.NodeName}, nil
		},
		"f:metadata.namespace": func(obj any) ([]string, error) {
			return []string{obj.(*secret.SecureValue).Namespace}, nil
		},
	}
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: s.raw, Versioner: storage.APIObjectVersioner{}, GroupResource: secret.GroupResource,
		EventsHistoryWindow: cacher.DefaultEventFreshDuration, ResourcePrefix: podPrefix,
		KeyFunc: func(obj runtime.Object) (string, error) { return keyFunc(podPrefix, obj) },
		NewFunc: newSecureValue, NewListFunc: newSecureValueList, GetAttrsFunc: podAttrs,
		IndexerFuncs: storage.IndexerFuncs{"spec.nodeName": func(obj runtime.Object) string {
			return toPod(obj.(*secret.SecureValue)).Spec.NodeName
		}},
		Indexers: &indexers, Codec: s.codec, Clock: clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	delegator := cacher.NewCacheDelegator(c, s.raw)
	t.Cleanup(delegator.Stop)
	s.Interface = delegator
	return s
}

func newSecureValue() runtime.Object     { return &secret.SecureValue{} }
func newSecureValueList() runtime.Object { return &secret.SecureValueList{} }

// validate is upstream's check of what a write stored, and more: it opens, and holds no value in clear.
func (s *suiteStack) validate(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	resp, err := s.client.KV.Get(ctx, key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("reading %s: %v", key, err)
	}
	record := resp.Kvs[0].Value
	stored := decodeFrame(t, s.codec.Codec, bytes.TrimPrefix(record, []byte(suitePrefix)))
	if stored.ResourceVersion != "" || stored.SelfLink != "" { //nolint:staticcheck // upstream checks it as well
		t.Error("resourceVersion or selfLink was stored")
	}
	if v, err := s.sealer.Open(ctx, stored); err != nil || v.Expose() != canary ||
		bytes.Contains(record, []byte(canary)) {
		t.Errorf("what was stored opens to %q with error %v", v.Expose(), err)
	}
}

func (s *suiteStack) increaseRV(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	resp, err := s.client.Put(ctx, "increaseRV", "ok")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func (s *suiteStack) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	rv, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	current, _, _, err := etcd3.Compact(ctx, s.client.Client, 0, int64(rv))
	if err != nil {
		_, _, _, err = etcd3.Compact(ctx, s.client.Client, current, int64(rv))
	}
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, wait.ForeverTestTimeout, true,
		func(context.Context) (bool, error) {
			return s.CompactRevision() == int64(rv), nil
		})
	if err != nil {
		t.Fatalf("the compaction of %d is not seen: %v", rv, err)
	}
}

func (s *suiteStack) recorder() *storagetesting.KubernetesRecorder {
	return s.client.Kubernetes.(*storagetesting.KubernetesRecorder)
}

// keys lists what the etcd3 store would.
func (s *suiteStack) keys(ctx context.Context) ([]string, error) {
	resp, err := s.client.KV.Get(ctx, podPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

// podCodec encodes a Pod to as many bytes as the storage writes for it.
func (s *suiteStack) podCodec(t *testing.T) runtime.Codec {
	t.Helper()
	return sizeCodec{Codec: s.codec, t: t, sealer: s.sealer}
}

type sizeCodec struct {
	runtime.Codec
	t      *testing.T
	sealer *Sealer
}

// Encode implements runtime.Encoder.
func (c sizeCodec) Encode(obj runtime.Object, w io.Writer) error {
	sv := toSecureValue(obj.(*example.Pod))
	sv.Spec.Value = sensitive.New(canary)
	return c.Codec.Encode(mustSeal(c.t, c.sealer, sv), w)
}

// checkReads is upstream's check that a list does not read etcd more often than it has to.
func (s *suiteStack) checkReads(t *testing.T, pageSize, objects uint64) {
	t.Helper()
	if reads := s.lower.reads.Swap(0); reads != objects {
		t.Errorf("%d records were read, want %d", reads, objects)
	}
	want := uint64(1)
	if pageSize != 0 {
		for sum, limit := uint64(1), pageSize; sum < objects; want++ {
			limit = min(2*limit, 10000)
			sum += limit
		}
	}
	recorder := s.client.KV.(*storagetesting.KVRecorder)
	if reads := recorder.GetReadsAndReset() + recorder.GetStreamReadsAndReset(); reads != want {
		t.Fatalf("%d requests to etcd, want %d", reads, want)
	}
}
