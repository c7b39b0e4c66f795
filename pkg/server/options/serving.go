// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net"

	"github.com/spf13/pflag"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"
)

const defaultSecurePort = 8443

// ServingOptions are the address and the certificate of both ports.
type ServingOptions struct {
	*genericoptions.SecureServingOptions
}

func newServingOptions() *ServingOptions {
	upstream := genericoptions.NewSecureServingOptions()
	upstream.BindAddress = net.IPv4(127, 0, 0, 1)
	upstream.BindPort = defaultSecurePort
	upstream.BindNetwork = "tcp"
	upstream.ServerCert.CertDirectory = "" // upstream must not generate a certificate
	return &ServingOptions{upstream}
}

func (o *ServingOptions) addFlags(fs *pflag.FlagSet) {
	pick(fs, o.AddFlags, map[string]string{
		"bind-address": "IP address to listen on; 0.0.0.0 or :: for all interfaces.",
		"secure-port":  "Port to serve HTTPS on; 0 selects a free port.",
		"tls-cert-file": "File with the certificate chain for HTTPS, reloaded when it changes. Required in a " +
			"cluster; a standalone server issues its own by default.",
		"tls-private-key-file": "File with the private key of --tls-cert-file.",
	}, "bind-address", "secure-port", "tls-cert-file", "tls-private-key-file",
		"tls-min-version", "tls-cipher-suites", "http2-max-streams-per-connection")
}

func (o *ServingOptions) validate() []error {
	var errs []error
	if o.BindPort < 0 || o.BindPort > 65535 {
		errs = append(errs, fmt.Errorf("--secure-port must be between 0 and 65535, not %d", o.BindPort))
	} else {
		errs = o.Validate()
	}
	if o.HTTP2MaxStreamsPerConnection < 0 {
		errs = append(errs, errors.New("--http2-max-streams-per-connection must not be negative"))
	}
	if _, err := cliflag.TLSVersion(o.MinTLSVersion); err != nil {
		errs = append(errs, fmt.Errorf("--tls-min-version: %w", err))
	}
	if _, err := cliflag.TLSCipherSuites(o.CipherSuites); err != nil {
		errs = append(errs, fmt.Errorf("--tls-cipher-suites: %w", err))
	}
	if (o.ServerCert.CertKey.CertFile == "") != (o.ServerCert.CertKey.KeyFile == "") {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file go together"))
	}
	return errs
}

// HasCertificate reports whether --tls-cert-file is set.
func (o *ServingOptions) HasCertificate() bool { return o.ServerCert.CertKey.CertFile != "" }
