// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
)

// HeaderRevision is the response header that says at which revision of etcd all names were read.
const HeaderRevision = "X-Secret-Revision"

// rpcPath is the only path of the service.
const rpcPath = decryptv1beta1connect.SecureValueDecrypterDecryptSecureValuesProcedure

// maxRequestBytes bounds a request message: 128 names of 253 bytes take less than half of it.
const maxRequestBytes = 80 << 10

// rpc is the face for gRPC, gRPC-Web and Connect.
type rpc struct {
	service *Service
}

var _ decryptv1beta1connect.SecureValueDecrypterHandler = (*rpc)(nil)

// newRPCHandler has no compression: a compressed answer would tell by its length what it has in common with what the
// caller can choose, and a compressed request could be a bomb.
func newRPCHandler(service *Service) http.Handler {
	options := append(codecs(), connect.WithReadMaxBytes(maxRequestBytes), connect.WithCompression("gzip", nil, nil))
	_, handler := decryptv1beta1connect.NewSecureValueDecrypterHandler(&rpc{service}, options...)
	return handler
}

// DecryptSecureValues implements the service.
func (h *rpc) DecryptSecureValues(
	ctx context.Context, r *connect.Request[decryptv1beta1.DecryptSecureValuesRequest],
) (*connect.Response[decryptv1beta1.DecryptSecureValuesResponse], error) {
	answer, err := h.service.Decrypt(ctx, newRequest(ctx, r.Peer().Addr, r.Msg.GetNamespace(), r.Msg.GetNames()...))
	if err != nil {
		return nil, withRetryAfter(err)
	}
	response := connect.NewResponse(&decryptv1beta1.DecryptSecureValuesResponse{
		DecryptedValues: make(map[string]*decryptv1beta1.Result, len(answer.Results)),
	})
	for i := range answer.Results {
		response.Msg.DecryptedValues[answer.Results[i].Name] = answer.Results[i].message()
	}
	if answer.Revision > 0 {
		response.Header().Set(HeaderRevision, strconv.FormatInt(answer.Revision, 10))
	}
	return response, nil
}

// message is the result as it goes over the wire: the one place where a value is put into a message.
func (r *Result) message() *decryptv1beta1.Result {
	if r.Outcome == Released {
		return &decryptv1beta1.Result{Result: &decryptv1beta1.Result_Value{Value: r.Value.Expose()}}
	}
	return &decryptv1beta1.Result{Result: &decryptv1beta1.Result_ErrorMessage{ErrorMessage: r.Outcome.Message()}}
}
