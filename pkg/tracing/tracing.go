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

const flag = "tracing-config-file"

// flushTimeout is how long a stopping process waits for the collector to receive the last spans.
const flushTimeout = 3 * time.Second

// Provider creates tracers, and exports pending spans when it is shut down.
type Provider = tracing.TracerProvider

// Options configure tracing.
type Options struct {
	// ConfigFile is --tracing-config-file; "" traces nothing.
	ConfigFile string
}

// AddFlags adds the flag.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(
		&o.ConfigFile,
		flag,
		o.ConfigFile,
		"File with a TracingConfiguration (apiserver.config.k8s.io): the collector for OpenTelemetry spans and "+
			"the sampling rate. Without it nothing is traced. No span contains a value.",
	)
}

// Open reads the file and returns a provider for the service, nil without a file. It does not connect yet.
func (o *Options) Open(ctx context.Context, service string) (Provider, error) {
	if o.ConfigFile == "" {
		return nil, nil //nolint:nilnil // tracing is off
	}
	config, err := o.read()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname() // in a cluster the name of the Pod
	if err != nil {
		return nil, fmt.Errorf("--%s: the host has no name for service.instance.id: %w", flag, err)
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
	// Upstream accepts an empty file as all defaults. Errors of its parser may quote a file that was named by mistake.
	config, err := genericoptions.ReadTracingConfiguration(o.ConfigFile)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("--%s: %s is not a valid TracingConfiguration of apiserver.config.k8s.io/v1: "+
			"beside apiVersion and kind it has endpoint, a text, and samplingRatePerMillion, a "+
			"number", flag, o.ConfigFile)
	}
	if errs := tracingv1.ValidateTracingConfiguration(config, utilfeature.DefaultFeatureGate, nil); len(errs) > 0 {
		return nil, fmt.Errorf("--%s %s: %w", flag, o.ConfigFile, errs.ToAggregate())
	}
	return config, nil
}

// bounded limits the wait for the collector at the end, which upstream does not.
type bounded struct{ Provider }

// Shutdown exports pending spans.
func (b bounded) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return b.Provider.Shutdown(ctx)
}
