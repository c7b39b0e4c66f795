// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/component-base/metrics/testutil"
)

var errRefused = errors.New("refused")

// recorder is what a File reports to. Content that starts with "bad" is refused, with "later" refused for now.
type recorder struct {
	File
	applied []string
	done    []string
	kept    []byte
}

func newRecorder(t *testing.T, content string) *recorder {
	t.Helper()
	r := &recorder{}
	r.Flag, r.Path = rand.Text(), filepath.Join(t.TempDir(), "file")
	r.Apply = func(_ context.Context, data []byte) error {
		r.kept = data
		switch text := string(data); {
		case strings.HasPrefix(text, "bad"):
			return errRefused
		case strings.HasPrefix(text, "later"):
			return fmt.Errorf("not yet: %w", ErrRetry)
		default:
			r.applied = append(r.applied, text)
			return nil
		}
	}
	r.write(t, content)
	return r
}

func (r *recorder) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(r.Path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *recorder) check(t *testing.T, times int) {
	t.Helper()
	for range times {
		r.checkOnce(t, false)
	}
}

// checkOnce notes what the metrics say of one check.
func (r *recorder) checkOnce(t *testing.T, asked bool) {
	t.Helper()
	succeeded, failed := r.count(t, success), r.count(t, failure)
	r.Check(t.Context(), asked)
	if r.count(t, success) > succeeded {
		r.done = append(r.done, "ok")
	}
	if r.count(t, failure) > failed {
		r.done = append(r.done, "fault")
		if err := r.Fault(); err == nil || !strings.Contains(err.Error(), "--"+r.Flag) {
			t.Errorf("the error does not name the flag: %v", err)
		}
	}
	inForce, err := testutil.GetGaugeMetricValue(lastReload.WithLabelValues(r.Flag))
	if err != nil || (inForce == 1) != (r.Fault() == nil) {
		t.Errorf("last_reload_successful is %v, %v; the fault is %v", inForce, err, r.Fault())
	}
}

func (r *recorder) count(t *testing.T, result string) float64 {
	t.Helper()
	value, err := testutil.GetCounterMetricValue(reloads.WithLabelValues(r.Flag, result))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (r *recorder) want(t *testing.T, applied, done string) {
	t.Helper()
	if got := strings.Join(r.applied, " "); got != applied {
		t.Errorf("applied %q, want %q", got, applied)
	}
	if got := strings.Join(r.done, " "); got != done {
		t.Errorf("reported %q, want %q", got, done)
	}
}

func TestLoad(t *testing.T) {
	r := newRecorder(t, "one")
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.check(t, 3)
	r.want(t, "one", "")
	if !slices.Equal(r.kept, make([]byte, 3)) {
		t.Errorf("the content was not wiped: %q", r.kept)
	}
	for name, path := range map[string]string{"missing": r.Path + "x", "a folder": filepath.Dir(r.Path)} {
		r.Path = path
		if err := r.Load(t.Context()); err == nil || !strings.Contains(err.Error(), r.Flag) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := newRecorder(t, "bad secret")
	if err := bad.Load(t.Context()); !errors.Is(err, errRefused) || strings.Contains(err.Error(), "secret") {
		t.Errorf("refused content: %v", err)
	}
}

// An optional file is empty while there is none, and when it goes away.
func TestOptionalFile(t *testing.T) {
	r := newRecorder(t, "")
	r.Optional = true
	file := r.Path
	for _, absent := range []string{file + "x", filepath.Join(file, "below-a-file")} {
		r.Path = absent
		if err := r.Load(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.Path = file
	r.write(t, "one")
	r.check(t, 2)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.check(t, 2)
	if got := strings.Join(r.applied, ","); got != ",,one," {
		t.Errorf("applied %q", got)
	}
	r.Optional = false
	r.check(t, 2)
	r.want(t, "  one ", "ok ok fault")
}

func TestNewContentCountsOnceItHasSettled(t *testing.T) {
	r := newRecorder(t, "one")
	_ = r.Load(t.Context())
	r.write(t, "half")
	r.check(t, 1)
	r.write(t, "whole")
	r.check(t, 1)
	r.want(t, "one", "")
	r.check(t, 3)
	r.want(t, "one whole", "ok")
}

func TestRefusedContentIsTriedOnceAndMended(t *testing.T) {
	r := newRecorder(t, "one")
	_ = r.Load(t.Context())
	r.write(t, "bad")
	r.check(t, 5)
	r.want(t, "one", "fault")
	r.write(t, "one")
	r.check(t, 5)
	r.want(t, "one", "fault ok") // in force all the time: there is nothing to apply
	r.write(t, "bad")
	r.check(t, 5)
	r.write(t, "two")
	r.check(t, 5)
	r.want(t, "one two", "fault ok fault ok")
}

func TestContentForLaterIsTriedAgain(t *testing.T) {
	r := newRecorder(t, "one")
	_ = r.Load(t.Context())
	r.write(t, "later")
	r.check(t, 4)
	r.want(t, "one", "fault fault fault")
}

func TestAFileThatGoesAwayIsReportedOnce(t *testing.T) {
	r := newRecorder(t, "one")
	_ = r.Load(t.Context())
	if err := os.Remove(r.Path); err != nil {
		t.Fatal(err)
	}
	r.check(t, 5)
	r.want(t, "one", "fault")
	r.write(t, "one")
	r.check(t, 5)
	r.want(t, "one", "fault ok")
}

// The caller says that the file is complete, and that one which was refused may be tried again.
func TestAskedContentCountsAtOnce(t *testing.T) {
	r := newRecorder(t, "one")
	_ = r.Load(t.Context())
	r.write(t, "two")
	r.checkOnce(t, true)
	r.want(t, "one two", "ok")
	r.write(t, "bad")
	r.checkOnce(t, true)
	r.checkOnce(t, false)
	r.checkOnce(t, true)
	r.want(t, "one two", "ok fault fault")
	if err := r.Fault(); !errors.Is(err, errRefused) {
		t.Errorf("Fault() = %v", err)
	}
	r.write(t, "two")
	r.checkOnce(t, true)
	if err := r.Fault(); err != nil {
		t.Errorf("Fault() = %v after the file was mended", err)
	}
}

func TestEveryOnHangup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := make(chan bool)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Every(ctx, time.Hour, func(_ context.Context, asked bool) { calls <- asked })
	}()
	if <-calls {
		t.Error("the first call was not asked for")
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil { // it listens since before the first call
		t.Fatal(err)
	}
	if !<-calls {
		t.Error("the call after SIGHUP does not say so")
	}
	cancel()
	<-ended
}
