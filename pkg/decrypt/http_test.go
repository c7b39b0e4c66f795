// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/waitgroup"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// The body of a stranger is timed: what guard.Receive finds came through guard.WithTimeouts, before anybody asks who it
// is.
func TestPortTimesBodies(t *testing.T) {
	answer := httptest.NewRecorder()
	handler := NewHandler(HandlerConfig{
		Service: newTestService(&steps{}), Draining: &waitgroup.SafeWaitGroup{},
		Authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			err := httpguard.Receive(r.Context(), httpguard.User("stranger"), 1)
			if _, timed := errors.AsType[*http.MaxBytesError](err); !timed {
				t.Errorf("Receive = %v, want that the body is too long: it does not come through WithTimeouts", err)
			}
			return nil, false, nil
		}),
	})
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}")))
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("status %d", answer.Code)
	}
}

// FuzzBody compares what the body of a GET says with what encoding/json reads, and asks for one allocation.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{"", "a", `"\`, "\x00\x1f\x7f", "ü\u2028😀", "</script>", "line\nline\r\t"} {
		f.Add(seed, "a description")
	}
	f.Fuzz(func(t *testing.T, value, description string) {
		if !utf8.ValidString(value) || !utf8.ValidString(description) {
			return // neither is ever stored
		}
		object := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "stacks-42", Labels: map[string]string{"b": "2", "a": "1"}}}
		object.Spec.Description = description
		raw := jsonBody(&Result{Object: object, Value: sensitive.Value(value)})
		var got struct {
			body
			Plaintext *string `json:"plaintext"`
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if got.Plaintext == nil || *got.Plaintext != value || got.Description != description {
			t.Errorf("%q became %q", value, raw)
		}
		if got.StackID != 42 || got.OrgID != 0 || got.Labels[0] != (label{"a", "1"}) || bytes.Contains(raw, []byte("org_id")) {
			t.Errorf("%+v", got.body)
		}
	})
}

func FuzzSplitGetPath(f *testing.F) {
	for _, seed := range []string{"/decrypt/v1/namespaces/a/secrets/b/decrypt", "/decrypt/v1/namespaces//secrets//decrypt", "/decrypt/v1/namespaces/secrets/decrypt", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		namespace, name, ok := splitGetPath(path)
		if ok && getPrefix+namespace+getMiddle+name+getSuffix != path {
			t.Errorf("%q was taken apart into %q and %q", path, namespace, name)
		}
	})
}

func TestPrefersPlain(t *testing.T) {
	for header, want := range map[string]bool{
		"":                                  false,
		"*/*":                               false,
		"application/json":                  false,
		"text/plain":                        true,
		"TEXT/Plain":                        true,
		"text/plain; charset=utf-8":         true,
		"text/plain;q=0.5":                  true,
		"text/plain;Q=0.9, */*;q=0.1":       true,
		"text/*":                            true,
		"*/*, text/plain":                   true,
		"text/plain, application/json":      true,
		"application/json, text/plain":      false,
		"application/json, text/plain, */*": false,
		"text/plain;q=0.4, application/json;q=0.5": false,
		"application/json;q=0.5, text/plain;q=0.6": true,
		"text/plain;q=0":            false,
		"text/*, text/plain;q=0":    false,
		"application/json;q=0, */*": true,
		"image/png":                 false,
		"text/plainx":               false,
		"garbage, ;;, text/plain":   true,
	} {
		if got := prefersPlain([]string{header}); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
	if !prefersPlain([]string{"application/json;q=0.1", "text/plain"}) {
		t.Error("the second header does not count")
	}
}

func TestDescribe(t *testing.T) {
	created := metav1.Unix(1700000000, 0)
	for namespace, want := range map[string]body{
		"default": {OrgID: 1}, "org-7": {OrgID: 7}, "stacks-42": {StackID: 42}, "team": {}, "org-0": {}, "org-x": {},
	} {
		for updated, modified := range map[string]int64{"": 1700000000, "2023-11-14T22:13:21Z": 1700000001, "yesterday": 1700000000} {
			object := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, CreationTimestamp: created}}
			object.Annotations = map[string]string{secret.AnnotationUpdatedTimestamp: updated}
			want.Labels, want.CreatedAt, want.ModifiedAt = []label{}, created.Unix(), modified
			if got := describe(object); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, updated %q: %+v", namespace, updated, got)
			}
		}
	}
}

func TestPlainPaths(t *testing.T) {
	for path, want := range map[string]bool{
		"/decrypt/%76%31/x": true, "/a%2Db%2e%7E": true, "/a": true, "/%41": true,
		"/a%2fb": false, "/a%2Fb%41": false, "/%00%2f": false, "/a%25%41": false, "/a%3b%41": false, "/%c3%bc%2f": false,
	} {
		u, err := url.Parse("https://host" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := hasPlainPath(u); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// TestGzipBombStops reads as the library does, to the end: 64 MiB come out of 64 KiB, but not here.
func TestGzipBombStops(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := w.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := &boundedGzip{}
	for range 2 { // it is used again
		if err := r.Reset(bytes.NewReader(bomb.Bytes())); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); n > maxRequestBytes || !errors.Is(err, errTooLarge) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}

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

// An answer with a "not found" leaves at the next point of the grid, however long the read took; any other one leaves
// at once. The clock is that of a bubble.
func TestNotFoundLeavesOnTheGrid(t *testing.T) {
	for _, test := range []struct {
		names []string
		waits bool
	}{
		{[]string{"a"}, false},
		{[]string{"secret"}, false},
		{[]string{"a", "secret", "changed"}, false},
		{[]string{"absent"}, true},
		{[]string{"foreign"}, true},
		{[]string{"damaged"}, true},
		{[]string{"deleted"}, true},
		{[]string{"a", "absent"}, true},
	} {
		for _, read := range []time.Duration{0, time.Microsecond, notFoundPace - 1, notFoundPace + time.Millisecond} {
			if test.names[0] == "secret" {
				read = 0 // nothing is read
			}
			t.Run(fmt.Sprint(test.names, " read in ", read), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &steps{takes: read, openErr: map[string]error{"changed": sealed.ErrBound}}
					started, want := time.Now(), read
					if test.waits {
						want = read.Truncate(notFoundPace) + notFoundPace
					}
					_, err := newTestService(s).Decrypt(t.Context(), Request{User: anybody, Namespace: "ns", Names: test.names})
					if took := time.Since(started); err != nil || took != want {
						t.Errorf("answered after %s, want %s: %v", took, want, err)
					}
				})
			})
		}
	}
}
