// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/decrypt"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// decryptPort is the decrypt service of a server that runs.
type decryptPort struct {
	listener net.Listener
	serving  atomic.Bool
	stop     context.CancelFunc // set before serving, as is stopped
	stopped  <-chan struct{}
	open     []io.Closer
}

// decryptAccess says who the callers of the decrypt port are and what they may do. Neither part knows a privileged group,
// a front proxy or anonymous callers.
type decryptAccess struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	clientCA      dynamiccertificates.CAContentProvider // nil: clients are asked for no certificate
}

// applyDecrypt makes the server serve the decrypt port, from when it starts until it has stopped to take requests. It is
// called last: it reads what the other options set.
func (o CompletedOptions) applyDecrypt(config *genericapiserver.Config, sealer *sealed.Sealer, inputs *Inputs) error {
	if !o.Decrypt.enabled() {
		return nil
	}
	access, err := inputs.decryptAccess()
	if err != nil {
		return err
	}
	service, err := o.decryptService(sealer, access, decryptTracer(inputs.tracing))
	if err != nil {
		return err
	}
	handler := decrypt.NewHandler(decrypt.HandlerConfig{
		Service: service, Authenticator: access.authenticator, MaxInFlight: o.Decrypt.MaxInFlight,
		AuditSink: config.AuditBackend, AuditPolicy: config.AuditPolicyRuleEvaluator,
		Draining: config.NonLongRunningRequestWaitGroup,
	})
	serving, err := o.Serving.beside(config.SecureServing, "decrypt", o.Decrypt.running.listener, access.clientCA)
	if err != nil {
		return err
	}
	port := &o.Decrypt.running
	config.ReadyzChecks = append(config.ReadyzChecks, healthz.NamedCheck("decrypt", port.check))
	return config.AddPostStartHook("serve-decrypt", func(hook genericapiserver.PostStartHookContext) error {
		ctx, stop := context.WithCancel(hook)
		stopped, _, err := serving.Serve(handler, ConnectionGrace, ctx.Done())
		if err != nil {
			stop()
			return err
		}
		port.stop, port.stopped = stop, stopped
		port.serving.Store(true)
		return nil
	})
}

// decryptService opens the connection to etcd and the decrypt audit log.
func (o CompletedOptions) decryptService(sealer *sealed.Sealer, access decryptAccess, tracer trace.Tracer) (*decrypt.Service, error) {
	prefix := o.Storage.upstream.StorageConfig.Prefix
	client, err := o.Storage.client()
	if err != nil {
		return nil, err
	}
	instance, err := o.Decrypt.Audit.instance()
	if err != nil {
		return nil, err
	}
	heads := decrypt.NewHeadStore(client, decrypt.HeadKey(prefix, instance))
	log, err := audit.Open(context.Background(), o.Decrypt.Audit.config(instance, heads))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer from --etcd-servers %s: %w", o.Storage.ServerNames(), err)
	}
	if err != nil {
		return nil, err
	}
	o.Decrypt.running.open = append(o.Decrypt.running.open, log)
	return decrypt.NewService(decrypt.ServiceConfig{
		Reader:     sealed.NewOpener(client, prefix, sealer.Codec(apiserver.NewStorageCodec()), sealer),
		Authorizer: access.authorizer, Recorder: log,
		AllowedDecrypters: o.API.AllowedDecrypters, AuthzCacheTTL: o.Decrypt.AuthzCacheTTL, Tracer: tracer,
	}), nil
}

func (p *decryptPort) check(*http.Request) error {
	if !p.serving.Load() {
		return errors.New("the decrypt port does not serve yet")
	}
	return nil
}

// close goes backwards: the listener, then the log, which publishes its head. Etcd is closed later.
func (p *decryptPort) close() {
	if p.listener == nil {
		return
	}
	if p.serving.Load() {
		p.stop()
		<-p.stopped
	} else {
		_ = p.listener.Close() // nobody else does
	}
	for _, part := range slices.Backward(p.open) {
		if err := part.Close(); err != nil {
			klog.ErrorS(err, "Could not close a part of the decrypt service")
		}
	}
	p.open = nil
}
