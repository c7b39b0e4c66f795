// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// eventually waits until something is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience(t)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

// TestSlowWriters: clients that send a few bytes and no more are told so after five seconds, and keep no place
// meanwhile.
func TestSlowWriters(t *testing.T) {
	s := start(t, "--max-mutating-requests-inflight=8")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if code := writeSlowly(t, s); code != http.StatusRequestTimeout {
				t.Errorf("a slow writer is answered with %d, want 408", code)
			}
		})
	}
	o := work(t, s)
	group.Wait()
	o.wait(t)
	if refused := o.refused.Load(); refused > 0 {
		t.Errorf("others were told %d times to come again", refused)
	}
	wantBounded(t, s)
}

// TestStrangersWithoutBodies: net/http waits for the body of a request before it writes a small answer, for good if it
// may. A client without credentials that promises a body and sends none loses its connection all the same, on both
// ports.
func TestStrangersWithoutBodies(t *testing.T) {
	s := start(t)
	var group sync.WaitGroup
	for _, url := range []string{s.URL, s.DecryptURL} {
		for _, protocol := range []string{"HTTP/1.0", "HTTP/1.1"} {
			conn, err := dial(t, s, url, "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if _, err := fmt.Fprintf(conn, "POST / %s\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", protocol); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience(t)))
			group.Go(func() {
				if answer, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s %s: the connection is still open after %s: %q", url, protocol, patience(t), answer)
				}
			})
		}
	}
	group.Wait()
}

