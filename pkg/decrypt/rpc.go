// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
)

// HeaderRevision is the response header with the revision of etcd at which all names were read.
const HeaderRevision = "X-Secret-Revision"

// The service has two names, with the same messages: Grafana's services moved from the first to the second.
const (
	rpcPath   = decryptv1beta1connect.SecureValueDecrypterDecryptSecureValuesProcedure
	rpcPathV1 = "/decryptv1.SecureValueDecrypter/DecryptSecureValues"
)

func isRPCPath(path string) bool { return path == rpcPath || path == rpcPathV1 }

// isRPC reports whether a request uses gRPC, gRPC-Web or Connect.
func isRPC(r *http.Request) bool {
	return r.Method == http.MethodPost && (isGRPC(r) || isRPCPath(r.URL.Path))
}

func isGRPC(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

const (
	// maxRequestBytes bounds a request message, before and after decompression: 128 names of 253 bytes take less than
	// half of it.
	maxRequestBytes = 80 << 10
	// grpcFrameBytes precede a message of gRPC.
	grpcFrameBytes = 5
)

var errTooLarge = connect.NewError(connect.CodeResourceExhausted,
	fmt.Errorf("the message is larger than %d bytes: ask for fewer names in one call", maxRequestBytes))

// rpc is the handler of gRPC, gRPC-Web and Connect.
type rpc struct {
	service *Service
}

var _ decryptv1beta1connect.SecureValueDecrypterHandler = (*rpc)(nil)

// newRPCHandler serves both paths. It reads gzip and never writes it: the length of a compressed answer would reveal
// what the value has in common with what the caller can choose.
func newRPCHandler(service *Service) http.Handler {
	options := append(codecs(), connect.WithReadMaxBytes(maxRequestBytes), connect.WithCompressMinBytes(math.MaxInt),
		connect.WithCompression("gzip",
			func() connect.Decompressor { return &boundedGzip{} },
			func() connect.Compressor { return gzip.NewWriter(io.Discard) }))
	return connect.NewUnaryHandler(rpcPath, (&rpc{service}).DecryptSecureValues, options...)
}

// DecryptSecureValues implements the service.
func (h *rpc) DecryptSecureValues(
	ctx context.Context, r *connect.Request[decryptv1beta1.DecryptSecureValuesRequest],
) (*connect.Response[decryptv1beta1.DecryptSecureValuesResponse], error) {
	answer, err := h.service.Decrypt(ctx, newRequest(ctx, r.Peer().Addr, r.Msg.GetNamespace(), r.Msg.GetNames()...))
	if err != nil {
		if refusal, ok := errors.AsType[*connect.Error](err); ok && retryable(refusal) {
			refusal.Meta().Set("Retry-After", retryAfter)
		}
		return nil, err
	}
	response := connect.NewResponse(&decryptv1beta1.DecryptSecureValuesResponse{
		DecryptedValues: make(map[string]*decryptv1beta1.Result, len(answer.Results)),
	})
	for i := range answer.Results {
		response.Msg.DecryptedValues[answer.Results[i].Name] = answer.Results[i].toProto()
	}
	if answer.Revision > 0 {
		response.Header().Set(HeaderRevision, strconv.FormatInt(answer.Revision, 10))
	}
	return response, nil
}

// toProto is the one place where a value is put into a message.
func (r *Result) toProto() *decryptv1beta1.Result {
	if r.outcome == released {
		return &decryptv1beta1.Result{Result: &decryptv1beta1.Result_Value{Value: r.Value.Expose()}}
	}
	return &decryptv1beta1.Result{Result: &decryptv1beta1.Result_ErrorMessage{ErrorMessage: r.outcome.message}}
}

// boundedGzip stops after maxRequestBytes of output. The library would read to the end of a message that is too large,
// to report its size: 80 KiB of gzip can hold 80 MiB.
type boundedGzip struct {
	gzip.Reader
	left int64
}

// Reset implements connect.Decompressor.
func (r *boundedGzip) Reset(source io.Reader) error {
	r.left = maxRequestBytes
	return r.Reader.Reset(source)
}

// Read implements io.Reader.
func (r *boundedGzip) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p[:min(int64(len(p)), r.left+1)]) // one more, to see whether there is more
	r.left -= int64(n)
	if r.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// errUndecodable is the error of every body that is not a message. The library's own errors quote the body, which may
// contain a value that was pasted into the wrong place.
var errUndecodable = errors.New(
	"the body is not a DecryptSecureValuesRequest: send namespace, a string, and names, a list of strings")

// codec encodes messages as the library does, with errors that quote nothing.
type codec struct {
	name      string
	marshal   func([]byte, proto.Message) ([]byte, error)
	unmarshal func([]byte, proto.Message) error
}

var _ connect.Codec = (*codec)(nil)

// codecs replace the library's, under the same names.
func codecs() []connect.HandlerOption {
	read := protojson.UnmarshalOptions{DiscardUnknown: true} // so that an older server accepts a newer client's message
	write := protojson.MarshalOptions{}
	var options []connect.HandlerOption
	for _, c := range []*codec{
		{"json", write.MarshalAppend, read.Unmarshal},
		{"json; charset=utf-8", write.MarshalAppend, read.Unmarshal},
		{"proto", proto.MarshalOptions{}.MarshalAppend, proto.Unmarshal},
	} {
		options = append(options, connect.WithCodec(c))
	}
	return options
}

// Name is the part of the content type that selects the codec.
func (c *codec) Name() string { return c.name }

// Marshal encodes a message.
func (c *codec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend appends an encoded message to dst.
func (c *codec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return c.marshal(dst, m)
}

// Unmarshal decodes a message. Its error is errUndecodable, whatever is wrong.
func (c *codec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a protobuf message", message)
	}
	if c.unmarshal(data, m) != nil {
		return errUndecodable
	}
	return nil
}
