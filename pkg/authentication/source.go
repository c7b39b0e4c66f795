// SPDX-License-Identifier: Apache-2.0

package authentication

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

// source is one file of the operator. Its methods are for one goroutine.
type source struct {
	// flag is the name of the flag that gave the path, without dashes. It is the metric's label.
	flag string
	path string
	// apply puts the content in force. When it fails it has changed nothing. It must not keep data.
	apply func(ctx context.Context, data []byte) error

	seen  [sha256.Size]byte // of the last read
	tried [sha256.Size]byte // of the last content given to apply
	gone  bool              // the last read failed
}

// load reads the file for the first time.
func (s *source) load(ctx context.Context) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return fmt.Errorf("--%s: %w", s.flag, err)
	}
	s.seen = sha256.Sum256(data)
	s.tried = s.seen
	return s.use(ctx, data)
}

// run checks the file until ctx ends.
func (s *source) run(ctx context.Context, every time.Duration) {
	wait.UntilWithContext(ctx, s.check, every)
}

// check reads the file once, and applies content that is new and was the same at the check before.
func (s *source) check(ctx context.Context) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		s.unreadable(err)
		return
	}
	s.gone = false
	sum := sha256.Sum256(data)
	settled := sum == s.seen
	s.seen = sum
	if !settled || sum == s.tried {
		return
	}
	s.tried = sum
	if err := s.use(ctx, data); err != nil {
		s.failed(err)
		return
	}
	reloads.WithLabelValues(s.flag, resultSuccess).Inc()
	klog.InfoS("Authentication file reloaded", "flag", s.flag, "path", s.path)
}

// use applies data and wipes it: it may hold tokens.
func (s *source) use(ctx context.Context, data []byte) error {
	defer clear(data)
	if err := s.apply(ctx, data); err != nil {
		return fmt.Errorf("--%s %q: %w", s.flag, s.path, err)
	}
	return nil
}

// unreadable reports a file that cannot be read, once until it can be read again.
func (s *source) unreadable(err error) {
	if s.gone {
		return
	}
	s.gone = true
	s.failed(fmt.Errorf("--%s: %w", s.flag, err))
}

func (s *source) failed(err error) {
	reloads.WithLabelValues(s.flag, resultFailure).Inc()
	klog.ErrorS(err, "Authentication file not reloaded, its last good content stays in force")
}
