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
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// HeaderRevision is the response header with the revision of etcd at which all names were read.
const HeaderRevision = "X-Secret-Revision"

// The service has two names, with the same messages: Grafana's services moved from the first to the second.
const (
	rpcPath   = decryptv1beta1connect.SecureValueDecrypterDecryptSecureValuesProcedure
	rpcPathV1 = "/decryptv1.SecureValueDecrypter/DecryptSecureValues"
)

// watchPath is that of the stream of changes.
const watchPath = secretwatchv1connect.SecureValueWatcherWatchProcedure

func isRPCPath(path string) bool { return path == rpcPath || path == rpcPathV1 || path == watchPath }

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

var (
	_ decryptv1beta1connect.SecureValueDecrypterHandler = (*rpc)(nil)
	_ secretwatchv1connect.SecureValueWatcherHandler    = (*rpc)(nil)
)

// newRPCHandler serves all paths. It reads gzip and never writes it: the length of a compressed answer would reveal
// what the value has in common with what the caller can choose.
func newRPCHandler(service *Service) http.Handler {
	options := append(codecs(), connect.WithReadMaxBytes(maxRequestBytes), connect.WithCompressMinBytes(math.MaxInt),
		connect.WithCompression("gzip",
			func() connect.Decompressor { return &boundedGzip{} },
			func() connect.Compressor { return gzip.NewWriter(io.Discard) }))
	h := &rpc{service}
	decrypt := connect.NewUnaryHandler(rpcPath, h.DecryptSecureValues, options...)
	watch := connect.NewServerStreamHandler(watchPath, h.Watch, options...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWatch(r) {
			watch.ServeHTTP(w, r)
		} else {
			decrypt.ServeHTTP(w, r)
		}
	})
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
		response.Msg.DecryptedValues[answer.Results[i].Name] = answer.Results[i].toProto()
	}
	if answer.Revision > 0 {
		response.Header().Set(HeaderRevision, strconv.FormatInt(answer.Revision, 10))
	}
	return response, nil
}

// Watch implements the service of changes.
func (h *rpc) Watch(
	ctx context.Context, r *connect.Request[secretwatchv1.WatchRequest],
	stream *connect.ServerStream[secretwatchv1.WatchEvent],
) error {
	request := newRequest(ctx, r.Peer().Addr, r.Msg.GetNamespace(), r.Msg.GetNames()...)
	kept := ctx.Value(credentialsKey{}).(*credentials)
	return withRetryAfter(h.service.Watch(ctx, request, kept.identify, stream.Send))
}

// credentials are those of a stream, which authentication removes from its request.
type credentials struct {
	authenticator authenticator.Request
	request       *http.Request
}

type credentialsKey struct{}

// withCredentials keeps the credentials of streams for Identify.
func withCredentials(next http.Handler, authn authenticator.Request) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWatch(r) {
			kept := &http.Request{Header: r.Header.Clone(), URL: r.URL, TLS: r.TLS, RemoteAddr: r.RemoteAddr}
			c := &credentials{authn, kept.WithContext(r.Context())}
			r = r.WithContext(context.WithValue(r.Context(), credentialsKey{}, c))
		}
		next.ServeHTTP(w, r)
	})
}

// identify is an Identify.
func (c *credentials) identify() (user.Info, error) {
	r := c.request.Clone(c.request.Context()) // an authenticator may change it
	response, ok, err := c.authenticator.AuthenticateRequest(r)
	switch {
	case httpguard.IsBusy(r.Context()):
		return nil, errReviewsBusy
	case !ok || err != nil:
		return nil, errUnauthenticated
	}
	return response.User, nil
}

func withRetryAfter(err error) error {
	if refusal, ok := errors.AsType[*connect.Error](err); ok && retryable(refusal) {
		refusal.Meta().Set("Retry-After", retryAfter)
	}
	return err
}

// toProto is the one place where a value is put into a message.
func (r *Result) toProto() *decryptv1beta1.Result {
	if r.outcome == released {
		return &decryptv1beta1.Result{
			Result:  &decryptv1beta1.Result_Value{Value: r.Value.Expose()},
			Version: r.Object.Status.Version, Uid: string(r.Object.UID),
		}
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
	"the body is not a request of this service: send namespace, a string, and names, a list of strings")

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
