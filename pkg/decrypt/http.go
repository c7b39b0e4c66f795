// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/util/waitgroup"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// requestTimeout bounds a request, the reading of its body included.
const requestTimeout = 30 * time.Second

// HandlerConfig is what NewHandler needs.
type HandlerConfig struct {
	// Service opens values.
	Service *Service
	// Authenticator must accept no front-proxy headers and no anonymous callers.
	Authenticator authenticator.Request
	// MaxInFlight is the maximum number of concurrent requests of authenticated callers, a quarter of them for one
	// caller; 0 sets no limit. MaxWatches is that of streams, which do not count as requests in flight.
	MaxInFlight, MaxWatches int
	// AuditSink and AuditPolicy are those of the API port. Nil: requests are in the decrypt audit log only.
	AuditSink   audit.Sink
	AuditPolicy audit.PolicyRuleEvaluator
	// Draining counts requests, so that a server that stops waits for them.
	Draining *waitgroup.SafeWaitGroup
}

// NewHandler returns the handler of the decrypt port. Authentication comes before everything that looks at a path.
func NewHandler(config HandlerConfig) http.Handler {
	handler := http.Handler(&router{rpc: newRPCHandler(config.Service), get: &get{service: config.Service}})
	handler = withTimeout(handler)
	handler = withInFlightLimit(handler, httpguard.NewPool("decrypt", int64(config.MaxInFlight)),
		httpguard.NewPool("decrypt_watches", int64(config.MaxWatches)))
	handler = genericapifilters.WithAudit(handler, config.AuditSink, config.AuditPolicy, longRunning)
	handler = withTrace(handler, config.Service.tracer)
	failed := genericapifilters.WithFailedAuthenticationAudit(
		http.HandlerFunc(unauthenticated), config.AuditSink, config.AuditPolicy)
	handler = genericapifilters.WithAuthentication(handler, config.Authenticator, failed, nil, nil)
	handler = withCredentials(handler, config.Authenticator)
	handler = genericfilters.WithWaitGroup(handler, longRunning, config.Draining)
	handler = withLogLine(handler)
	handler = genericapifilters.WithRequestReceivedTimestamp(handler)
	handler = genericapifilters.WithAuditInit(handler)
	handler = genericfilters.WithPanicRecovery(handler, infoResolver{})
	handler = genericapifilters.WithRequestInfo(handler, infoResolver{})
	return httpguard.WithTimeouts(httpguard.WithLogin(withFixedHeaders(withMetrics(httpguard.WithURILimit(handler)))))
}

func longRunning(r *http.Request, _ *genericapirequest.RequestInfo) bool { return isWatch(r) }

// newRequest completes a request with what the filters determined.
func newRequest(ctx context.Context, peer, namespace string, names ...string) Request {
	who, _ := genericapirequest.UserFrom(ctx) // authentication always sets it
	return Request{
		User: who, Namespace: namespace, Names: names, Source: hostOf(peer), AuditID: audit.GetAuditIDTruncated(ctx),
	}
}

// hostOf returns the address of a peer without its port.
func hostOf(peer string) string {
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		return peer
	}
	return host
}

// router routes the paths of both protocols. Nothing is cleaned or redirected.
type router struct {
	rpc, get http.Handler
}

func (h *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		writeStatus(w, http.StatusBadRequest, "this port does not upgrade connections")
		return
	}
	switch protocolOf(r) {
	case protocolRPC, protocolWatch:
		h.rpc.ServeHTTP(w, r)
	case protocolGet:
		h.get.ServeHTTP(w, r)
	default:
		writeStatus(w, http.StatusNotFound, "no such path")
	}
}

// The protocols, as metrics name them.
const (
	protocolRPC   = "rpc"
	protocolGet   = "get"
	protocolWatch = "watch"
	protocolNone  = "none"
)

func isWatch(r *http.Request) bool { return r.URL.Path == watchPath && protocolOf(r) == protocolWatch }

func protocolOf(r *http.Request) string {
	if !hasPlainPath(r.URL) || r.Method == http.MethodConnect {
		return protocolNone
	}
	if r.URL.Path == watchPath {
		return protocolWatch
	}
	if isRPCPath(r.URL.Path) {
		return protocolRPC
	}
	if _, _, ok := splitGetPath(r.URL.Path); ok {
		return protocolGet
	}
	return protocolNone
}

