// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
)

// patience bounds waiting for spans; not a claim about speed.
const patience = 60 * time.Second

// Collector is a collector that runs.
type Collector struct {
	collectorv1.UnimplementedTraceServiceServer
	// Endpoint is HOST:PORT.
	Endpoint string
	// File has everything that was received, one request in JSON a line.
	File string

	mutex sync.Mutex
	out   *os.File
	spans []Span
}

// Span is a span that arrived.
type Span struct {
	// Service is the program that sent it.
	Service string
	// Trace, ID and Parent are hexadecimal; Parent is empty in the first span of a trace.
	Trace, ID, Parent string
	// Links are the ids of the traces that the span refers to.
	Links []string
	Name  string
	// Attributes are those of the span, as text.
	Attributes map[string]string
}

// Start runs a collector until the test ends. Programs that are started later send their spans soon, and drop none: one
// that is dropped is not searched.
func Start(t testing.TB) *Collector {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "200") // milliseconds
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000000")
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Collector{Endpoint: listener.Addr().String(), File: filepath.Join(t.TempDir(), "spans.json")}
	if c.out, err = os.Create(c.File); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(func() {
		server.Stop()
		_ = c.out.Close()
	})
	return c
}

// Config writes a TracingConfiguration that sends spans here and traces so many of a million requests by itself. It
// returns the file.
func (c *Collector) Config(t testing.TB, perMillion int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tracing.yaml")
	text := fmt.Sprintf("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: %s\nsamplingRatePerMillion: %d\n", c.Endpoint, perMillion)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Export implements the service.
func (c *Collector) Export(_ context.Context, request *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	line, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, err := c.out.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	for _, resource := range request.GetResourceSpans() {
		service := texts(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(service, span))
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func newSpan(service string, span *tracev1.Span) Span {
	s := Span{
		Service: service, Name: span.GetName(), Attributes: texts(span.GetAttributes()),
		Trace: hex.EncodeToString(span.GetTraceId()), ID: hex.EncodeToString(span.GetSpanId()), Parent: hex.EncodeToString(span.GetParentSpanId()),
	}
	for _, link := range span.GetLinks() {
		s.Links = append(s.Links, hex.EncodeToString(link.GetTraceId()))
	}
	return s
}

func texts(attributes []*commonv1.KeyValue) map[string]string {
	all := make(map[string]string, len(attributes))
	for _, attribute := range attributes {
		switch value := attribute.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			all[attribute.GetKey()] = value.StringValue
		case *commonv1.AnyValue_IntValue:
			all[attribute.GetKey()] = fmt.Sprint(value.IntValue)
		default:
			all[attribute.GetKey()] = attribute.GetValue().String()
		}
	}
	return all
}

// Spans are those that arrived so far.
func (c *Collector) Spans() []Span {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return slices.Clone(c.spans)
}

// Wait waits for a span, and fails the test when it does not come.
func (c *Collector) Wait(t testing.TB, what string, is func(Span) bool) Span {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if all := c.Spans(); slices.ContainsFunc(all, is) {
			return all[slices.IndexFunc(all, is)]
		}
	}
	t.Fatalf("no span of %s came, of %d", what, len(c.Spans()))
	return Span{}
}
