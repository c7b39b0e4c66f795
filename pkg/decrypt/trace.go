// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	apiaudit "k8s.io/apiserver/pkg/audit"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// The attributes of this port's spans, beside those of HTTP. The first is upstream's name of it.
const (
	attributeAuditID   = "audit-id"
	attributeNamespace = "secret.namespace"
	attributeAsked     = "secret.asked"
	attributeReleased  = "secret.released"
)

// routes name a request by its protocol: its path may be anything, but for an RPC.
var routes = map[string]string{
	protocolGet:  getPrefix + "{namespace}" + getMiddle + "{name}" + getSuffix,
	protocolNone: "(no such path)",
}

func routeOf(r *http.Request) string {
	if protocol := protocolOf(r); protocol != protocolRPC {
		return routes[protocol]
	}
	return r.URL.Path
}

// withTrace records a span of each request of an authenticated caller, as a part of the caller's trace if it sends one. Its
// attributes are listed here and in annotate one by one: otelhttp would add headers of the caller. Without a tracer nothing
// is added to a request.
func withTrace(next http.Handler, tracer trace.Tracer) http.Handler {
	if tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		received, _ := genericapirequest.ReceivedTimestampFrom(ctx)
		route := routeOf(r)
		ctx, span := tracer.Start(ctx, "decrypt "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(received),
			trace.WithAttributes(
				attribute.String(attributeAuditID, apiaudit.GetAuditIDTruncated(ctx)),
				semconv.HTTPRoute(route), semconv.ClientAddress(hostOf(r.RemoteAddr)),
			))
		defer span.End()
		recorder := &codeRecorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(recorder, r.WithContext(ctx))
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

// annotate says in the span of a request how many values were asked for in which namespace, and what came of it. Their names
// are in the decrypt audit log, under the audit id. r is normalised.
func (s *Service) annotate(ctx context.Context, r *Request, answer *Answer, err error) {
	if s.tracer == nil {
		return
	}
	span, released := trace.SpanFromContext(ctx), 0
	if err != nil {
		span.SetStatus(codes.Error, connect.CodeOf(err).String()) // an RPC has it in its trailer only
	} else {
		for i := range answer.Results {
			if answer.Results[i].Outcome == Released {
				released++
			}
		}
	}
	span.SetAttributes(attribute.String(attributeNamespace, r.Namespace), attribute.Int(attributeAsked, len(r.Names)),
		attribute.Int(attributeReleased, released))
}
