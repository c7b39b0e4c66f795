// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"encoding/json"
	"net/http"
	"strconv"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// retryAfter is the number of seconds after which clients retry.
var retryAfter = strconv.Itoa(httpguard.RetryAfterSeconds)

// statusClientClosed is the code that proxies log for a caller that hung up.
const statusClientClosed = 499

var rpcErrors = connect.NewErrorWriter()

// refuse answers an RPC with an error of its protocol, everything else with a Status.
func refuse(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	if retryable(err) {
		w.Header().Set("Retry-After", retryAfter)
	}
	if !isRPC(r) {
		writeStatus(w, httpCode(err.Code()), err.Message())
		return
	}
	if err := rpcErrors.Write(w, r, err); err != nil {
		klog.V(4).ErrorS(err, "Could not write a refusal") // the caller is gone
	}
}

func retryable(err *connect.Error) bool {
	return err.Code() == connect.CodeUnavailable || err.Code() == connect.CodeResourceExhausted && err != errTooLarge
}

// httpCode returns the status code of a refusal outside of the RPC protocols.
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

// reasons are those of the codes above, as on the API port.
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
		Status:   metav1.StatusFailure, Message: message, Reason: reasons[code],
		Code: int32(code), //nolint:gosec // a status code
	})
	if err != nil {
		http.Error(w, http.StatusText(code), code)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the caller may be gone
}
