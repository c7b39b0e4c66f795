// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
)

// HeaderRevision is the response header that says at which revision of etcd all names were read.
const HeaderRevision = "X-Secret-Revision"

// The service answers under two names, with the same messages: Grafana's services moved from the first to the second.
const (
	rpcPath   = decryptv1beta1connect.SecureValueDecrypterDecryptSecureValuesProcedure
	rpcPathV1 = "/decryptv1.SecureValueDecrypter/DecryptSecureValues"
)

func isRPCPath(path string) bool { return path == rpcPath || path == rpcPathV1 }

// maxRequestBytes bounds a request message, before and after decompression: 128 names of 253 bytes take less than half
// of it.
const maxRequestBytes = 80 << 10

// rpc is the face for gRPC, gRPC-Web and Connect.
type rpc struct {
	service *Service
}

var _ decryptv1beta1connect.SecureValueDecrypterHandler = (*rpc)(nil)

// newRPCHandler serves both paths. It reads gzip and never writes it: the length of a compressed answer would tell what
// the value has in common with what the caller can choose.
func newRPCHandler(service *Service) http.Handler {
	options := append(codecs(), connect.WithReadMaxBytes(maxRequestBytes), connect.WithCompressMinBytes(math.MaxInt),
		connect.WithCompression("gzip",
			func() connect.Decompressor { return &boundedGzip{} },
			func() connect.Compressor { return gzip.NewWriter(io.Discard) }))
	return connect.NewUnaryHandler(rpcPath, (&rpc{service}).DecryptSecureValues, options...)
}

// boundedGzip stops a little after maxRequestBytes of output. The library reads on to the end of a message that is too
// large, to report its size: 80 KiB of gzip can hold 80 MiB.
type boundedGzip struct {
	gzip.Reader
	left int64
}

var errTooLarge = errors.New("the message is too large")

// Reset implements connect.Decompressor.
func (r *boundedGzip) Reset(source io.Reader) error {
	r.left = maxRequestBytes + 1
	return r.Reader.Reset(source)
}

// Read implements io.Reader.
func (r *boundedGzip) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errTooLarge
	}
	n, err := r.Reader.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
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
