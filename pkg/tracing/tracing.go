// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/tracing"
	tracingv1 "k8s.io/component-base/tracing/api/v1"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/version"
)

// flag names the file.
const flag = "tracing-config-file"

// flushTimeout is how long a process that ends waits for the collector to take the last spans.
const flushTimeout = 3 * time.Second

// Provider makes tracers, and sends what is left when it is shut down.
type Provider = tracing.TracerProvider

// Options say which requests are traced, and who gets the spans.
type Options struct {
	// ConfigFile is --tracing-config-file; "" traces nothing.
	ConfigFile string
}

// AddFlags adds the flag.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.ConfigFile, flag, o.ConfigFile,
		"TracingConfiguration (apiserver.config.k8s.io) that says which collector gets OpenTelemetry spans, and of how many requests. "+
			"Without it nothing is traced. No span holds a value.")
}

// Open reads the file and returns what records spans in the name of service, nil without a file. It does not connect yet.
func (o *Options) Open(ctx context.Context, service string) (Provider, error) {
	if o.ConfigFile == "" {
		return nil, nil //nolint:nilnil // nothing is to be traced
	}
	config, err := o.read()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname() // in a cluster the name of the Pod
	if err != nil {
		return nil, fmt.Errorf("--%s: the host has no name to tell its spans by: %w", flag, err)
	}
	otel.SetLogger(klog.Background())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { klog.ErrorS(err, "Could not send spans") }))
	provider, err := tracing.NewProvider(ctx, config, nil, []resource.Option{resource.WithAttributes(
		semconv.ServiceName(service), semconv.ServiceVersion(version.Get()), semconv.ServiceInstanceID(host),
	)})
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, o.ConfigFile, err)
	}
	return bounded{provider}, nil
}

func (o *Options) read() (*tracingv1.TracingConfiguration, error) {
	content, err := os.ReadFile(filepath.Clean(o.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	// Upstream takes an empty file for all defaults. What its parser says may quote a file that was named by mistake.
	config, err := genericoptions.ReadTracingConfiguration(o.ConfigFile)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("--%s: %s is not a valid TracingConfiguration of apiserver.config.k8s.io/v1: "+
			"beside apiVersion and kind it has endpoint, a text, and samplingRatePerMillion, a number", flag, o.ConfigFile)
	}
	if errs := tracingv1.ValidateTracingConfiguration(config, utilfeature.DefaultFeatureGate, nil); len(errs) > 0 {
		return nil, fmt.Errorf("--%s %s: %w", flag, o.ConfigFile, errs.ToAggregate())
	}
	return config, nil
}

// bounded waits for the collector at the end, but not for ever: upstream shuts down without a limit.
type bounded struct{ Provider }

// Shutdown sends what is left.
func (b bounded) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return b.Provider.Shutdown(ctx)
}
