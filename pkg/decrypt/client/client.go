// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/propagation"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
)

// maxNames is the maximum number of names per call of the server.
const maxNames = 128

// maxResponse is more than the size of maxNames values of the largest size.
const maxResponse = 8 << 20

// Client calls the decrypt service. It is safe for concurrent use.
type Client struct {
	rpc     decryptv1beta1connect.SecureValueDecrypterClient
	watcher secretwatchv1connect.SecureValueWatcherClient
	http    *http.Client
	timeout time.Duration
}

// New returns a client. It reads the files of config and does not connect yet.
func New(config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	transport, err := newTransport(config)
	if err != nil {
		return nil, fmt.Errorf("decrypt client: %w", err)
	}
	// A redirect is not followed: the token is for one server.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	timeout := config.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	options := []connect.ClientOption{
		connect.WithReadMaxBytes(maxResponse), connect.WithAcceptCompression("gzip", nil, nil),
	}
	return &Client{
		rpc:     decryptv1beta1connect.NewSecureValueDecrypterClient(client, config.URL, options...),
		watcher: secretwatchv1connect.NewSecureValueWatcherClient(client, config.URL, options...),
		http:    client, timeout: timeout,
	}, nil
}

// Close closes idle connections. Calls in flight continue.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get returns the values of names in a namespace. Names are asked for once each, 128 a call; the values of one call are
// of one revision of the store.
//
// When ctx carries an OpenTelemetry span, the server's span of the call is part of its trace.
//
// When some names do not open, Get returns the values of the others together with an error that joins one *NameError
// for each: errors.Is(err, ErrNotFound) reports whether any was not found. Temporary errors are retried until ctx ends.
func (c *Client) Get(ctx context.Context, namespace string, names ...string) (map[string]Value, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	got := c.fetch(ctx, namespace, names)
	return got.values, got.err()
}

// GetOne returns one value.
func (c *Client) GetOne(ctx context.Context, namespace, name string) (Value, error) {
	values, err := c.Get(ctx, namespace, name)
	return values[name], err
}

// fetch is Get with the error of each name.
func (c *Client) fetch(ctx context.Context, namespace string, names []string) *results {
	wanted := slices.Compact(slices.Sorted(slices.Values(names)))
	got := &results{namespace: namespace, values: make(map[string]Value, len(wanted)), failed: map[string]error{}}
	for batch := range slices.Chunk(wanted, maxNames) {
		if err := c.batch(ctx, got, batch); err != nil {
			got.call = fmt.Errorf("decrypting values of namespace %s: %w", namespace, err)
			break
		}
	}
	return got
}

// watch opens a stream of changes.
func (c *Client) watch(
	ctx context.Context, namespace string, names []string,
) (*connect.ServerStreamForClient[secretwatchv1.WatchEvent], error) {
	return c.watcher.Watch(ctx, connect.NewRequest(&secretwatchv1.WatchRequest{Namespace: namespace, Names: names}))
}

// batch requests at most maxNames names, and again those that the server could not read.
func (c *Client) batch(ctx context.Context, got *results, names []string) error {
	retry := newRetry()
	var before error // of the attempt before
	for {
		response, after, err := c.call(ctx, got.namespace, names)
		if err == nil {
			if names = got.add(names, response); len(names) == 0 {
				return nil
			}
			err = ErrUnavailable
		} else if !retry.allows(ctx, err) {
			if before != nil && ctx.Err() != nil { // the time was too short for this one
				return fmt.Errorf("%w; the attempt before: %w", callError(err), before)
			}
			return callError(err)
		}
		before = err
		if waited := retry.wait(ctx, after); waited != nil {
			got.fail(names, ErrUnavailable)
			return fmt.Errorf("%w (%w)", callError(err), waited)
		}
	}
}

// call is one attempt. after is the Retry-After of the server.
func (c *Client) call(
	ctx context.Context, namespace string, names []string,
) (_ *decryptv1beta1.DecryptSecureValuesResponse, after time.Duration, _ error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ctx, h := withHint(ctx)
	request := connect.NewRequest(&decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: names})
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(request.Header()))
	response, err := c.rpc.DecryptSecureValues(ctx, request)
	if connect.CodeOf(err) == connect.CodeCanceled && ctx.Err() == nil { // how connect calls a connection that broke
		err = connect.NewError(connect.CodeUnavailable, err)
	}
	if err != nil {
		return nil, h.after(), err
	}
	return response.Msg, h.after(), nil
}

