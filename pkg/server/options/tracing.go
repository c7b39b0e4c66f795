// SPDX-License-Identifier: Apache-2.0

package options

import (
	"go.opentelemetry.io/otel/trace"
	genericapiserver "k8s.io/apiserver/pkg/server"
	componenttracing "k8s.io/component-base/tracing"

	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// serviceName is service.name of the server's spans.
const serviceName = "secret-apiserver"

// applyTracing is called after the serving options, which make the loopback client, and before those of the storage. The
// generic server shuts provider down when it stops. Without one nothing changes.
func (o CompletedOptions) applyTracing(provider tracing.Provider, config *genericapiserver.Config) {
	if provider == nil {
		return
	}
	config.TracerProvider = provider
	o.Storage.upstream.StorageConfig.Transport.TracerProvider = provider
	config.LoopbackClientConfig.Wrap(componenttracing.WrapperFor(provider))
}

// decryptTracer is for the decrypt port; nil without a provider.
func decryptTracer(provider tracing.Provider) trace.Tracer {
	if provider == nil {
		return nil
	}
	return provider.Tracer("github.com/securevalue/secret-apiserver/pkg/decrypt")
}
