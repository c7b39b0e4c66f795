// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	apiaudit "k8s.io/apiserver/pkg/audit"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
)

// otherDecrypter stands for every decrypter that --allowed-decrypters does not name: what writers of values choose must
// not decide how many series there are.
const otherDecrypter = "other"

var (
	requestsTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "secret_decrypt_requests_total",
		Help: "Number of requests on the decrypt port by protocol (rpc, get, watch or none) and HTTP status " +
			"code.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"protocol", "code"})

	requestSeconds = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name:           "secret_decrypt_request_duration_seconds",
		Help:           "Duration of requests on the decrypt port, authentication included, without streams.",
		Buckets:        []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30},
		StabilityLevel: metrics.ALPHA,
	}, []string{"protocol"})

	inFlight = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_decrypt_requests_inflight",
		Help:           "Number of requests in flight on the decrypt port.",
		StabilityLevel: metrics.ALPHA,
	})

	watches = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_decrypt_watches",
		Help:           "Number of open streams of changes on the decrypt port.",
		StabilityLevel: metrics.ALPHA,
	})

	valuesTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "secret_decrypt_values_total",
		Help: "Number of names requested on the decrypt port, by decision, reason and " +
			"the decrypter that gave the caller access.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"decision", "reason", "decrypter"})

	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(requestsTotal, requestSeconds, inFlight, watches, valuesTotal)
		// The denials exist from the start, so that an alert on their rate sees the first.
		for _, o := range []outcome{notAuthorized, wildcard, absent, deleted, notListed, failed} {
			valuesTotal.WithLabelValues(string(audit.Deny), string(o.reason), "")
		}
	})
)

func countResults(a *access, answer *Answer) {
	for i := range answer.Results {
		r := &answer.Results[i]
		decrypter := ""
		if r.outcome == released {
			decrypter = r.decrypter
			if !slices.Contains(a.decrypters, decrypter) {
				decrypter = otherDecrypter
			}
		}
		valuesTotal.WithLabelValues(string(r.outcome.decision()), string(r.outcome.reason), decrypter).Inc()
	}
}

// codeRecorder records the status code.
type codeRecorder struct {
	http.ResponseWriter
	code int
}

func recordCode(w http.ResponseWriter) *codeRecorder { return &codeRecorder{w, http.StatusOK} }

// WriteHeader implements http.ResponseWriter.
func (w *codeRecorder) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *codeRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serve lets a handler write to w, which can also flush if the connection can: streams need it.
func (w *codeRecorder) serve(next http.Handler, r *http.Request) {
	next.ServeHTTP(responsewriter.WrapForHTTP1Or2(w), r)
}

// withMetrics counts requests by protocol and code.
func withMetrics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started, protocol, recorder, open := time.Now(), protocolOf(r), recordCode(w), inFlight
		if protocol == protocolWatch {
			open = watches
		}
		open.Inc()
		defer open.Dec()
		recorder.serve(next, r)
		requestsTotal.WithLabelValues(protocol, strconv.Itoa(recorder.code)).Inc()
		if protocol != protocolWatch {
			requestSeconds.WithLabelValues(protocol).Observe(time.Since(started).Seconds())
		}
	})
}

const (
	// logLevel is the verbosity at which requests are logged, on the API port too.
	logLevel = 3
	// keyAuditID is the name of the request id in upstream's log lines.
	keyAuditID = "audit-ID"
)

// withLogLine logs each request under its audit id, as the API port does. The requested names are in the audit logs.
func withLogLine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !klog.V(logLevel).Enabled() {
			next.ServeHTTP(w, r)
			return
		}
		recorder := recordCode(w)
		started, auditID := time.Now(), apiaudit.GetAuditIDTruncated(r.Context())
		defer func() {
			klog.V(logLevel).InfoS("Decrypt", "protocol", protocolOf(r), "latency", time.Since(started),
				"resp", recorder.code, keyAuditID, auditID, "srcIP", r.RemoteAddr)
		}()
		recorder.serve(next, r)
	})
}

// The attributes of this port's spans, besides those of HTTP. The first is upstream's name of it.
const (
	attributeAuditID   = "audit-id"
	attributeNamespace = "secret.namespace"
	attributeAsked     = "secret.asked"
	attributeReleased  = "secret.released"
)

// routeOf names a request by its protocol: its path may be anything, except for an RPC.
func routeOf(r *http.Request) string {
	switch protocolOf(r) {
	case protocolRPC, protocolWatch:
		return r.URL.Path
	case protocolGet:
		return getPrefix + "{namespace}" + getMiddle + "{name}" + getSuffix
	default:
		return "(no such path)"
	}
}

// withTrace records a span of each request of an authenticated caller, as a part of the caller's trace if it sends one.
// Its attributes are listed here and in annotate: otelhttp would add headers of the caller. Without a tracer nothing is
// added to a request.
func withTrace(next http.Handler, tracer trace.Tracer) http.Handler {
	if tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		received, _ := genericapirequest.ReceivedTimestampFrom(ctx)
		route := routeOf(r)
		ctx, span := tracer.Start(ctx, "decrypt "+route,
			trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(received), trace.WithAttributes(
				attribute.String(attributeAuditID, apiaudit.GetAuditIDTruncated(ctx)),
				semconv.HTTPRoute(route), semconv.ClientAddress(hostOf(r.RemoteAddr)),
			))
		defer span.End()
		recorder := recordCode(w)
		recorder.serve(next, r.WithContext(ctx))
		span.SetAttributes(semconv.HTTPResponseStatusCode(recorder.code))
		if recorder.code >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

// stage records a part of a request, until end is called.
func (s *Service) stage(ctx context.Context, name string) (_ context.Context, end func()) {
	if s.tracer == nil {
		return ctx, func() {}
	}
	ctx, span := s.tracer.Start(ctx, name)
	return ctx, func() { span.End() }
}

// annotate adds to the span of a request how many values were requested in which namespace, and the result. Their names
// are in the decrypt audit log, under the audit id. r is normalised.
func (s *Service) annotate(ctx context.Context, r *Request, answer *Answer, err error) {
	if s.tracer == nil {
		return
	}
	span, n := trace.SpanFromContext(ctx), 0
	if err != nil {
		span.SetStatus(codes.Error, connect.CodeOf(err).String()) // an RPC has it in its trailer only
	} else {
		n = answer.count(released.message)
	}
	span.SetAttributes(attribute.String(attributeNamespace, r.Namespace), attribute.Int(attributeAsked, len(r.Names)),
		attribute.Int(attributeReleased, n))
}