// results is what a call has received so far: the value or the error of each name.
type results struct {
	namespace string
	values    map[string]Value
	failed    map[string]error
	// call is why the other names have neither.
	call error
}

// of returns the value of a name, or why there is none.
func (r *results) of(name string) (Value, error) {
	if value, ok := r.values[name]; ok {
		return value, nil
	}
	err := r.failed[name]
	if _, refused := errors.AsType[*connect.Error](r.call); refused && errors.Is(err, ErrUnavailable) {
		err = r.call // has the reason
	}
	return Value{}, cmp.Or(err, r.call)
}

func (r *results) err() error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(r.failed)) {
		all = append(all, r.failed[name])
	}
	return errors.Join(append(all, r.call)...)
}

// add stores the results of names and returns the names to request again.
func (r *results) add(names []string, response *decryptv1beta1.DecryptSecureValuesResponse) (again []string) {
	for _, name := range names {
		answer := response.GetDecryptedValues()[name]
		switch result := answer.GetResult().(type) {
		case *decryptv1beta1.Result_Value:
			value := newValue(result.Value, answer.GetVersion())
			value.uid = answer.GetUid()
			r.values[name] = value
		case *decryptv1beta1.Result_ErrorMessage:
			err := resultError(result.ErrorMessage)
			if errors.Is(err, ErrUnavailable) {
				again = append(again, name)
				continue
			}
			r.fail([]string{name}, err)
		default:
			r.fail([]string{name}, fmt.Errorf("%w: the server gave no result", ErrDecryptionFailed))
		}
	}
	return again
}

func (r *results) fail(names []string, err error) {
	for _, name := range names {
		r.failed[name] = &NameError{Namespace: r.namespace, Name: name, Err: err}
	}
}

// Config is the address of the decrypt service and the credentials for it.
type Config struct {
	// URL is https://HOST:PORT of the decrypt port, not of the API: https://secret-decrypt.secret-system.svc:8444.
	URL string
	// CAFile is the CA bundle used to verify the server, read again for each new connection. Empty means the CAs of the
	// system.
	CAFile string
	// ServerName is verified instead of the host in URL when it is set.
	ServerName string
	// TokenFile holds the bearer token. It is read again every minute, and after a refusal, so a projected
	// ServiceAccount token (audience secret.grafana.app) works.
	TokenFile string
	// Token returns the bearer token of a call, instead of TokenFile: for a program that calls for several services.
	Token func(ctx context.Context) string
	// CertFile and KeyFile are a client certificate, for services without a token, read again for each new connection
	// and after a refusal. A server in a cluster accepts only those of its --decrypt-client-ca-file.
	CertFile, KeyFile string
	// UserAgent names the service in the server's logs.
	UserAgent string
	// Timeout bounds a call without a deadline, retries included. 0 means 30 seconds.
	Timeout time.Duration
}

const (
	defaultTimeout = 30 * time.Second
	// attemptTimeout bounds one attempt, so that a hanging server leaves time for another.
	attemptTimeout = 10 * time.Second
)

func (c Config) validate() error {
	address, err := url.Parse(c.URL)
	switch {
	case err != nil || address.Host == "":
		return fmt.Errorf("decrypt client: invalid URL %q: expected https://HOST:PORT", c.URL)
	case address.Scheme != "https":
		return fmt.Errorf("decrypt client: URL %q is not https: values and tokens go over TLS only", c.URL)
	case c.TokenFile == "" && c.CertFile == "" && c.Token == nil:
		return errors.New("decrypt client: TokenFile or CertFile is required: anonymous access is not possible")
	case c.TokenFile != "" && c.Token != nil:
		return errors.New("decrypt client: TokenFile and Token exclude each other")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("decrypt client: CertFile and KeyFile go together")
	}
	return nil
}
