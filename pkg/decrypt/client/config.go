// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// Config says where the decrypt service is and who asks it.
type Config struct {
	// URL is https://HOST:PORT of the decrypt port, not of the API: https://secret-decrypt.secret-system.svc:8444.
	URL string
	// CAFile checks the certificate of the server. Empty means the CAs of the system.
	CAFile string
	// ServerName is checked instead of the host in URL when it is set.
	ServerName string
	// TokenFile holds the bearer token. It is read again every minute, and after it was refused, as client-go does, so
	// a projected ServiceAccount token (audience secret.grafana.app) works.
	TokenFile string
	// CertFile and KeyFile are a client certificate, for services that have no token. A server in a cluster accepts
	// those of its --decrypt-client-ca-file only.
	CertFile, KeyFile string
	// UserAgent names the service in the server's logs.
	UserAgent string
	// Timeout bounds a call whose context has no deadline, retries included. 0 means 30 seconds.
	Timeout time.Duration
}

const (
	defaultTimeout = 30 * time.Second
	// attemptTimeout bounds one attempt, so that a server that hangs does not use up the time for another.
	attemptTimeout = 10 * time.Second
)

func (c Config) validate() error {
	address, err := url.Parse(c.URL)
	switch {
	case err != nil || address.Host == "":
		return fmt.Errorf("decrypt client: URL %q is no address: write https://HOST:PORT", c.URL)
	case address.Scheme != "https":
		return fmt.Errorf("decrypt client: URL %q is not https: values and tokens go over TLS only", c.URL)
	case c.TokenFile == "" && c.CertFile == "":
		return errors.New("decrypt client: neither TokenFile nor CertFile is set: nobody decrypts anonymously")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("decrypt client: CertFile and KeyFile go together")
	}
	return nil
}

// httpClient has the TLS and token handling of client-go, and follows no redirect: a token is for one server.
func (c Config) httpClient() (*http.Client, error) {
	config := &rest.Config{
		Host:      c.URL,
		UserAgent: c.UserAgent,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: c.CAFile, ServerName: c.ServerName, CertFile: c.CertFile, KeyFile: c.KeyFile,
		},
	}
	if c.TokenFile != "" {
		if _, err := os.Stat(c.TokenFile); err != nil {
			return nil, fmt.Errorf("decrypt client: %w", err)
		}
		// Unlike rest.Config.BearerTokenFile this reads the file again after a refusal too.
		config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(c.TokenFile)))
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &hinting{next: next} })
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("decrypt client: %w", err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, nil
}
