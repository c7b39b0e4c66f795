// SPDX-License-Identifier: Apache-2.0

package kmsplugin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"k8s.io/kms/pkg/service"
)

// ErrTold is what the plugin answers when it was told to fail.
var ErrTold = errors.New("the plugin was told to fail")

// Calls counts the calls of each method, those that failed included.
type Calls struct {
	Status, Encrypt, Decrypt int
}

// Service answers the calls of the protocol out of a Keyring, and goes wrong when it is told to.
type Service struct {
	keys *Keyring

	mu     sync.Mutex
	calls  Calls
	faults faults
	seen   metadata.MD
}

// faults are how the plugin goes wrong. The zero value is a plugin that works.
type faults struct {
	delay    time.Duration
	fail     bool
	flap     int // every n-th call works; 0 and 1 mean all
	flapped  int
	wrongKey bool
}

var _ service.Service = (*Service)(nil)

// NewService returns a service that works.
func NewService(keys *Keyring) *Service { return &Service{keys: keys} }

// SetDelay makes each call take this long.
func (s *Service) SetDelay(d time.Duration) { s.set(func(f *faults) { f.delay = d }) }

// SetFail makes every call fail, or work again.
func (s *Service) SetFail(fail bool) { s.set(func(f *faults) { f.fail = fail }) }

// SetFlap makes only every n-th call work. 0 ends it.
func (s *Service) SetFlap(n int) { s.set(func(f *faults) { f.flap, f.flapped = n, 0 }) }

// SetWrongKey makes Encrypt name the current key but wrap under another one, and Decrypt answer with bytes that were
// never wrapped.
func (s *Service) SetWrongKey(wrong bool) { s.set(func(f *faults) { f.wrongKey = wrong }) }

func (s *Service) set(change func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
}

// Calls returns the counts so far.
func (s *Service) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Metadata returns all that the headers of the calls so far held, each value once.
func (s *Service) Metadata() metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Copy()
}

// remember keeps the headers of a call. The lock is held.
func (s *Service) remember(ctx context.Context) {
	header, _ := metadata.FromIncomingContext(ctx)
	for name, values := range header {
		for _, value := range values {
			if !slices.Contains(s.seen.Get(name), value) {
				s.seen = metadata.Join(s.seen, metadata.Pairs(name, value))
			}
		}
	}
}

// ResetCalls sets the counts to zero.
func (s *Service) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = Calls{}
}

// Status implements service.Service.
func (s *Service) Status(ctx context.Context) (*service.StatusResponse, error) {
	if _, err := s.enter(ctx, func(c *Calls) { c.Status++ }); err != nil {
		return nil, err
	}
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: s.keys.Current()}, nil
}

// Encrypt implements service.Service.
func (s *Service) Encrypt(ctx context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	wrong, err := s.enter(ctx, func(c *Calls) { c.Encrypt++ })
	if err != nil {
		return nil, err
	}
	keys, id := s.keys, s.keys.Current()
	if wrong {
		keys = NewKeyring(id)
	}
	wrapped, err := keys.Wrap(id, data)
	if err != nil {
		return nil, err
	}
	return &service.EncryptResponse{Ciphertext: wrapped, KeyID: id}, nil
}

// Decrypt implements service.Service.
func (s *Service) Decrypt(ctx context.Context, _ string, req *service.DecryptRequest) ([]byte, error) {
	wrong, err := s.enter(ctx, func(c *Calls) { c.Decrypt++ })
	if err != nil {
		return nil, err
	}
	plain, err := s.keys.Unwrap(req.KeyID, req.Ciphertext)
	if err == nil && wrong {
		for i := range plain {
			plain[i] ^= 0x55
		}
	}
	return plain, err
}

// enter counts a call and does what the plugin was told to do to it.
func (s *Service) enter(ctx context.Context, count func(*Calls)) (wrongKey bool, err error) {
	s.mu.Lock()
	s.remember(ctx)
	count(&s.calls)
	f := s.faults
	s.faults.flapped++
	s.mu.Unlock()
	if f.delay > 0 {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(f.delay):
		}
	}
	if f.fail || f.flap > 1 && (f.flapped+1)%f.flap != 0 {
		return false, ErrTold
	}
	return f.wrongKey, nil
}
