// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// failing is metadata whose first watches fail.
type failing struct {
	*metadata
	errs []error
}

func (f *failing) Follow(ctx context.Context) (watch.Interface, uint64, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, 0, err
	}
	return f.metadata.Follow(ctx)
}

// At a start the watch cache is not filled yet: that is not an error. Any other failure is logged once for each attempt.
func TestChangesWaitForTheWatchCache(t *testing.T) {
	state := klog.CaptureState()
	t.Cleanup(state.Restore)
	var logged []string
	klog.SetLogger(funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{}))
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		m := &failing{&metadata{stored: map[string]*secret.SecureValue{}, events: watch.NewFake()}, []error{
			apierrors.NewTooManyRequests("storage is (re)initializing", 1), errors.New("etcd is away"),
			apierrors.NewTooManyRequests("storage is (re)initializing", 1),
		}}
		changes := NewChanges(m)
		go changes.Run(ctx)
		time.Sleep(10 * time.Second)
		stop()
		synctest.Wait()
		if len(m.errs) != 0 {
			t.Errorf("%d attempts were not made", len(m.errs))
		}
	})
	if len(logged) != 1 || !strings.Contains(logged[0], "etcd is away") {
		t.Errorf("logged %q, want the failure of etcd alone", logged)
	}
}
