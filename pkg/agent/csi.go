// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/securevalue/secret-apiserver/pkg/agent/csiproviderv1alpha1/csiproviderv1alpha1connect"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

const (
	// maxMountRequest is much more than the parameters and tokens of a Pod.
	maxMountRequest = 1 << 20
	// stopTimeout is how long mounts in flight have to end when the provider stops.
	stopTimeout = 10 * time.Second
)

// providerName is what the driver accepts.
var providerName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,30}$`)

// csi serves the Secrets Store CSI driver until ctx ends.
func (o *options) csi(ctx context.Context) error {
	if !providerName.MatchString(o.provider) {
		return errors.New("--provider: expected 1 to 30 letters, digits, '-' and '_'")
	}
	c, err := client.New(client.Config{
		URL: o.server, CAFile: o.caFile, Token: tokenOf, UserAgent: "secret-agent/" + version, Timeout: o.timeout,
	})
	if err != nil {
		return fmt.Errorf("--server, --ca-file: %w", err)
	}
	defer c.Close()
	s, err := listenSocket(ctx, filepath.Join(o.socketDir, o.provider+".sock"))
	if err != nil {
		return fmt.Errorf("--socket-dir, --provider: %w", err)
	}
	defer s.remove()
	metrics, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.metricsAddress)
	if err != nil {
		return fmt.Errorf("--metrics-bind-address: %w", err)
	}
	p := newProvider(o, c)
	driver, probes := o.newHTTPServer(p.handler()), o.newHTTPServer(p.monitoring(s))
	ended := make(chan error, 2)
	go func() { ended <- driver.Serve(s) }()
	go func() { ended <- probes.Serve(metrics) }()
	o.log.Printf("serving the driver on %s", s.path)
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = nil
	}
	s.remove() // the driver does not find a provider that is about to end
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, driver.Shutdown(stop), probes.Close())
}

// newHTTPServer returns a server of HTTP/1 and of HTTP/2 without TLS.
func (o *options) newHTTPServer(handler http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: handler, Protocols: protocols, ErrorLog: o.log, ReadHeaderTimeout: 10 * time.Second,
	}
}

// handler serves the protocol of the driver. Nothing is compressed: the length would reveal something of the values.
func (p *provider) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(csiproviderv1alpha1connect.NewCSIDriverProviderHandler(p,
		connect.WithReadMaxBytes(maxMountRequest), connect.WithCompression("gzip", nil, nil)))
	return mux
}

// monitoring serves metrics and health.
func (p *provider) monitoring(s *socket) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(p.mounts, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "secret_agent_csi_volumes",
		Help: "Volumes whose values are kept because they were mounted within the last minutes.",
	}, p.volumes))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: p.log}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.present() {
			http.Error(w, "the socket was removed or replaced", http.StatusServiceUnavailable)
		}
	})
	return mux
}

// socket is a Unix socket and the file that it was created as.
type socket struct {
	net.Listener
	path string
	file fs.FileInfo
}

// listenSocket replaces a socket that a killed process left, and fails if something listens there.
func listenSocket(ctx context.Context, path string) (*socket, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another process serves %s; stop it, or give each a name by --provider", path)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(path)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // see remove
	s := &socket{Listener: listener, path: path}
	if err = os.Chmod(path, 0o600); err == nil {
		s.file, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close(), os.Remove(path))
	}
	return s, nil
}

func (s *socket) present() bool {
	now, err := os.Lstat(s.path)
	return err == nil && os.SameFile(now, s.file)
}

// remove removes the socket unless it is that of another process by now.
func (s *socket) remove() {
	if s.present() {
		_ = os.Remove(s.path)
	}
}
