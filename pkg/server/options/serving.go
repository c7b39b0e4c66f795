// SPDX-License-Identifier: Apache-2.0

package options

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// ConnectionGrace is how long a stop waits for connections to close: longer than watches have to end, and a second for
// clients to heed that they are told to go away. Requests are waited for apart from it, up to --request-timeout. A
// connection that says nothing, or whose handshake ended just after the others were told, would otherwise hold a stop for a
// minute: net/http tells each connection once.
const ConnectionGrace = 10 * time.Second

// DefaultSecurePort is the port of the API.
const DefaultSecurePort = 8443

// ServingOptions say where and with which certificate the server listens.
type ServingOptions struct {
	upstream *genericoptions.SecureServingOptions
	caFile   string // of a certificate that the server issues itself
}

// NewServingOptions returns the defaults: loopback only.
func NewServingOptions() *ServingOptions {
	upstream := genericoptions.NewSecureServingOptions()
	upstream.BindAddress = net.IPv4(127, 0, 0, 1)
	upstream.BindPort = DefaultSecurePort
	upstream.BindNetwork = "tcp"
	upstream.ServerCert.CertDirectory = "" // never generate a certificate on the side
	return &ServingOptions{upstream: upstream}
}

// AddFlags adds the flags of this concern.
func (o *ServingOptions) AddFlags(fs *pflag.FlagSet) {
	pick(fs, o.upstream.AddFlags, "bind-address", "secure-port", "tls-cert-file", "tls-private-key-file",
		"tls-min-version", "tls-cipher-suites", "http2-max-streams-per-connection")
	fs.Lookup("bind-address").Usage = "IP address to listen on. 0.0.0.0 or :: listens on all interfaces."
	fs.Lookup("secure-port").Usage = "Port to serve HTTPS on. 0 picks a free one."
	fs.Lookup("tls-cert-file").Usage = "Certificate chain for HTTPS, reloaded when it changes. Without it a standalone server issues its own; in a cluster it is required."
	fs.Lookup("tls-private-key-file").Usage = "Private key that matches --tls-cert-file."
}

func (o *ServingOptions) validate() []error {
	var errs []error
	if o.upstream.BindPort < 0 || o.upstream.BindPort > 65535 {
		errs = append(errs, fmt.Errorf("--secure-port must be between 0 and 65535, not %d", o.upstream.BindPort))
	} else {
		errs = o.upstream.Validate()
	}
	if o.upstream.HTTP2MaxStreamsPerConnection < 0 {
		errs = append(errs, errors.New("--http2-max-streams-per-connection must not be negative"))
	}
	if _, err := cliflag.TLSVersion(o.upstream.MinTLSVersion); err != nil {
		errs = append(errs, fmt.Errorf("--tls-min-version: %w", err))
	}
	if _, err := cliflag.TLSCipherSuites(o.upstream.CipherSuites); err != nil {
		errs = append(errs, fmt.Errorf("--tls-cipher-suites: %w", err))
	}
	if (o.upstream.ServerCert.CertKey.CertFile == "") != (o.upstream.ServerCert.CertKey.KeyFile == "") {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file go together"))
	}
	return errs
}

// BindAddress is where to listen.
func (o *ServingOptions) BindAddress() net.IP { return o.upstream.BindAddress }

// HasCertificate reports whether the operator brings the serving certificate.
func (o *ServingOptions) HasCertificate() bool { return o.upstream.ServerCert.CertKey.CertFile != "" }

// check reads the operator's certificate.
func (o *ServingOptions) check() error {
	if !o.HasCertificate() {
		return nil
	}
	pair := o.upstream.ServerCert.CertKey
	if _, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile); err != nil {
		return fmt.Errorf("reading --tls-cert-file and --tls-private-key-file: %w", err)
	}
	return nil
}

// UseCertificate sets the serving certificate of a server that was given none, and the CA that issued it.
func (o *ServingOptions) UseCertificate(certFile, keyFile, caFile string) {
	o.caFile = caFile
	o.upstream.ServerCert.CertKey.CertFile = certFile
	o.upstream.ServerCert.CertKey.KeyFile = keyFile
}

// fault returns why the file of the certificate is not the one in force, or nil.
func (o *ServingOptions) fault(inForce dynamiccertificates.CertKeyContentProvider) error {
	found, err := os.ReadFile(o.upstream.ServerCert.CertKey.CertFile)
	if err != nil {
		return err
	}
	if chain, _ := inForce.CurrentCertKeyContent(); !bytes.Equal(found, chain) {
		return errors.New("another certificate is in force")
	}
	return nil
}

// Listen opens the port. It is called before anything is written, so that a port that is taken changes nothing.
func (o *ServingOptions) Listen(ctx context.Context) (net.Listener, error) {
	address := net.JoinHostPort(o.upstream.BindAddress.String(), strconv.Itoa(o.upstream.BindPort))
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w; choose another --secure-port or --bind-address", address, err)
	}
	listener = httpguard.NewListener(listener)
	o.upstream.Listener = listener
	return listener, nil
}

func (o *ServingOptions) applyTo(config *genericapiserver.Config) error {
	if err := o.upstream.WithLoopback().ApplyToConfig(config); err != nil {
		return fmt.Errorf("setting up --tls-cert-file and --tls-private-key-file: %w", err)
	}
	return nil
}

// beside is how another port is served: with the same certificate, reloaded by a watch of its own, and the same limits.
func (o *ServingOptions) beside(
	api *genericapiserver.SecureServingInfo, name string, listener net.Listener, clientCA dynamiccertificates.CAContentProvider,
) (*genericapiserver.SecureServingInfo, error) {
	pair := o.upstream.ServerCert.CertKey
	cert, err := dynamiccertificates.NewDynamicServingContentFromFiles(name+"-serving-cert", pair.CertFile, pair.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("setting up --tls-cert-file and --tls-private-key-file: %w", err)
	}
	return &genericapiserver.SecureServingInfo{
		Listener: listener, Cert: cert, ClientCA: clientCA,
		MinTLSVersion: api.MinTLSVersion, CipherSuites: api.CipherSuites, CurvePreferences: api.CurvePreferences,
		HTTP2MaxStreamsPerConnection: api.HTTP2MaxStreamsPerConnection, DisableHTTP2: api.DisableHTTP2,
	}, nil
}
