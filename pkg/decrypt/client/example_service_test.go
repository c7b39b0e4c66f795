// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"encoding/pem"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
)

// service stands for the server in the examples.
type service struct {
	url, caFile, tokenFile string
	stop                   func()

	mu      sync.Mutex
	values  map[string]string
	version int64
	changed chan struct{} // closed by a change
}

func startService(values map[string]string) *service {
	s := &service{values: values, version: 1, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle(decryptv1beta1connect.NewSecureValueDecrypterHandler(s))
	mux.Handle(secretwatchv1connect.NewSecureValueWatcherHandler(s))
	server := httptest.NewTLSServer(mux)
	dir, err := os.MkdirTemp("", "example")
	check(err)
	s.url, s.caFile, s.tokenFile = server.URL, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	check(os.WriteFile(s.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	check(os.WriteFile(s.tokenFile, []byte("token"), 0o600))
	s.stop = func() { server.Close(); check(os.RemoveAll(dir)) }
	return s
}

// write is a new value, as kubectl apply brings it.
func (s *service) write(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = value
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

// Watch implements the stream of changes: any change is one of all names.
func (s *service) Watch(
	ctx context.Context, request *connect.Request[secretwatchv1.WatchRequest], stream *connect.ServerStream[secretwatchv1.WatchEvent],
) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		version, changed := s.version, s.changed
		s.mu.Unlock()
		for _, name := range request.Msg.GetNames() {
			if err := stream.Send(&secretwatchv1.WatchEvent{Name: name, Uid: "1", Version: version}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// DecryptSecureValues implements the service.
func (s *service) DecryptSecureValues(_ context.Context, request *connect.Request[decryptv1beta1.DecryptSecureValuesRequest]) (*connect.Response[decryptv1beta1.DecryptSecureValuesResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := map[string]*decryptv1beta1.Result{}
	for _, name := range request.Msg.GetNames() {
		results[name] = &decryptv1beta1.Result{Result: &decryptv1beta1.Result_ErrorMessage{ErrorMessage: "not found"}}
		if value, ok := s.values[name]; ok {
			results[name] = &decryptv1beta1.Result{Result: &decryptv1beta1.Result_Value{Value: value}}
		}
	}
	return connect.NewResponse(&decryptv1beta1.DecryptSecureValuesResponse{DecryptedValues: results}), nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
