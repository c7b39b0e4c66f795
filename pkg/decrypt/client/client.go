// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/propagation"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/decryptv1beta1/decryptv1beta1connect"
)

// maxNames is how many names the server takes in one call.
const maxNames = 128

// maxResponse is more than maxNames values of the largest size take.
const maxResponse = 8 << 20

// Client asks the decrypt service. It may be used by any number of goroutines.
type Client struct {
	rpc     decryptv1beta1connect.SecureValueDecrypterClient
	http    *http.Client
	timeout time.Duration
}

// New returns a client. It reads the files of config and does not connect yet.
func New(config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	client, err := config.httpClient()
	if err != nil {
		return nil, err
	}
	timeout := config.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	rpc := decryptv1beta1connect.NewSecureValueDecrypterClient(client, config.URL,
		connect.WithReadMaxBytes(maxResponse), connect.WithAcceptCompression("gzip", nil, nil))
	return &Client{rpc: rpc, http: client, timeout: timeout}, nil
}

// Close closes idle connections. Calls that run go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get returns the values of names in a namespace. Names are asked for once each, 128 a call; the values of one call are
// of one revision of the store.
//
// When ctx carries an OpenTelemetry span, the server's span of the call is part of its trace.
//
// When some names do not open, Get returns the values of the others together with an error that joins one *NameError
// for each: errors.Is(err, ErrNotFound) says whether any was not found. What is temporary is tried again until ctx
// ends.
func (c *Client) Get(ctx context.Context, namespace string, names ...string) (map[string]Value, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	wanted := slices.Compact(slices.Sorted(slices.Values(names)))
	got := &results{namespace: namespace, values: make(map[string]Value, len(wanted))}
	for batch := range slices.Chunk(wanted, maxNames) {
		if err := c.batch(ctx, got, batch); err != nil {
			return got.values, errors.Join(errors.Join(got.failed...), fmt.Errorf("decrypting values of namespace %s: %w", namespace, err))
		}
	}
	return got.values, errors.Join(got.failed...)
}

// GetOne returns one value.
func (c *Client) GetOne(ctx context.Context, namespace, name string) (Value, error) {
	values, err := c.Get(ctx, namespace, name)
	return values[name], err
}

// batch asks for at most maxNames names, again for those that the server could not read at the time.
func (c *Client) batch(ctx context.Context, got *results, names []string) error {
	retry := newRetry()
	for {
		response, asked, err := c.call(ctx, got.namespace, names)
		if err == nil {
			if names = got.add(names, response); len(names) == 0 {
				return nil
			}
			err = ErrUnavailable
		} else if !retry.allows(ctx, err) {
			return callError(err)
		}
		if waited := retry.wait(ctx, asked); waited != nil {
			got.fail(names, ErrUnavailable)
			return fmt.Errorf("%w (%w)", callError(err), waited)
		}
	}
}

// call is one attempt. asked is how long the server wants to be left alone after it.
func (c *Client) call(ctx context.Context, namespace string, names []string) (_ *decryptv1beta1.DecryptSecureValuesResponse, asked time.Duration, _ error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ctx, h := withHint(ctx)
	request := connect.NewRequest(&decryptv1beta1.DecryptSecureValuesRequest{Namespace: namespace, Names: names})
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(request.Header()))
	response, err := c.rpc.DecryptSecureValues(ctx, request)
	if err != nil {
		return nil, h.asked(), err
	}
	return response.Msg, h.asked(), nil
}

// results is what Get has so far.
type results struct {
	namespace string
	values    map[string]Value
	failed    []error
}

// add takes the results of names over and returns the names that are to be asked for again.
func (r *results) add(names []string, response *decryptv1beta1.DecryptSecureValuesResponse) (again []string) {
	for _, name := range names {
		switch result := response.GetDecryptedValues()[name].GetResult().(type) {
		case *decryptv1beta1.Result_Value:
			r.values[name] = newValue(result.Value)
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
		r.failed = append(r.failed, &NameError{Namespace: r.namespace, Name: name, Err: err})
	}
}