// writeSlowly sends the header of a write and no body, over HTTP/2, and returns the code of the answer.
func writeSlowly(t *testing.T, s *harness.Server) int {
	t.Helper()
	body, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	response, err := s.Send(t.Context(), harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace), Token: floodToken, Stream: body})
	if err != nil {
		t.Errorf("a slow writer: %v", err)
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// standing is what a client does that asks for a list and never reads it. Its socket takes a few KB, so the server
// cannot leave the answer to the kernel.
func standing(t *testing.T, s *harness.Server, protocol string) net.Conn {
	t.Helper()
	if protocol == "h2" {
		conn, framer, err := dialFramer(t, s, s.URL, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := writeGet(framer, 1, harness.Collection("big"), floodToken); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	conn, err := dial(t, s, s.URL, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", harness.Collection("big"), floodToken)
	return conn
}

// fillBig makes a namespace whose list has 10 KB for each object. The kernel keeps up to 4 MB for a client that does
// not read.
func fillBig(t *testing.T, s *harness.Server, objects int) {
	t.Helper()
	for n := range objects {
		body := fmt.Sprintf(`{"metadata":{"name":"big-%d","annotations":{"a":%q}},"spec":{"description":"d","value":"v"}}`, n, strings.Repeat("x", 10000))
		if code, _, err := try(t, s, harness.Request{Method: http.MethodPost, Path: harness.Collection("big"), Token: floodToken, Body: body}); err != nil || code != http.StatusCreated {
			t.Fatalf("%d %v", code, err)
		}
	}
}

// TestSlowReaders: clients ask for lists and do not read them, others open connections and say nothing.
func TestSlowReaders(t *testing.T) {
	s := start(t)
	fillBig(t, s, 300)
	for range scale(t, 50) {
		standing(t, s, "http/1.1")
		standing(t, s, "h2")
	}
	for range scale(t, 200) { // no handshake, no request
		for _, url := range []string{s.URL, s.DecryptURL} {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	o := work(t, s)
	o.wait(t)
	wantBounded(t, s)
}

// TestSlowReadersLoseTheirPlaces: a reader that stands still has the only place for reads, by either protocol, and the
// others are served once its time is over.
func TestSlowReadersLoseTheirPlaces(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := start(t, "--max-requests-inflight=1", "--request-timeout=30s")
			fillBig(t, s, 600)
			get := harness.Request{Method: http.MethodGet, Path: harness.Collection(namespace) + "/a", Token: workToken}
			eventually(t, "a reader has the place", func() bool {
				if s.Do(t, get).Code == http.StatusTooManyRequests {
					return true
				}
				standing(t, s, protocol) // one that came while somebody else had the place was refused
				return false
			})
			eventually(t, "the others are served", func() bool { return s.Do(t, get).Code == http.StatusNotFound })
		})
	}
}

// TestManyWatches: each write goes to thousands of watches, each of which sees it.
func TestManyWatches(t *testing.T) {
	s := start(t)
	watches := scale(t, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var seen atomic.Int64
	for range watches {
		response, err := s.Send(ctx, harness.Request{Method: http.MethodGet, Path: harness.Collection(namespace) + "?watch=true", Token: workToken})
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("watch: %v %v", response, err)
		}
		group.Go(func() {
			defer func() { _ = response.Body.Close() }()
			lines := bufio.NewScanner(response.Body)
			for lines.Scan() {
				if bytes.Contains(lines.Bytes(), []byte(`"mark"`)) {
					seen.Add(1)
					return
				}
			}
		})
	}
	o := work(t, s)
	o.wait(t)
	mark := `{"metadata":{"name":"mark"},"spec":{"description":"d","value":"v"}}`
	if code, _, err := try(t, s, harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace), Token: workToken, Body: mark}); err != nil || code != http.StatusCreated {
		t.Fatalf("%d %v", code, err)
	}
	eventually(t, "every watch has seen the last write", func() bool { return seen.Load() == int64(watches) })
	wantBounded(t, s)
	cancel()
	group.Wait()
}

// TestManyStreamsOfChanges: thousands of them are open on the decrypt port, one caller holds its quarter of the places,
// and everything else is served; a change reaches every stream.
func TestManyStreamsOfChanges(t *testing.T) {
	streams := scale(t, 1000)
	s := startWith(t, harness.Options{Args: []string{fmt.Sprint("--decrypt-max-watches=", 4*streams)}}.WithK6(namespace))
	s.Create(t, namespace, "a", harness.Canary(), "k6-cloud")
	before := resident(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	client := secretwatchv1connect.NewSecureValueWatcherClient(s.HTTPClient(), s.DecryptURL)
	var group sync.WaitGroup
	var began, told atomic.Int64
	for range streams {
		request := connect.NewRequest(&secretwatchv1.WatchRequest{Namespace: namespace, Names: []string{"a"}})
		request.Header().Set("Authorization", "Bearer "+harness.K6Token)
		stream, err := client.Watch(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			defer func() { _ = stream.Close() }()
			for stream.Receive() {
				switch stream.Msg().GetVersion() {
				case 1:
					began.Add(1)
				case 2:
					told.Add(1)
				}
			}
		})
	}
	eventually(t, "every stream has begun", func() bool { return began.Load() == int64(streams) })
	t.Logf("%d streams take %d KiB each", streams, (resident(t, s)-before)/int64(streams)>>10)
	if got := s.Decrypt(t, harness.K6Token, namespace, "a"); got.Code != http.StatusOK {
		t.Errorf("the caller of the streams gets %d", got.Code)
	}
	patch := harness.Request{
		Method: http.MethodPatch, Path: harness.Collection(namespace) + "/a", Token: s.AdminToken,
		ContentType: "application/merge-patch+json", Body: `{"spec":{"value":"another"}}`,
	}
	s.Do(t, patch).Want(t, http.StatusOK)
	eventually(t, "every stream has seen the change", func() bool { return told.Load() == int64(streams) })
	wantBounded(t, s)
	cancel()
	group.Wait()
	eventually(t, "no stream is left", func() bool { return s.Metric(t, "secret_decrypt_watches") == 0 })
}

// TestIncident13RapidResets: a stream that is opened and reset at once costs the server more than the client
// (CVE-2023-39325).
func TestIncident13RapidResets(t *testing.T) {
	s := start(t)
	o := work(t, s)
	var resets atomic.Int64
	var group sync.WaitGroup
	for n := range 8 {
		url, token := s.URL, floodToken
		if n%2 == 1 {
			url, token = s.DecryptURL, "wrong"
		}
		group.Go(func() {
			for range 5 { // the server ends a connection that overdoes it
				resets.Add(int64(resetStreams(t, s, url, token, scale(t, 1000))))
			}
		})
	}
	group.Wait()
	o.wait(t)
	t.Logf("%d streams were reset", resets.Load())
	if resets.Load() == 0 {
		t.Error("nothing was sent")
	}
	wantBounded(t, s)
}

// resetStreams opens streams and resets them at once, as fast as the connection takes it, and returns how many it sent.
func resetStreams(t *testing.T, s *harness.Server, url, token string, streams int) int {
	t.Helper()
	conn, framer, err := dialFramer(t, s, url)
	if err != nil {
		t.Errorf("the server takes no connection: %v", err)
		return 0
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience(t)))
	go func() { // so that the server's frames do not fill its buffer
		for {
			if _, err := framer.ReadFrame(); err != nil {
				return
			}
		}
	}()
	for n := range streams {
		id := uint32(2*n + 1)
		if writeGet(framer, id, harness.Collection(namespace), token) != nil || framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return n
		}
	}
	return streams
}
