// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"errors"
	"net"
	"testing"
)

// The sample that ships is read as it says.
func TestSample(t *testing.T) {
	config, err := (&Options{ConfigFile: "../../config/tracing/tracing.yaml"}).read()
	if err != nil || config.Endpoint == nil || *config.Endpoint != "localhost:4317" || *config.SamplingRatePerMillion != 10000 {
		t.Errorf("got %+v, %v", config, err)
	}
}

// Without a file there is nothing that could add to a request.
func TestNoFile(t *testing.T) {
	if provider, err := (&Options{}).Open(t.Context(), "test"); provider != nil || err != nil {
		t.Errorf("got %v, %v", provider, err)
	}
}

// A collector that takes spans and never answers keeps no process from ending.
func TestShutdownIsBounded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // until the test ends
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000") // as long as it likes
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
	provider, err := (&Options{ConfigFile: "testdata/always.yaml"}).Open(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "one")
	span.End()
	if err := provider.Shutdown(context.WithoutCancel(t.Context())); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the patience", err)
	}
}
