// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/access/cluster"
	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/decrypt"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// decryptPort is the second port, with its service. Its methods accept nil, for a port that is off.
type decryptPort struct {
	listener net.Listener
	log      io.Closer // the decrypt audit log, once it is open
	serving  atomic.Bool
	stop     context.CancelFunc // set before serving, as is stopped
	stopped  <-chan struct{}
}

// address is where the port listens, "" when it is off.
func (p *decryptPort) address() string {
	if p == nil {
		return ""
	}
	return p.listener.Addr().String()
}

// start serves until close is called or ctx ends.
func (p *decryptPort) start(ctx context.Context, info *genericapiserver.SecureServingInfo, handler http.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	stopped, _, err := info.Serve(handler, connectionGrace, ctx.Done())
	if err != nil {
		stop()
		return err
	}
	p.stop, p.stopped = stop, stopped
	p.serving.Store(true)
	return nil
}

func (p *decryptPort) check(*http.Request) error {
	if !p.serving.Load() {
		return errors.New("the decrypt port does not serve yet")
	}
	return nil
}

// close waits for open requests, then closes the log, which publishes its head: etcd must still run.
func (p *decryptPort) close() {
	if p == nil {
		return
	}
	if p.serving.Load() {
		p.stop()
		<-p.stopped
	} else {
		_ = p.listener.Close() // nothing else closes it
	}
	if p.log != nil {
		if err := p.log.Close(); err != nil {
			klog.ErrorS(err, "Could not close the decrypt audit log")
		}
		p.log = nil
	}
}

// decryptAccess authenticates and authorizes callers of the decrypt port. Neither part knows a privileged group, a
// front proxy or anonymous callers.
type decryptAccess struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	clientCA      dynamiccertificates.CAContentProvider // nil: no client certificates
}

// decryptAccess uses RBAC alone in a standalone server, without system:masters. In a cluster it uses tokens issued for
// this server's audience, client certificates of services if there is a CA for them, and SubjectAccessReview for all
// callers. The decrypt service caches decisions itself.
func (s *server) decryptAccess() (decryptAccess, error) {
	if c := s.inputs.cluster; c != nil {
		reviewer, err := cluster.NewReviewAuthorizer(cluster.AuthorizationConfig{Client: c.authzClient})
		return decryptAccess{
			authenticator: c.authn.Credentials(),
			authorizer:    reviewer,
			clientCA:      c.authn.ServiceCA(),
		}, err
	}
	authn := s.inputs.authn
	return decryptAccess{
		authenticator: authn.Credentials(),
		authorizer:    s.inputs.rbac,
		clientCA:      authn.ClientCA(),
	}, nil
}

// wireDecrypt makes the API server start the decrypt port with itself. The port has the certificate and limits of the
// API port.
func (s *server) wireDecrypt(
	config *genericapiserver.Config, sealer *sealed.Sealer, store *sealed.RESTOptionsGetter,
) error {
	port := s.decrypt
	if port == nil {
		return nil
	}
	access, err := s.decryptAccess()
	if err != nil {
		return err
	}
	changes := decrypt.NewChanges(store)
	service, err := s.decryptService(sealer, access, changes)
	if err != nil {
		return err
	}
	handler := decrypt.NewHandler(decrypt.HandlerConfig{
		Service: service, Authenticator: access.authenticator, MaxInFlight: s.opts.Decrypt.MaxInFlight,
		MaxWatches: s.opts.Decrypt.MaxWatches,
		AuditSink:  config.AuditBackend, AuditPolicy: config.AuditPolicyRuleEvaluator,
		Draining: config.NonLongRunningRequestWaitGroup,
	})
	pair, api := s.opts.Serving.ServerCert.CertKey, config.SecureServing
	certificate, err := dynamiccertificates.NewDynamicServingContentFromFiles("decrypt-serving-cert", pair.CertFile,
		pair.KeyFile)
	if err != nil {
		return fmt.Errorf("setting up --tls-cert-file and --tls-private-key-file: %w", err)
	}
	info := &genericapiserver.SecureServingInfo{
		Listener: port.listener, Cert: certificate, ClientCA: access.clientCA,
		MinTLSVersion: api.MinTLSVersion, CipherSuites: api.CipherSuites, CurvePreferences: api.CurvePreferences,
		HTTP2MaxStreamsPerConnection: api.HTTP2MaxStreamsPerConnection, DisableHTTP2: api.DisableHTTP2,
	}
	config.ReadyzChecks = append(config.ReadyzChecks, healthz.NamedCheck("decrypt", port.check))
	stopping := wait.ContextForChannel(config.ShutdownInitiatedNotify()) // streams would delay a stop
	if err := config.AddPostStartHook("follow-changes", func(genericapiserver.PostStartHookContext) error {
		go changes.Run(stopping)
		return nil
	}); err != nil {
		return err
	}
	return config.AddPostStartHook("serve-decrypt", func(hook genericapiserver.PostStartHookContext) error {
		return port.start(hook, info, handler)
	})
}

// decryptService opens the connection to etcd and the decrypt audit log.
func (s *server) decryptService(
	sealer *sealed.Sealer, access decryptAccess, changes *decrypt.Changes,
) (*decrypt.Service, error) {
	client, err := s.etcdClient()
	if err != nil {
		return nil, err
	}
	config, err := s.auditConfig(client)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(context.Background(), config)
	if err != nil {
		return nil, err
	}
	s.decrypt.log = log
	var tracer trace.Tracer
	if s.inputs.tracing != nil {
		tracer = s.inputs.tracing.Tracer("github.com/securevalue/secret-apiserver/pkg/decrypt")
	}
	return decrypt.NewService(decrypt.ServiceConfig{
		Reader: sealed.NewOpener(client, s.opts.Storage.StorageConfig.Prefix, sealer.Codec(apiserver.NewStorageCodec()),
			sealer),
		Authorizer: access.authorizer, Recorder: log, Changes: changes,
		AllowedDecrypters: s.opts.Decrypt.AllowedDecrypters, AuthzCacheTTL: s.opts.Decrypt.AuthzCacheTTL,
		Tracer: tracer,
	}), nil
}

// auditConfig configures the decrypt audit log, whose head is published in etcd.
func (s *server) auditConfig(client sealed.Etcd) (audit.Config, error) {
	flags, config := s.opts.Decrypt.Audit, audit.NewConfig()
	var err error
	if config.Instance, err = s.instance(); err != nil {
		return config, err
	}
	config.Path, config.KeyFile, config.GenerateKey = flags.LogPath, flags.KeyFile, s.generateAuditKey
	config.Heads = decrypt.NewHeadStore(client, decrypt.HeadKey(s.opts.Storage.StorageConfig.Prefix, config.Instance))
	config.Fsync = audit.Fsync(flags.Fsync)
	config.MaxSize, config.MaxBackups = int64(flags.MaxSizeMB)<<20, flags.MaxBackups
	config.MaxAge = time.Duration(flags.MaxAgeDays) * 24 * time.Hour
	return config, nil
}

// instance returns the name of this server among those that share an etcd.
func (s *server) instance() (string, error) {
	if name := s.opts.Decrypt.Audit.Instance; name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host has no name: set --decrypt-audit-instance: %w", err)
	}
	return host, nil
}
