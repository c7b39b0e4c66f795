// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	floodToken = "token-of-the-flood"
	workToken  = "token-of-the-worker"
	namespace  = "load"
)

// patience bounds waiting for what must come, more of it for more load: who stops reading keeps a place for
// --request-timeout, a minute, and then the next one comes. It does not test speed.
func patience(t *testing.T) time.Duration {
	t.Helper()
	return time.Duration(scale(t, 60)) * time.Second
}

// limit is the memory that a server under any of these loads may take, in bytes. docs/reliability.md has what was
// measured.
const limit = 1 << 30

var bindings = harness.ClusterRole("users", harness.Rule("create, get, list, watch, update, patch, delete, deletecollection", "securevalues")) +
	harness.Grant("flood", "users", "") + harness.Grant("worker", "users", "")

// start runs a server as an operator would: without the log of -v=10 and without whole answers in its audit log, each
// of which would take more memory than what is measured.
func start(t *testing.T, args ...string) *harness.Server {
	t.Helper()
	return startWith(t, harness.Options{
		Tokens: []string{harness.Token(floodToken, "flood"), harness.Token(workToken, "worker")}, RBAC: []string{bindings}, Args: args,
	})
}

func startWith(t *testing.T, options harness.Options) *harness.Server {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "audit-policy.yaml")
	harness.WriteFile(t, policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n")
	options.Args = append([]string{"-v=1", "--audit-policy-file=" + policy}, options.Args...)
	return harness.Start(t, options)
}

// scale multiplies a load by OVERLOAD.
func scale(t *testing.T, n int) int {
	t.Helper()
	return n * int(harness.Setting(t, "OVERLOAD", 1))
}

// memory is a line of /proc/PID/status of the server, in bytes.
func memory(t *testing.T, s *harness.Server, line string) int64 {
	t.Helper()
	found := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(harness.ReadFile(t, "/proc/"+strconv.Itoa(s.PID())+"/status"))
	if found == nil {
		t.Fatalf("no %s: the server is gone", line)
	}
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// resident is the resident set of the server now.
func resident(t *testing.T, s *harness.Server) int64 { t.Helper(); return memory(t, s, "VmRSS") }

// wantBounded compares the highest resident set that the server ever had with the limit.
func wantBounded(t *testing.T, s *harness.Server) {
	t.Helper()
	peak := memory(t, s, "VmHWM")
	t.Logf("the highest resident set is %d MiB", peak>>20)
	if peak > limit && !strings.HasSuffix(harness.Binary(t), "-race") {
		t.Errorf("the server took %d MiB, want at most %d", peak>>20, limit>>20)
	}
}

// others work while a load is on: they write, read and ask for health, and are served.
type others struct {
	stop chan struct{}
	done chan struct{}
	// rounds are those that were served, refused are the times that they were told to come again.
	rounds, refused atomic.Int64
}

// work starts them.
func work(t *testing.T, s *harness.Server) *others {
	t.Helper()
	o := &others{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for n := 0; ; n++ {
			select {
			case <-o.stop:
				return
			default:
			}
			if !o.round(t, s, n) {
				return
			}
			o.rounds.Add(1)
		}
	}()
	return o
}

// round is what one of the others does.
func (o *others) round(t *testing.T, s *harness.Server, n int) bool {
	t.Helper()
	name := fmt.Sprintf("/other-%d", n%10)
	all := harness.Collection(namespace)
	body := fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"description":"d","value":"v"}}`, name[1:])
	for _, step := range []struct {
		method, path, body string
		codes              []int
	}{
		{http.MethodGet, "/livez", "", []int{200}},
		{http.MethodGet, "/readyz", "", []int{200}},
		{http.MethodPost, all, body, []int{201, 409}},
		{http.MethodPut, all + name, body, []int{200}},
		{http.MethodGet, all + name, "", []int{200}},
	} {
		got, err := o.persist(t, s, step.method, step.path, step.body)
		if err != nil {
			t.Errorf("others: %s %s: %v", step.method, step.path, err)
			return false
		}
		served := false
		for _, code := range step.codes {
			served = served || got == code
		}
		if !served {
			t.Errorf("others: %s %s: %d", step.method, step.path, got)
			return false
		}
	}
	return true
}

// persist repeats a request that is answered with 429, as every client of Kubernetes does. Health is never refused.
func (o *others) persist(t *testing.T, s *harness.Server, method, path, body string) (int, error) {
	t.Helper()
	for end := time.Now().Add(patience(t)); ; time.Sleep(20 * time.Millisecond) {
		code, header, err := try(t, s, harness.Request{Method: method, Path: path, Token: workToken, Body: body})
		if err != nil || code != http.StatusTooManyRequests || strings.HasSuffix(path, "z") || time.Now().After(end) {
			return code, err
		}
		o.refused.Add(1)
		if header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
}

// wait ends the others and asks that they were served.
func (o *others) wait(t *testing.T) {
	t.Helper()
	eventually(t, "somebody else was served", func() bool { return o.rounds.Load() > 0 || t.Failed() })
	close(o.stop)
	<-o.done
	t.Logf("others: %d rounds of 5 requests, told %d times to come again", o.rounds.Load(), o.refused.Load())
	if o.rounds.Load() == 0 {
		t.Error("nobody else was served")
	}
}

// try sends a request and returns the error: under load a connection may end.
func try(t *testing.T, s *harness.Server, r harness.Request) (int, http.Header, error) {
	t.Helper()
	response, err := s.Send(t.Context(), r)
	if err != nil {
		return 0, nil, err
	}
	return response.StatusCode, response.Header, response.Body.Close()
}

// smallBuffer is what the socket of a client keeps for it, in bytes: who does not read soon makes the server wait.
const smallBuffer = 4 << 10

// dial opens a TLS connection that speaks a protocol.
func dial(t *testing.T, s *harness.Server, url, protocol string) (net.Conn, error) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(smallBuffer); err != nil {
		return nil, err
	}
	client := tls.Client(conn, s.TLS(protocol))
	return client, client.HandshakeContext(t.Context())
}

// dialFramer opens a connection that speaks HTTP/2, frame by frame.
func dialFramer(t *testing.T, s *harness.Server, url string, settings ...http2.Setting) (net.Conn, *http2.Framer, error) {
	t.Helper()
	conn, err := dial(t, s, url, "h2")
	if err != nil {
		return nil, nil, err
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, nil, err
	}
	framer := http2.NewFramer(conn, conn)
	return conn, framer, framer.WriteSettings(settings...)
}

// writeGet sends a GET as one frame. The header is compressed without what earlier ones had in common with it.
func writeGet(framer *http2.Framer, stream uint32, path, token string) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}, {"authorization", "Bearer " + token},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndHeaders: true, EndStream: true, BlockFragment: block.Bytes()})
}
