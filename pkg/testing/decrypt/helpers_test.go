// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	rpcPath   = "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
	k6Token   = harness.K6Token
	patience  = 60 * time.Second
	namespace = "default"
)

// start runs a server on which user k6 may open what lists k6-cloud.
func start(t testing.TB, args ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Options{Args: args}.WithK6(namespace))
}

// ask sends a request to the decrypt port.
func ask(t testing.TB, s *harness.Server, r harness.Request) harness.Response {
	t.Helper()
	return s.OnDecryptPort().Do(t, r)
}

func get(t testing.TB, s *harness.Server, token, namespace, name string) harness.Response {
	t.Helper()
	return s.OnDecryptPort().Get(t, harness.DecryptPath(namespace, name), token)
}

// connectJSON is a call by Connect with JSON, as curl sends it.
func connectJSON(t testing.TB, s *harness.Server, token, namespace string, names ...string) harness.Response {
	t.Helper()
	body, err := json.Marshal(map[string]any{"namespace": namespace, "names": names})
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, s, harness.Request{Method: http.MethodPost, Path: rpcPath, Token: token, ContentType: "application/json", Body: string(body)})
}

// results are what connectJSON answered: a value, or "!" and the message.
func results(t testing.TB, r harness.Response) map[string]string {
	t.Helper()
	var body struct {
		DecryptedValues map[string]struct{ Value, ErrorMessage string }
	}
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Code != http.StatusOK {
		t.Fatalf("%d %s %v", r.Code, r.Body, err)
	}
	all := map[string]string{}
	for name, result := range body.DecryptedValues {
		all[name] = result.Value
		if result.ErrorMessage != "" {
			all[name] = "!" + result.ErrorMessage
		}
	}
	return all
}

// dial is a gRPC connection of google.golang.org/grpc, which knows nothing of this project's server.
func dial(t testing.TB, s *harness.Server) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(s.DecryptURL, "https://"),
		grpc.WithTransportCredentials(credentials.NewTLS(s.TLS())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// callGRPC is a call by gRPC as k6; header gets the response's header.
func callGRPC(
	ctx context.Context, conn *grpc.ClientConn, header *metadata.MD, namespace string, names ...string,
) (map[string]*decryptv1beta1.Result, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+k6Token)
	if header == nil {
		header = &metadata.MD{}
	}
	var response decryptv1beta1.DecryptSecureValuesResponse
	request := &decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: names}
	err := conn.Invoke(ctx, rpcPath, request, &response, grpc.Header(header))
	return response.GetDecryptedValues(), err
}
