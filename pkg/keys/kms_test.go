// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"k8s.io/kms/pkg/service"
)

// slowPlugin answers when it is told to.
type slowPlugin struct {
	service.Service
	calls   atomic.Int64
	release chan struct{}
	err     error
}

func (s *slowPlugin) Decrypt(ctx context.Context, _ string, req *service.DecryptRequest) ([]byte, error) {
	s.calls.Add(1)
	select {
	case <-s.release:
		return append([]byte("plain:"), req.Ciphertext...), s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestEqualCallsBecomeOne(t *testing.T) {
	requests := []*service.DecryptRequest{
		{KeyID: "a", Ciphertext: []byte("one")},
		{KeyID: "b", Ciphertext: []byte("one")},
		{KeyID: "a", Ciphertext: []byte("two")},
		{KeyID: "a", Ciphertext: []byte("one"), Annotations: map[string][]byte{"x.example.com": []byte("1")}},
	}
	synctest.Test(t, func(t *testing.T) {
		plugin := &slowPlugin{release: make(chan struct{})}
		c := &kmsPlugin{Service: plugin, life: t.Context(), keys: newDataKeys()}
		var group sync.WaitGroup
		for _, request := range requests {
			for range 20 {
				group.Go(func() {
					got, err := c.Decrypt(t.Context(), "uid", request)
					if err != nil || string(got) != "plain:"+string(request.Ciphertext) {
						t.Errorf("got %q, %v", got, err)
					}
					clear(got) // a caller may wipe its key: the others have copies
				})
			}
		}
		synctest.Wait() // until every caller waits for the plugin
		close(plugin.release)
		group.Wait()
		if calls := plugin.calls.Load(); calls != int64(len(requests)) {
			t.Errorf("%d calls for %d different requests", calls, len(requests))
		}
	})
}

func TestACallerThatGivesUpLeavesTheOthersTheirCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plugin := &slowPlugin{release: make(chan struct{})}
		c := &kmsPlugin{Service: plugin, life: t.Context(), keys: newDataKeys()}
		request := &service.DecryptRequest{KeyID: "a", Ciphertext: []byte("one")}
		ask := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := c.Decrypt(ctx, "uid", request)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		impatient, patient := ask(ctx), ask(t.Context())
		cancel()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Errorf("the impatient caller got %v", err)
		}
		close(plugin.release)
		if err := <-patient; err != nil {
			t.Errorf("the patient caller got %v", err)
		}
		if calls := plugin.calls.Load(); calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}

func TestErrorsReachEveryCaller(t *testing.T) {
	plugin := &slowPlugin{release: make(chan struct{}), err: errors.New("no such key")}
	close(plugin.release)
	c := &kmsPlugin{Service: plugin, life: t.Context(), keys: newDataKeys()}
	if got, err := c.Decrypt(t.Context(), "uid", &service.DecryptRequest{KeyID: "a"}); got != nil ||
		!errors.Is(err, plugin.err) {
		t.Errorf("got %q, %v", got, err)
	}
}

// flightKey must not confuse where one part ends and the next begins.
func TestFlightKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, request := range []*service.DecryptRequest{
		{KeyID: "ab", Ciphertext: []byte("c")},
		{KeyID: "a", Ciphertext: []byte("bc")},
		{KeyID: "a", Ciphertext: []byte("b"), Annotations: map[string][]byte{"c": nil}},
		{KeyID: "a", Ciphertext: []byte("b"), Annotations: map[string][]byte{"c": []byte("d")}},
		{KeyID: "a", Ciphertext: []byte("b"), Annotations: map[string][]byte{"c": nil, "d": nil}},
	} {
		key := flightKey(request)
		if seen[key] || key != flightKey(request) {
			t.Errorf("%+v shares its key", request)
		}
		seen[key] = true
	}
}
