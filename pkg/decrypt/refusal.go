// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// retryAfter is how many seconds a client waits before it tries again.
var retryAfter = strconv.Itoa(httpguard.RetryAfterSeconds)

// statusClientClosed is the code that proxies log for a caller who left.
const statusClientClosed = 499

// refusals writes a refusal in the protocol of the request.
type refusals struct {
	rpc *connect.ErrorWriter
}

func newRefusals() *refusals {
	return &refusals{rpc: connect.NewErrorWriter()}
}

// write answers an RPC with an error of its protocol, everything else with a Status.
func (f *refusals) write(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	if retryable(err.Code()) {
		w.Header().Set("Retry-After", retryAfter)
	}
	if !isRPC(r) {
		writeStatus(w, httpCode(err.Code()), err.Message())
		return
	}
	if err := f.rpc.Write(w, r, err); err != nil {
		klog.V(4).ErrorS(err, "Could not write a refusal") // the caller is gone
	}
}

// isRPC reports whether a request speaks gRPC, gRPC-Web or Connect.
func isRPC(r *http.Request) bool {
	contentType := r.Header.Get("Content-Type")
	return r.Method == http.MethodPost && (strings.HasPrefix(contentType, "application/grpc") || isRPCPath(r.URL.Path))
}

func retryable(code connect.Code) bool {
	return code == connect.CodeUnavailable || code == connect.CodeResourceExhausted
}

// withRetryAfter adds the header to the error of a handler.
func withRetryAfter(err error) error {
	if refusal, ok := errors.AsType[*connect.Error](err); ok && retryable(refusal.Code()) {
		refusal.Meta().Set("Retry-After", retryAfter)
	}
	return err
}

// httpCode is the status code of a refusal outside of the RPC protocols.
func httpCode(code connect.Code) int {
	switch code {
	case connect.CodeInvalidArgument:
		return http.StatusBadRequest
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	case connect.CodeCanceled:
		return statusClientClosed
	default:
		return http.StatusInternalServerError
	}
}

// reasons are those of the codes above, as the API port gives them.
var reasons = map[int]metav1.StatusReason{
	http.StatusBadRequest:          metav1.StatusReasonBadRequest,
	http.StatusUnauthorized:        metav1.StatusReasonUnauthorized,
	http.StatusForbidden:           metav1.StatusReasonForbidden,
	http.StatusNotFound:            metav1.StatusReasonNotFound,
	http.StatusMethodNotAllowed:    metav1.StatusReasonMethodNotAllowed,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
	http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
}

// writeStatus answers with a metav1.Status, as the API port does.
func writeStatus(w http.ResponseWriter, code int, message string) {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Message: message, Reason: reasons[code], Code: int32(code), //nolint:gosec // a status code
	})
	if err != nil {
		http.Error(w, http.StatusText(code), code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the caller may be gone
}
