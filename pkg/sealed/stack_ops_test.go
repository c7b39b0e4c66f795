// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func keyOf(obj *secret.SecureValue) string {
	return resourcePrefix + "/" + obj.Namespace + "/" + obj.Name
}

// create stores an object with a value and returns what the store answered.
func (s *stack) create(t testing.TB, name, v string) *secret.SecureValue {
	t.Helper()
	obj, out := newObject(name, v), &secret.SecureValue{}
	if err := s.Create(t.Context(), keyOf(obj), obj, out, 0); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return out
}

// update applies change, as a strategy would: nothing else is touched.
func (s *stack) update(ctx context.Context, obj *secret.SecureValue,
	change func(*secret.SecureValue)) (*secret.SecureValue, error) {
	out := &secret.SecureValue{}
	err := s.GuaranteedUpdate(ctx, keyOf(obj), out, false, nil,
		storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
			change(in.(*secret.SecureValue))
			return in, nil
		}), nil)
	return out, err
}

func (s *stack) mustUpdate(t testing.TB, obj *secret.SecureValue,
	change func(*secret.SecureValue)) *secret.SecureValue {
	t.Helper()
	out, err := s.update(t.Context(), obj, change)
	if err != nil {
		t.Fatalf("GuaranteedUpdate: %v", err)
	}
	return out
}

// raw reads the record as it is in etcd. A record that is absent is nil.
func (s *stack) raw(t testing.TB, obj *secret.SecureValue) []byte {
	t.Helper()
	resp, err := s.etcd.KV.Get(t.Context(), etcdPrefix+keyOf(obj))
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	return resp.Kvs[0].Value
}

// put writes a record past the store, as somebody with access to etcd would.
func (s *stack) put(t testing.TB, obj *secret.SecureValue, record []byte) {
	t.Helper()
	if _, err := s.etcd.Put(t.Context(), etcdPrefix+keyOf(obj), string(record)); err != nil {
		t.Fatal(err)
	}
}

// stored decodes the record in etcd, ciphertext included, as the decrypt port does.
func (s *stack) stored(t testing.TB, obj *secret.SecureValue) *secret.SecureValue {
	t.Helper()
	return decodeFrame(t, s.codec, s.raw(t, obj))
}

func (s *stack) mustOpenTo(t testing.TB, obj *secret.SecureValue, want string) {
	t.Helper()
	v, err := s.sealer.Open(t.Context(), s.stored(t, obj))
	if err != nil || v.Expose() != want {
		t.Errorf("%s opens to %q with error %v, want %q", obj.Name, v.Expose(), err, want)
	}
}

// revision is etcd's: any write at all raises it.
func (s *stack) revision(t testing.TB) int64 {
	t.Helper()
	resp, err := s.etcd.KV.Get(t.Context(), "no-such-key")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func (s *stack) get(t testing.TB, obj *secret.SecureValue, rv string) *secret.SecureValue {
	t.Helper()
	out := &secret.SecureValue{}
	if err := s.Get(t.Context(), keyOf(obj), storage.GetOptions{ResourceVersion: rv}, out); err != nil {
		t.Fatalf("Get: %v", err)
	}
	return out
}

func (s *stack) list(t testing.TB, rv string) []secret.SecureValue {
	t.Helper()
	list := &secret.SecureValueList{}
	opts := storage.ListOptions{ResourceVersion: rv, Recursive: true, Predicate: storage.Everything}
	if rv != "" {
		opts.ResourceVersionMatch = "NotOlderThan"
	}
	if err := s.GetList(t.Context(), resourcePrefix+"/", opts, list); err != nil {
		t.Fatalf("GetList: %v", err)
	}
	return list.Items
}

func (s *stack) watch(t testing.TB, opts storage.ListOptions) watch.Interface {
	t.Helper()
	opts.Recursive = true
	w, err := s.Watch(t.Context(), resourcePrefix+"/", opts)
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	t.Cleanup(w.Stop)
	return w
}

// next returns the next event about an object, and what is under its wrapping.
func next(t testing.TB, w watch.Interface) (watch.EventType, *secret.SecureValue) {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		obj := event.Object
		if wrapped, ok := obj.(storage.WatchEventWithRecordTime); ok {
			obj = wrapped.Unwrap()
		}
		if cached, ok := obj.(runtime.CacheableObject); ok {
			obj = cached.GetObject()
		}
		sv, ok := obj.(*secret.SecureValue)
		if !ok {
			t.Fatalf("event %s about a %T", event.Type, obj)
		}
		return event.Type, sv
	case <-time.After(wait.ForeverTestTimeout):
		t.Fatal("no event came")
	}
	return "", nil
}

// mustBeClean asks that an object read above the store has neither value nor ciphertext, and names its key.
func mustBeClean(t testing.TB, where string, obj *secret.SecureValue) {
	t.Helper()
	if obj.Sealed != nil {
		t.Errorf("%s holds the ciphertext", where)
	}
	if obj.Spec.Value != nil {
		t.Errorf("%s holds the value", where)
	}
	if obj.Status.Key != "aesgcm/key1" {
		t.Errorf("%s has status.key %q", where, obj.Status.Key)
	}
}

// mustHoldNoCanary searches all of etcd.
func (s *stack) mustHoldNoCanary(t testing.TB) {
	t.Helper()
	resp, err := s.etcd.KV.Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if bytes.Contains(kv.Value, []byte(canary)) || strings.Contains(string(kv.Key), canary) {
			t.Errorf("etcd holds a value under %s", kv.Key)
		}
	}
}
