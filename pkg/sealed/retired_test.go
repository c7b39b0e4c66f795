// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

func TestRetiredKey(t *testing.T) {
	for key, want := range map[string]string{
		"aesgcm/key-1":      "/registry/retired-keys/aesgcm/key-1",
		"kms/vault/0a1b2c":  "/registry/retired-keys/kms/vault/0a1b2c",
		"aesgcm/a:b %/\xff": "/registry/retired-keys/aesgcm/a:b%20%25/%FF",
	} {
		for _, prefix := range []string{"/registry", "registry", "/registry/"} {
			if got := RetiredKey(prefix, key); got != want {
				t.Errorf("RetiredKey(%q, %q) = %s, want %s", prefix, key, got, want)
			}
		}
	}
}

// TestRetireAndList: two operators who retire one key leave one record, and a record counts whatever it holds.
func TestRetireAndList(t *testing.T) {
	etcd := runEtcd(t)
	for range 2 {
		for _, key := range []string{"aesgcm/a b", "kms/vault"} {
			if err := Retire(t.Context(), etcd.KV, etcdPrefix, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := Retire(t.Context(), etcd.KV, etcdPrefix, "zip/\x1b[2J"); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Put(t.Context(), RetiredKey(etcdPrefix, "secretbox/odd"), "not JSON"); err != nil {
		t.Fatal(err)
	}
	found, err := ListRetired(t.Context(), etcd.KV, etcdPrefix)
	if err != nil || len(found.Keys) != 4 || found.Keys[3].Key != `zip/\x1b[2J` || found.Keys[0].Key != "aesgcm/a b" ||
		found.Keys[0].Time.IsZero() ||
		found.Keys[0].Revision >= found.Keys[1].Revision ||
		found.Revision < found.Keys[2].Revision {
		t.Fatalf("%+v, %v", found, err)
	}
	for key, want := range map[string]string{
		"aesgcm/a b": "aesgcm/a b", "aesgcm/a": "", "kms/vault": "kms/vault", "kms/vault/0a1b2c3d": "kms/vault",
		"kms/vault2/0a1b2c3d": "", "secretbox/odd": "secretbox/odd",
	} {
		if got := found.Covering(key); (got == nil) != (want == "") || got != nil && got.Key != want {
			t.Errorf("%s is covered by %+v", key, got)
		}
	}
	if done, err := Unretire(t.Context(), etcd.KV, etcdPrefix, "aesgcm/a b"); err != nil || !done {
		t.Errorf("%t, %v", done, err)
	}
	if done, err := Unretire(t.Context(), etcd.KV, etcdPrefix, "aesgcm/a b"); err != nil || done {
		t.Errorf("a second time: %t, %v", done, err)
	}
}

// TestScanNamesUnfencedWriters: a record whose writer does not know retired keys is told from others.
func TestScanNamesUnfencedWriters(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	frame := s.raw(t, obj)
	frame[len(frameMagic)] = unfencedVersion
	s.put(t, obj, frame)
	s.mustOpenTo(t, obj, canary)
	if found, _ := s.scan(t); !found.Unfenced || found.Revision != s.revision(t) || found.Err != nil {
		t.Errorf("an older version's: %+v", found)
	}
	s.mustUpdate(t, obj, relabel)
	s.mustOpenTo(t, obj, canary)
	if found, _ := s.scan(t); found.Unfenced || found.Revision != s.revision(t) {
		t.Errorf("written again: %+v", found)
	}
}

// TestWatchRetired: a server learns that its write key is retired without a write, and that it is not any more.
func TestWatchRetired(t *testing.T) {
	s := newStack(t, false)
	s.retire(t, oldKey)
	watch := func(until func() bool) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.sealer.WatchRetired(ctx, s.etcd.KV, etcdPrefix) }()
		err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true,
			func(context.Context) (bool, error) { return until(), nil })
		stop()
		<-done
		if err != nil {
			t.Fatal(err)
		}
	}
	watch(func() bool { return errors.Is(s.sealer.RetiredFault(), ErrKeyRetired) })
	s.rotate(t)
	if err := s.sealer.RetiredFault(); err != nil {
		t.Errorf("with another write key: %v", err)
	}
	s.keys.Transformer, s.keys.Configuration = newTransformer(t, "aesgcm"), newConfiguration(t, "aesgcm")
	if s.sealer.RetiredFault() == nil {
		t.Error("the fault is forgotten")
	}
	if _, err := Unretire(t.Context(), s.etcd.KV, etcdPrefix, oldKey); err != nil {
		t.Fatal(err)
	}
	watch(func() bool { return s.sealer.RetiredFault() == nil })
}
