// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// tokenAge is how long a token is used before its file is read again.
const tokenAge = time.Minute

// transport is the HTTP side of a Client. Its files are read while it runs: the token every minute and after a refusal,
// the CAs and the client certificate for each new connection. When one cannot be read, what it held before counts.
type transport struct {
	config Config
	// host is what the server's certificate must be valid for.
	host string

	mu    sync.Mutex
	http  *http.Transport
	token string
	read  time.Time // when TokenFile was read; zero after a refusal
	roots *x509.CertPool
	pair  *tls.Certificate
}

func newTransport(config Config) (*transport, error) {
	address, err := url.Parse(config.URL)
	if err != nil {
		return nil, err
	}
	t := &transport{config: config, host: cmp.Or(config.ServerName, address.Hostname())}
	t.http = t.connections()
	if _, err := t.authorities(); err != nil {
		return nil, err
	}
	if config.CertFile != "" {
		if _, err := t.certificate(nil); err != nil {
			return nil, err
		}
	}
	_, err = t.fileAuthorization()
	return t, err
}

// connections returns a transport without connections.
func (t *transport) connections() *http.Transport {
	secure := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: t.config.ServerName,
		// RootCAs could not change while connections are made: verify does the same with the CAs of now.
		InsecureSkipVerify: true, //nolint:gosec // see verify
		VerifyConnection:   t.verify,
	}
	if t.config.CertFile != "" {
		secure.GetClientCertificate = t.certificate
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: attemptTimeout}).DialContext,
		TLSClientConfig:     secure,
		TLSHandshakeTimeout: attemptTimeout,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     90 * time.Second,
		// A connection whose server is gone without a word is found by pings.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// verify checks the server's certificate as crypto/tls does, with the CAs that the file holds now.
func (t *transport) verify(state tls.ConnectionState) error {
	roots, unread := t.authorities()
	options := x509.VerifyOptions{Roots: roots, DNSName: t.host, Intermediates: x509.NewCertPool()}
	for _, certificate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w (CAs of %s)", err, cmp.Or(t.config.CAFile, "the system"))
	if unread != nil {
		err = fmt.Errorf("%w; %w", err, unread)
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
}

// authorities returns the CAs of CAFile, nil for those of the system. With an error they are those of the last good
// read.
func (t *transport) authorities() (*x509.CertPool, error) {
	if t.config.CAFile == "" {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	text, err := os.ReadFile(t.config.CAFile)
	if err != nil {
		return t.roots, fmt.Errorf("CAFile: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return t.roots, fmt.Errorf("CAFile: %s contains no certificate in PEM", t.config.CAFile)
	}
	t.roots = roots
	return roots, nil
}

// certificate returns the client certificate, for a handshake.
func (t *transport) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pair, err := t.load()
	if err != nil && t.pair == nil {
		return nil, err
	}
	if err == nil {
		t.pair = pair
	}
	return t.pair, nil
}

func (t *transport) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.config.CertFile, t.config.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("CertFile %s, KeyFile %s: %w", t.config.CertFile, t.config.KeyFile, err)
	}
	return &pair, nil
}

// authorization returns the value of the header, empty for a client without a token.
func (t *transport) authorization(ctx context.Context) (string, error) {
	if t.config.Token != nil {
		return "Bearer " + t.config.Token(ctx), nil
	}
	return t.fileAuthorization()
}

func (t *transport) fileAuthorization() (string, error) {
	if t.config.TokenFile == "" {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.read) < tokenAge {
		return t.token, nil
	}
	text, err := os.ReadFile(t.config.TokenFile)
	token := strings.TrimSpace(string(text))
	switch {
	case err == nil && token != "":
		t.token, t.read = "Bearer "+token, time.Now()
	case t.token != "":
	case err != nil:
		return "", fmt.Errorf("TokenFile: %w", err)
	default:
		return "", fmt.Errorf("TokenFile: %s is empty", t.config.TokenFile)
	}
	return t.token, nil
}

// refused lets the next attempt use the credentials of the files. A certificate is bound to its connection, so another
// one needs another connection.
func (t *transport) refused() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = time.Time{}
	if t.config.CertFile == "" {
		return
	}
	if pair, err := t.load(); err == nil && !bytes.Equal(pair.Certificate[0], t.pair.Certificate[0]) {
		t.pair = pair
		t.http.CloseIdleConnections()
		t.http = t.connections()
	}
}

func (t *transport) current() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.http
}

// CloseIdleConnections is for http.Client.
func (t *transport) CloseIdleConnections() { t.current().CloseIdleConnections() }

// RoundTrip implements http.RoundTripper. It puts the Retry-After of the response into the hint of the request.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	authorization, err := t.authorization(request.Context())
	if err != nil {
		_ = request.Body.Close()
		return nil, err
	}
	request = request.Clone(request.Context())
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	if t.config.UserAgent != "" {
		request.Header.Set("User-Agent", t.config.UserAgent)
	}
	response, err := t.current().RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusUnauthorized {
		t.refused()
	}
	if h, ok := request.Context().Value(hintKey{}).(*hint); ok {
		h.retryAfter.Store(int64(retryAfter(response.Header.Get("Retry-After"))))
	}
	return response, nil
}
