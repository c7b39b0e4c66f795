// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"net/http"
	"strings"
	"time"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	apiaudit "k8s.io/apiserver/pkg/audit"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// withFixedHeaders sets what every answer has. The caller's own Audit-ID is dropped: it would let a caller give its
// requests the id of somebody else's.
func withFixedHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(auditinternal.HeaderAuditID)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// withMetrics counts requests by protocol and code.
func withMetrics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inFlight.Inc()
		defer inFlight.Dec()
		started, protocol, recorder := time.Now(), protocolOf(r), &codeRecorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(recorder, r)
		countRequest(protocol, recorder.code, time.Since(started).Seconds())
	})
}

// logLevel is the verbosity at which requests are logged, on the API port too.
const logLevel = 3

// withLogLine logs each request under its audit id, as the API port does. What was asked for is in the audit logs.
func withLogLine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !klog.V(logLevel).Enabled() {
			next.ServeHTTP(w, r)
			return
		}
		recorder := &codeRecorder{ResponseWriter: w, code: http.StatusOK}
		started, auditID := time.Now(), apiaudit.GetAuditIDTruncated(r.Context())
		defer func() {
			klog.V(logLevel).InfoS("Decrypt", "protocol", protocolOf(r), "latency", time.Since(started), "resp", recorder.code,
				keyAuditID, auditID, "srcIP", r.RemoteAddr)
		}()
		next.ServeHTTP(recorder, r)
	})
}

// keyAuditID is the name that upstream's log lines give the id of a request.
const keyAuditID = "audit-ID"

// codeRecorder remembers the status code.
type codeRecorder struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *codeRecorder) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Flush implements http.Flusher, which the RPC protocols need.
func (w *codeRecorder) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w *codeRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// infoResolver says to the audit policy and the audit log what a request is. The names of an RPC are in its body: they
// stand in the decrypt audit log under the same audit id.
type infoResolver struct{}

// NewRequestInfo implements request.RequestInfoResolver.
func (infoResolver) NewRequestInfo(r *http.Request) (*genericapirequest.RequestInfo, error) {
	protocol := protocolOf(r)
	if protocol == protocolNone {
		return &genericapirequest.RequestInfo{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}, nil
	}
	namespace, name, _ := splitGetPath(r.URL.Path)
	return &genericapirequest.RequestInfo{
		IsResourceRequest: true, Path: r.URL.Path, Verb: rights.VerbDecrypt, Namespace: namespace, Name: name,
		APIPrefix: "decrypt", APIGroup: secret.GroupName, APIVersion: v1beta1.SchemeGroupVersion.Version, Resource: secret.Resource,
	}, nil
}
