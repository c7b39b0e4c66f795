// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	openWatches = 200
	inFlight    = 20
)

// http1 is a client that keeps no connection and speaks HTTP/1.1: there a broken answer cannot hide behind a stream.
func http1(s *harness.Server) *http.Client {
	config := s.HTTPClient().Transport.(*http.Transport).TLSClientConfig
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12},
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
		ExpectContinueTimeout: deadline,
		DisableKeepAlives:     true,
	}}
}

// stopRaces sends SIGTERM while 200 watches are open, requests are in flight and writers write. What was accepted is
// answered, every watch ends as HTTP wants it, the exit code is 0.
func stopRaces(t *testing.T, s *harness.Server, namespace string) *race {
	t.Helper()
	r := &race{client: newClient(t, s, namespace)}
	for i := range objects {
		got, value := r.create(name(i))
		r.ledger.wrote(t, got, value)
	}
	var watches, requests, writers sync.WaitGroup
	for w := range openWatches {
		r.openWatch(w, &watches)
	}
	release := make(chan struct{})
	for i := range inFlight {
		r.holdRequest(fmt.Sprintf("in-flight-%d", i), release, &requests)
	}
	var storm atomic.Int64
	for i := range objects {
		writers.Go(func() { r.writeUntilClosed(name(i), &storm) })
	}
	for storm.Load() < 20 {
		time.Sleep(time.Millisecond)
	}

	s.Signal(t, syscall.SIGTERM)
	waitClosed(t, s)
	close(release)
	requests.Wait()
	writers.Wait()
	watches.Wait()
	if err := s.Wait(t); err != nil {
		t.Errorf("the server ended with %v, want exit code 0", err)
	}
	return r
}

// openWatch opens a watch, half of them by HTTP/1.1, and asks that it ends with its last chunk.
func (r *race) openWatch(w int, group *sync.WaitGroup) {
	r.t.Helper()
	client := r.http
	if w%2 == 0 {
		client = http1(r.server)
	}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet,
		r.server.URL+harness.Collection(r.namespace)+"?watch=true", http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.server.AdminToken)
	response, err := client.Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		r.t.Fatalf("watch %d: %v", w, err)
	}
	group.Go(func() {
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			r.t.Errorf("watch %d (%s) ended with %v", w, response.Proto, err)
		}
	})
}

// holdRequest sends a creation whose body waits for release once the handler asks for it (100 Continue): from then on
// the request is accepted and must be answered.
func (r *race) holdRequest(name string, release <-chan struct{}, group *sync.WaitGroup) {
	r.t.Helper()
	value, accepted := newValue(), make(chan struct{})
	data, err := json.Marshal(newObject(name, value))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx := httptrace.WithClientTrace(r.t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(accepted) }})
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.URL+harness.Collection(r.namespace),
		reader)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.server.AdminToken)
	request.Header.Set("Expect", "100-continue")
	go func() {
		<-release
		_, _ = writer.Write(data) // a failure shows in the answer
		_ = writer.Close()
	}()
	group.Go(func() {
		response, err := http1(r.server).Do(request)
		if err != nil {
			r.t.Errorf("%s was accepted and not answered: %v", name, err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		var got object
		if err := json.NewDecoder(response.Body).Decode(&got); err != nil || response.StatusCode != http.StatusCreated {
			r.t.Errorf("%s: %s %v", name, response.Status, err)
			return
		}
		r.ledger.wrote(r.t, got, value)
	})
	select {
	case <-accepted:
	case <-time.After(deadline):
		r.t.Fatalf("%s was never accepted", name)
	}
}

// writeUntilClosed writes values until nobody listens. An answer is an acknowledgement or says that the server stops;
// a connection may be refused or closed before its request was read, but an answer never breaks off.
func (r *race) writeUntilClosed(name string, acknowledged *atomic.Int64) {
	c := *r.client
	c.http = http1(r.server)
	for {
		value := newValue()
		got, code, err := c.do(http.MethodPatch, name, mergeType,
			map[string]any{"spec": map[string]any{"value": value}})
		switch {
		case err == nil && code == http.StatusOK:
			r.ledger.wrote(r.t, got, value)
			acknowledged.Add(1)
		case err != nil && code == 0:
			return
		case code != http.StatusServiceUnavailable && code != http.StatusTooManyRequests:
			r.t.Errorf("writing to a server that stops: %d %v", code, err)
			return
		}
	}
}

// waitClosed returns once the server listens no more: the stop is in progress.
func waitClosed(t *testing.T, s *harness.Server) {
	t.Helper()
	address, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.Host)
		switch {
		case err == nil:
			_ = connection.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			return
		case errors.Is(err, syscall.ECONNRESET): // it was in the queue of a listener that closed
		default:
			t.Fatalf("waiting until the server listens no more: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
