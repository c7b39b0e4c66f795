// SPDX-License-Identifier: Apache-2.0

package decrypt_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/decrypt"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

func startEtcd(t *testing.T) *clientv3.Client {
	t.Helper()
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), LogOutput: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server.Client()
}

func head(sequence uint64, first byte) audit.Head {
	return audit.Head{Sequence: sequence, MAC: audit.MAC{first}}
}

func TestHeadOnlyMovesForward(t *testing.T) {
	client := startEtcd(t)
	store := decrypt.NewHeadStore(client, decrypt.HeadKey("/prefix/", "pod/0"))
	if _, ok, err := store.Load(t.Context()); ok || err != nil {
		t.Fatalf("Load of nothing = %v, %v", ok, err)
	}
	for i, step := range []struct {
		head audit.Head
		want error
	}{
		{head(5, 1), nil},
		{head(5, 1), nil},
		{head(5, 2), audit.ErrHeadBehind},
		{head(4, 1), audit.ErrHeadBehind},
		{head(9, 3), nil},
		{head(5, 1), audit.ErrHeadBehind},
		{head(1<<63, 4), nil},
	} {
		if err := store.Advance(t.Context(), step.head, anyHead); !errors.Is(err, step.want) {
			t.Errorf("step %d: Advance(%v) = %v, want %v", i, step.head, err, step.want)
		}
	}
	if got, ok, err := store.Load(t.Context()); got != head(1<<63, 4) || !ok || err != nil {
		t.Errorf("Load = %v, %v, %v", got, ok, err)
	}
	// One key, readable by a person, beside no other.
	got, err := client.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Key) != "/prefix/decrypt-audit-heads/pod%2F0" ||
		!strings.Contains(string(got.Kvs[0].Value), `"head":"9223372036854775808:04`) {
		t.Errorf("etcd holds %v, %v", got.Kvs, err)
	}
}

// A head of another run is replaced only if it is a line of this log: nothing else would show that the log was cut.
func TestHeadOfAnotherLogIsNotReplaced(t *testing.T) {
	client := startEtcd(t)
	store := decrypt.NewHeadStore(client, decrypt.HeadKey("/p", "x"))
	if err := store.Advance(t.Context(), head(3, 1), nil); err != nil {
		t.Fatal(err)
	}
	var seen audit.Head
	answer := func(ok bool, err error) func(audit.Head) (bool, error) {
		return func(published audit.Head) (bool, error) { seen = published; return ok, err }
	}
	if err := store.Advance(t.Context(), head(4, 2), answer(false, nil)); !errors.Is(err, audit.ErrHeadBehind) {
		t.Errorf("Advance over a head of another log = %v", err)
	}
	if err := store.Advance(t.Context(), head(4, 2), answer(true, io.ErrNoProgress)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Advance while the log cannot be read = %v", err)
	}
	if got, _, err := store.Load(t.Context()); got != head(3, 1) || seen != got || err != nil {
		t.Errorf("Load = %v, %v; the callback was given %v", got, err, seen)
	}
	if err := store.Advance(t.Context(), head(4, 2), answer(true, nil)); err != nil {
		t.Errorf("Advance over an earlier line = %v", err)
	}
}

func anyHead(audit.Head) (bool, error) { return true, nil }

func TestTwoServersUnderOneName(t *testing.T) {
	client := startEtcd(t)
	var mu sync.Mutex
	var all sync.WaitGroup
	won := map[uint64]int{}
	for server := range 4 {
		store := decrypt.NewHeadStore(client, decrypt.HeadKey("/p", "same"))
		all.Go(func() {
			for i := uint64(1); i <= 50; i++ {
				err := store.Advance(context.Background(), head(i, byte(server)), anyHead)
				if err != nil && !errors.Is(err, audit.ErrHeadBehind) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					if other, taken := won[i]; taken && other != server {
						t.Errorf("head %d was published by two servers", i)
					}
					won[i] = server
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if got, _, err := decrypt.NewHeadStore(client, decrypt.HeadKey("/p", "same")).Load(t.Context()); err != nil || got.Sequence != 50 {
		t.Errorf("Load = %v, %v; want 50", got, err)
	}
}

func TestForeignValueInEtcd(t *testing.T) {
	client := startEtcd(t)
	key := decrypt.HeadKey("/p", "x")
	for _, value := range []string{"", "x", "{}", `{"head":"5"}`, `{"head":"5:zz"}`, "[]"} {
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		store := decrypt.NewHeadStore(client, key)
		if _, _, err := store.Load(t.Context()); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("Load of %q = %v, want an error that names the key", value, err)
		}
		if err := store.Advance(t.Context(), head(1, 1), anyHead); err == nil {
			t.Errorf("Advance over %q went well", value)
		}
	}
}

// TestLogWithEtcd is the whole way: a log that publishes in etcd and notices that it was cut.
func TestLogWithEtcd(t *testing.T) {
	client := startEtcd(t)
	dir := t.TempDir()
	c := audit.NewConfig()
	c.Path, c.KeyFile, c.GenerateKey, c.Instance = filepath.Join(dir, "log", "decrypt.log"), filepath.Join(dir, "key"), true, "standalone"
	c.PublishInterval = 10 * time.Millisecond
	store := decrypt.NewHeadStore(client, decrypt.HeadKey("/p", c.Instance))
	c.Heads = store
	log, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Record(t.Context(), audit.Record{User: "u", Namespace: "n", Name: "x", Decision: audit.Allow, Reason: audit.ReasonGranted}); err != nil {
		t.Fatal(err)
	}
	for want := log.Head(); ; time.Sleep(time.Millisecond) {
		if got, _, err := store.Load(t.Context()); err != nil {
			t.Fatal(err)
		} else if got == want {
			break // published while it runs
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	c.Path = filepath.Join(dir, "other", "decrypt.log")
	if log, err = audit.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	opened, err := os.ReadFile(c.Path)
	if err != nil || !strings.Contains(string(opened), `"reason":"cut-off"`) {
		t.Errorf("the first line of an empty log is %s, %v; want that it was cut off", opened, err)
	}
}
