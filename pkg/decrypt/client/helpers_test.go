// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
)

// server is a decrypt service that answers as a test tells it.
type server struct {
	*httptest.Server
	changes           *changes
	caFile, tokenFile string

	mu     sync.Mutex
	values map[string]string // "error: TEXT" is an error message
	fail   []error           // what the next calls end with; nil does not fail
	plain  []int             // what the next requests are answered with by something that speaks no RPC
	header http.Header       // of those answers
	token  string
	calls  [][]string               // names of each call that came through
	seen   int                      // requests
	secure *tls.Config              // of the next handshakes, when set
	shakes int                      // handshakes
	allow  func(*http.Request) bool // instead of the token, when set
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{values: map[string]string{}, token: "token-1", header: http.Header{}}
	s.changes = &changes{states: map[string]state{}, streams: map[*sending]struct{}{}}
	_, rpc := decryptv1beta1connect.NewSecureValueDecrypterHandler(s)
	path, watch := secretwatchv1connect.NewSecureValueWatcherHandler(s.changes)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := s.admit(r); code != 0 {
			for name := range s.header {
				w.Header().Set(name, s.header.Get(name))
			}
			w.WriteHeader(code)
			return
		}
		if strings.HasPrefix(r.URL.Path, path) {
			watch.ServeHTTP(w, r)
			return
		}
		rpc.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shakes++
		return s.secure, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	s.caFile, s.tokenFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	writeFile(t, s.caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	writeFile(t, s.tokenFile, s.token+"\n")
	return s
}

func (s *server) admit(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen++
	if len(s.plain) > 0 {
		code := s.plain[0]
		s.plain = s.plain[1:]
		return code
	}
	allowed := r.Header.Get("Authorization") == "Bearer "+s.token
	if s.allow != nil {
		allowed = s.allow(r)
	}
	if !allowed {
		return http.StatusUnauthorized
	}
	return 0
}

// DecryptSecureValues implements the service.
func (s *server) DecryptSecureValues(_ context.Context, request *connect.Request[decryptv1beta1.DecryptSecureValuesRequest]) (*connect.Response[decryptv1beta1.DecryptSecureValuesResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, request.Msg.GetNames())
	if len(s.fail) > 0 {
		err := s.fail[0]
		s.fail = s.fail[1:]
		if err != nil {
			return nil, err
		}
	}
	if len(request.Msg.GetNames()) > maxNames {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("too many names"))
	}
	results := map[string]*decryptv1beta1.Result{"unasked": {Result: &decryptv1beta1.Result_Value{Value: "unasked"}}}
	for _, name := range request.Msg.GetNames() {
		results[name] = s.result(request.Msg.GetNamespace() + "/" + name)
	}
	return connect.NewResponse(&decryptv1beta1.DecryptSecureValuesResponse{DecryptedValues: results}), nil
}

func (s *server) result(key string) *decryptv1beta1.Result {
	value, ok := s.values[key]
	switch {
	case !ok:
		value = "error: not found"
	case value == "nothing":
		return &decryptv1beta1.Result{}
	}
	if text, failed := strings.CutPrefix(value, "error: "); failed {
		if text == "unavailable" {
			s.values[key] = "recovered" // the next time
		}
		return &decryptv1beta1.Result{Result: &decryptv1beta1.Result_ErrorMessage{ErrorMessage: text}}
	}
	return &decryptv1beta1.Result{Result: &decryptv1beta1.Result_Value{Value: value}}
}

func (s *server) set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values["default/"+key] = value
}

func (s *server) lengths() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lengths []int
	for _, names := range s.calls {
		lengths = append(lengths, len(names))
	}
	return lengths
}

func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *server) config() Config {
	return Config{URL: s.URL, CAFile: s.caFile, TokenFile: s.tokenFile}
}

func (s *server) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(s.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func numbered(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n-%03d", i))
	}
	return names
}

func exposed(values map[string]Value) []string {
	var all []string
	for name, value := range values {
		all = append(all, name+"="+value.Expose())
	}
	slices.Sort(all)
	return all
}
