// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"encoding/pem"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/fake"
)

// service stands for the server in the examples.
type service struct {
	url, caFile, tokenFile string
	api                    *fake.Clientset
	stop                   func()

	mu     sync.Mutex
	values map[string]string
}

func startService(values map[string]string) *service {
	s := &service{values: values, api: fake.NewClientset()}
	_, handler := decryptv1beta1connect.NewSecureValueDecrypterHandler(s)
	server := httptest.NewTLSServer(handler)
	dir, err := os.MkdirTemp("", "example")
	check(err)
	s.url, s.caFile, s.tokenFile = server.URL, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	check(os.WriteFile(s.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	check(os.WriteFile(s.tokenFile, []byte("token"), 0o600))
	for name := range values {
		_, err := s.api.SecretV1beta1().SecureValues("default").Create(context.Background(), metadata(name, 1), metav1.CreateOptions{})
		check(err)
	}
	s.stop = func() { server.Close(); check(os.RemoveAll(dir)) }
	return s
}

func metadata(name string, version int64) *v1beta1.SecureValue {
	return &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1"},
		Spec:       v1beta1.SecureValueSpec{Decrypters: []string{"synthetic-monitoring"}},
		Status:     v1beta1.SecureValueStatus{Version: version},
	}
}

// write is a new value, as kubectl apply brings it.
func (s *service) write(name, value string) {
	s.mu.Lock()
	s.values[name] = value
	s.mu.Unlock()
	_, err := s.api.SecretV1beta1().SecureValues("default").Update(context.Background(), metadata(name, 2), metav1.UpdateOptions{})
	check(err)
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
