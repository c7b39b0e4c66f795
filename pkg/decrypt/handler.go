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
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// requestTimeout bounds a request, the reading of its body included.
const requestTimeout = 30 * time.Second

// HandlerConfig is what NewHandler needs.
type HandlerConfig struct {
	// Service opens values.
	Service *Service
	// Authenticator must take no front-proxy headers and let nobody be anonymous.
	Authenticator authenticator.Request
	// MaxInFlight is how many requests of authenticated callers are answered at a time, a quarter of them to one caller; 0 sets no
	// limit.
	MaxInFlight int
	// AuditSink and AuditPolicy are those of the API port. Nil: requests are in the decrypt audit log only.
	AuditSink   audit.Sink
	AuditPolicy audit.PolicyRuleEvaluator
	// Draining is told of every request, so that a server that stops waits for them.
	Draining *waitgroup.SafeWaitGroup
}

// NewHandler returns what the decrypt port serves. Authentication comes before everything that looks at a path.
func NewHandler(config HandlerConfig) http.Handler {
	refusals := newRefusals()
	handler := http.Handler(&router{
		rpc:      newRPCHandler(config.Service),
		get:      &get{service: config.Service, refusals: refusals},
		refusals: refusals,
	})
	handler = withTimeout(handler)
	handler = withInFlightLimit(handler, httpguard.NewPool("decrypt", int64(config.MaxInFlight)), refusals)
	handler = genericapifilters.WithAudit(handler, config.AuditSink, config.AuditPolicy, nil)
	handler = withTrace(handler, config.Service.tracer)
	handler = genericapifilters.WithAuthentication(handler, config.Authenticator,
		genericapifilters.WithFailedAuthenticationAudit(unauthenticated(refusals), config.AuditSink, config.AuditPolicy), nil, nil)
	handler = genericfilters.WithWaitGroup(handler, func(*http.Request, *genericapirequest.RequestInfo) bool { return false }, config.Draining)
	handler = withLogLine(handler)
	handler = genericapifilters.WithRequestReceivedTimestamp(handler)
	handler = genericapifilters.WithAuditInit(handler)
	handler = genericfilters.WithPanicRecovery(handler, infoResolver{})
	handler = genericapifilters.WithRequestInfo(handler, infoResolver{})
	return httpguard.WithTimeouts(httpguard.WithLogin(withFixedHeaders(withMetrics(httpguard.WithURILimit(handler)))))
}

// newRequest completes a request by what the filters found out.
func newRequest(ctx context.Context, peer, namespace string, names ...string) Request {
	who, _ := genericapirequest.UserFrom(ctx) // authentication always sets it
	return Request{User: who, Namespace: namespace, Names: names, Source: hostOf(peer), AuditID: audit.GetAuditIDTruncated(ctx)}
}

// hostOf is the address of a peer without its port.
func hostOf(peer string) string {
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		return peer
	}
	return host
}

// router knows the paths of both protocols. Nothing is cleaned or redirected.
type router struct {
	rpc, get http.Handler
	refusals *refusals
}

func (h *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		writeStatus(w, http.StatusBadRequest, "this port upgrades no connection")
		return
	}
	switch protocolOf(r) {
	case protocolRPC:
		h.rpc.ServeHTTP(w, r)
	case protocolGet:
		h.get.ServeHTTP(w, r)
	default:
		writeStatus(w, http.StatusNotFound, "no such path")
	}
}

// The protocols, as metrics name them.
const (
	protocolRPC  = "rpc"
	protocolGet  = "get"
	protocolNone = "none"
)

func protocolOf(r *http.Request) string {
	if !hasPlainPath(r.URL) || r.Method == http.MethodConnect {
		return protocolNone
	}
	if isRPCPath(r.URL.Path) {
		return protocolRPC
	}
	if _, _, ok := splitGetPath(r.URL.Path); ok {
		return protocolGet
	}
	return protocolNone
}

// hasPlainPath reports whether u.Path can be compared: RFC 3986, 2.3 makes %76%31 the same as v1, but %2F is not a slash.
func hasPlainPath(u *url.URL) bool {
	for _, escape := range strings.Split(u.RawPath, "%")[1:] {
		char, err := hex.DecodeString(escape[:min(2, len(escape))])
		if err != nil || len(char) != 1 || strings.IndexByte(unreserved, char[0]) < 0 {
			return false
		}
	}
	return true
}

// unreserved are the characters that an escape does not change the meaning of.
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// unauthenticated refuses callers without good credentials, whatever the path, and those whose credentials nobody could be asked about.
func unauthenticated(refusals *refusals) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if httpguard.IsBusy(r.Context()) {
			refusals.write(w, r, connect.NewError(connect.CodeResourceExhausted, errors.New("too many tokens are being reviewed; retry later")))
			return
		}
		if r.ProtoMajor == 2 {
			w.Header().Set("Connection", "close") // as on the API port: no cheap streams for strangers
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		refusals.write(w, r, connect.NewError(connect.CodeUnauthenticated,
			errors.New("credentials are missing or not accepted: send a bearer token; in a cluster, one issued for audience "+
				secret.GroupName+" (client certificates of the cluster are not accepted)")))
	})
}

// maxBodyBytes is what is read of a body: a message of the largest size and its frame. The library judges what is larger.
const maxBodyBytes = maxRequestBytes + 1<<10

// withInFlightLimit answers 429 when too many requests are in flight, or too many of one caller. It comes after authentication: a
// stranger takes no place. A request takes one when its body is there, so that nobody holds a place by not sending it.
func withInFlightLimit(next http.Handler, places *httpguard.Pool, refusals *refusals) http.Handler {
	busy := connect.NewError(connect.CodeResourceExhausted, errors.New("too many requests are in flight, or too many of this caller; retry later"))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := httpguard.CallerOf(r)
		if !places.Offers(caller) { // before the body costs anything
			refusals.write(w, r, busy)
			return
		}
		if isRPC(r) { // nothing else reads a body
			switch err := httpguard.Receive(r.Context(), caller, maxBodyBytes); {
			case errors.Is(err, httpguard.ErrBusy):
				refusals.write(w, r, busy)
				return
			case errors.Is(err, os.ErrDeadlineExceeded):
				refusals.write(w, r, connect.NewError(connect.CodeDeadlineExceeded, errors.New(httpguard.TextSlowBody)))
				return
			}
		}
		if !places.Take(caller, 1) {
			refusals.write(w, r, busy)
			return
		}
		defer places.Return(caller, 1)
		next.ServeHTTP(w, r)
	})
}

// errRequestTimeout is why the context of a request ended after requestTimeout: the server's fault, unlike a deadline
// that the caller chose.
var errRequestTimeout = errors.New("the request took longer than the server allows")

// withTimeout bounds the request.
func withTimeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), requestTimeout, errRequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
