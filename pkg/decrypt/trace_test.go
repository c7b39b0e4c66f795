// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"net/http"
	"testing"
)

type noHandler struct{}

func (*noHandler) ServeHTTP(http.ResponseWriter, *http.Request) {}

// Without a tracer a request passes nothing more than before.
func TestNoTracerNoWork(t *testing.T) {
	next := &noHandler{}
	if withTrace(next, nil) != http.Handler(next) {
		t.Error("the handler is wrapped")
	}
	s, ctx := &Service{}, t.Context()
	allocated := testing.AllocsPerRun(100, func() {
		staged, end := s.stage(ctx, "a stage")
		end()
		s.annotate(ctx, nil, nil, nil)
		if staged != ctx {
			t.Error("the context is another one")
		}
	})
	if allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}
