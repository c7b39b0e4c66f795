// SPDX-License-Identifier: Apache-2.0

package kmsplugin

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	"k8s.io/kms/pkg/service"
)

// dial reaches a plugin the way that an API server does.
func dial(t *testing.T, p *Plugin) service.Service {
	t.Helper()
	client, err := kmsv2.NewGRPCService(t.Context(), p.Endpoint(), "test", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func encrypt(t *testing.T, client service.Service) *service.DecryptRequest {
	t.Helper()
	wrapped, err := client.Encrypt(t.Context(), "uid", []byte("data key"))
	if err != nil {
		t.Fatal(err)
	}
	return &service.DecryptRequest{Ciphertext: wrapped.Ciphertext, KeyID: wrapped.KeyID}
}

func TestItWrapsAndCounts(t *testing.T) {
	p := Start(t)
	client := dial(t, p)
	status, err := client.Status(t.Context())
	if err != nil || status.KeyID != "key-1" || status.Version != "v2" || status.Healthz != "ok" {
		t.Fatalf("status: %+v, %v", status, err)
	}
	first := encrypt(t, client)
	if bytes.Contains(first.Ciphertext, []byte("data key")) || first.KeyID != "key-1" {
		t.Errorf("got %+v", first)
	}
	if err := p.Keys.Use("key-2"); err != nil {
		t.Fatal(err)
	}
	second := encrypt(t, client)
	for _, request := range []*service.DecryptRequest{first, second} {
		if plain, err := client.Decrypt(t.Context(), "uid", request); err != nil || string(plain) != "data key" {
			t.Errorf("key %s: %q, %v", request.KeyID, plain, err)
		}
	}
	if second.KeyID != "key-2" {
		t.Errorf("the key did not change: %s", second.KeyID)
	}
	if got, want := p.Calls(), (Calls{Status: 1, Encrypt: 2, Decrypt: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	p.Keys.Forget("key-1")
	if _, err := client.Decrypt(t.Context(), "uid", first); err == nil {
		t.Error("a destroyed key unwraps")
	}
	if p.ResetCalls(); p.Calls() != (Calls{}) {
		t.Error("the counts were not reset")
	}
}

func TestFaults(t *testing.T) {
	p := Start(t)
	client := dial(t, p)
	works := func() bool { _, err := client.Status(t.Context()); return err == nil }

	p.SetFail(true)
	if works() {
		t.Error("it works though it was told to fail")
	}
	p.SetFail(false)
	p.SetFlap(3)
	for _, want := range []bool{false, false, true, false, false, true} {
		if works() != want {
			t.Errorf("flapping: want %v", want)
		}
	}
	p.SetFlap(0)
	p.SetDelay(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.Status(ctx); err == nil {
		t.Error("a call of a minute took no time")
	}
	p.SetDelay(0)

	good := encrypt(t, client)
	p.SetWrongKey(true)
	wrong := encrypt(t, client)
	if plain, err := client.Decrypt(t.Context(), "uid", good); err == nil && string(plain) == "data key" {
		t.Error("the right bytes came back")
	}
	p.SetWrongKey(false)
	if _, err := client.Decrypt(t.Context(), "uid", wrong); err == nil {
		t.Error("another key's ciphertext was unwrapped")
	}

	p.Stop()
	p.Stop()
	if works() {
		t.Error("a dead plugin answers")
	}
	if err := p.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(t.Context()); err == nil {
		t.Error("it listens twice")
	}
	if plain, err := dial(t, p).Decrypt(t.Context(), "uid", good); err != nil || string(plain) != "data key" {
		t.Errorf("after it came back: %q, %v", plain, err)
	}
}

func TestKeyringOnDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	keys, err := OpenKeyring(file, "a")
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := keys.Wrap("a", []byte("data key"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenKeyring(file, "b")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Unwrap("a", wrapped); err != nil || string(plain) != "data key" {
		t.Errorf("got %q, %v", plain, err)
	}
	if _, err := again.Unwrap("b", wrapped); err == nil {
		t.Error("key b unwraps what key a wrapped")
	}
}