// hasPlainPath reports whether u.Path can be compared: RFC 3986, 2.3 makes %76%31 the same as v1, but %2F is not a
// slash.
func hasPlainPath(u *url.URL) bool {
	for _, escape := range strings.Split(u.RawPath, "%")[1:] {
		char, err := hex.DecodeString(escape[:min(2, len(escape))])
		if err != nil || len(char) != 1 || strings.IndexByte(unreserved, char[0]) < 0 {
			return false
		}
	}
	return true
}

// unreserved are the characters whose meaning does not change when they are escaped.
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// infoResolver describes requests for the audit policy and the audit log. The names of an RPC are in its body: they are
// in the decrypt audit log under the same audit id.
type infoResolver struct{}

// NewRequestInfo implements request.RequestInfoResolver.
func (infoResolver) NewRequestInfo(r *http.Request) (*genericapirequest.RequestInfo, error) {
	protocol := protocolOf(r)
	if protocol == protocolNone {
		return &genericapirequest.RequestInfo{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}, nil
	}
	verb := rights.VerbDecrypt
	if protocol == protocolWatch {
		verb = "watch"
	}
	namespace, name, _ := splitGetPath(r.URL.Path)
	return &genericapirequest.RequestInfo{
		IsResourceRequest: true, Path: r.URL.Path, Verb: verb, Namespace: namespace, Name: name,
		APIPrefix: "decrypt", APIGroup: secret.GroupName, APIVersion: v1beta1.SchemeGroupVersion.Version,
		Resource: secret.Resource,
	}, nil
}

// withFixedHeaders sets what every answer has. The caller's own Audit-ID is dropped: with it a caller could give its
// requests the id of another caller's.
func withFixedHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(auditinternal.HeaderAuditID)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// unauthenticated refuses callers without valid credentials, whatever the path, and those whose token could not be
// reviewed.
func unauthenticated(w http.ResponseWriter, r *http.Request) {
	if httpguard.IsBusy(r.Context()) {
		refuse(w, r, errReviewsBusy)
		return
	}
	if r.ProtoMajor == 2 {
		w.Header().Set("Connection", "close") // as on the API port: no cheap streams for strangers
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	refuse(w, r, errUnauthenticated)
}

var (
	errUnauthenticated = connect.NewError(connect.CodeUnauthenticated, errors.New("credentials are missing or not "+
		"accepted: send a bearer token; in a cluster, one issued for audience "+secret.GroupName+
		" (client certificates of the cluster are not accepted)"))
	errReviewsBusy = connect.NewError(connect.CodeResourceExhausted,
		errors.New("too many tokens are being reviewed; retry later"))
	errBusy = connect.NewError(connect.CodeResourceExhausted,
		errors.New("too many requests are in flight, or too many of this caller; retry later"))
	errSlowBody = connect.NewError(connect.CodeDeadlineExceeded, errors.New(httpguard.TextSlowBody))
)

// withInFlightLimit answers 429 when too many requests are in flight, or too many of one caller. It comes after
// authentication: strangers take no place. A request takes one when its body is there, so that a caller that does not
// send it holds none.
func withInFlightLimit(next http.Handler, requests, watches *httpguard.Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, places := httpguard.CallerOf(r), requests
		if isWatch(r) {
			places = watches
		}
		if !places.Offers(caller) { // before the body costs anything
			refuse(w, r, errBusy)
			return
		}
		if isRPC(r) { // nothing else reads a body
			if err := receive(r, caller); err != nil {
				refuse(w, r, err)
				return
			}
		}
		if !places.Take(caller, 1) {
			refuse(w, r, errBusy)
			return
		}
		defer places.Return(caller, 1)
		next.ServeHTTP(w, r)
	})
}

// receive reads the body of an RPC. Other errors than these the RPC library finds when it reads the body.
func receive(r *http.Request, caller httpguard.Caller) *connect.Error {
	limit := int64(maxRequestBytes)
	if isGRPC(r) {
		limit += grpcFrameBytes
	}
	err := httpguard.Receive(r.Context(), caller, limit)
	if errors.Is(err, httpguard.ErrBusy) {
		return errBusy
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlowBody
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLarge
	}
	return nil
}

// errRequestTimeout is the cause of a context that ended after requestTimeout: the server's fault, unlike a deadline
// that the caller chose.
var errRequestTimeout = errors.New("the request took longer than the server allows")

// withTimeout bounds the request, unless it is a stream.
func withTimeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWatch(r) {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeoutCause(r.Context(), requestTimeout, errRequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
