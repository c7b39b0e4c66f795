// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	readerToken = "token-of-the-reader"
	rpcPath     = "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
	streams     = 100 // of one connection
)

// idleBodies are ways to send a request and keep its body back, by HTTP/1.1: the end of the header and what comes of
// the body.
var idleBodies = map[string]string{
	"one byte":            "Content-Length: 50\r\n\r\n{",
	"no byte":             "Content-Length: 50\r\n\r\n",
	"a large promise":     "Content-Length: 1048576\r\n\r\n{",
	"chunked":             "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
	"half a chunk header": "Transfer-Encoding: chunked\r\n\r\n1",
	"100-continue":        "Expect: 100-continue\r\nContent-Length: 50\r\n\r\n",
}

// target is a path that takes a body, on either port.
type target struct{ url, path, contentType string }

// idle opens a connection with one request whose body does not come.
func idle(t *testing.T, s *harness.Server, to target, token, rest string) {
	t.Helper()
	conn, err := dial(t, s, to.url, "http/1.1")
	if err != nil {
		t.Errorf("the server takes no connection: %v", err)
		return
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%s",
		to.path, token, to.contentType, rest); err != nil {
		t.Error(err)
	}
}

// idleStreams opens one connection with many such requests.
func idleStreams(t *testing.T, s *harness.Server, to target, token string) {
	t.Helper()
	conn, framer, err := dialFramer(t, s, to.url)
	if err != nil {
		t.Errorf("the server takes no connection: %v", err)
		return
	}
	t.Cleanup(func() { _ = conn.Close() })
	go drain(conn, framer)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for n := range streams {
		block.Reset()
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", to.path},
			{"authorization", "Bearer " + token}, {"content-type", to.contentType},
		} {
			_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to memory
		}
		id := uint32(2*n + 1)
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block.Bytes()}) != nil ||
			framer.WriteData(id, false, []byte("{")) != nil {
			return // the server ended the connection
		}
	}
}

// drain reads what the server says, so that its frames do not fill its buffer.
func drain(conn net.Conn, framer *http2.Framer) {
	for {
		if _, err := framer.ReadFrame(); err != nil {
			_ = conn.Close()
			return
		}
	}
}

// flood keeps requests without bodies open until stop is called: each loses its connection after a while, and the next
// comes.
func flood(t *testing.T, s *harness.Server, to target, tokens []string, connections int) (stop func()) {
	t.Helper()
	var kinds []string
	for _, rest := range idleBodies {
		kinds = append(kinds, rest)
	}
	stopped := make(chan struct{})
	var group sync.WaitGroup
	open := func(n int) {
		if n%10 == 0 {
			idleStreams(t, s, to, tokens[n/10%len(tokens)])
			return
		}
		idle(t, s, to, tokens[n%len(tokens)], kinds[n%len(kinds)])
	}
	for sender := range 8 { // all are open when flood returns
		group.Go(func() {
			for n := sender; n < connections; n += 8 {
				open(n)
			}
		})
	}
	group.Wait()
	group.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stopped:
				return
			default:
				open(n)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stopped)
		group.Wait()
	})
}

// startFair runs a server with the default limits and a value to decrypt. The users of the flood have no rights on the
// decrypt port; on the API port they may write.
func startFair(t *testing.T, users int, args ...string) (s *harness.Server, tokens []string) {
	t.Helper()
	lines := []string{harness.Token(workToken, "worker"), harness.Token(readerToken, "reader")}
	rbac := []string{bindings, harness.Grant("reader", harness.K6Role, namespace)}
	for n := range users {
		name := fmt.Sprintf("flood-%d", n)
		tokens = append(tokens, "token-of-"+name)
		lines = append(lines, harness.Token(tokens[n], name))
		rbac = append(rbac, harness.Grant(name, "users", ""))
	}
	s = harness.Start(t, harness.Options{
		Tokens: lines, RBAC: rbac, RBACFiles: []string{"config/rbac/decrypter-k6-cloud.yaml"}, Args: append([]string{"-v=1"}, args...),
	})
	body := `{"metadata":{"name":"a"},"spec":{"description":"d","value":"v","decrypters":["k6-cloud"]}}`
	s.Do(t, harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace), Token: workToken, Body: body}).Want(t, http.StatusCreated)
	return s, tokens
}

// wantDecrypts asks that every decrypt is answered, by GET and by Connect.
func wantDecrypts(t *testing.T, s *harness.Server) {
	t.Helper()
	decrypt := s.OnDecryptPort()
	for range scale(t, 50) {
		for _, r := range []harness.Request{
			{Method: http.MethodGet, Path: harness.DecryptPath(namespace, "a"), Token: readerToken},
			{Method: http.MethodPost, Path: rpcPath, Token: readerToken, ContentType: "application/json", Body: `{"namespace":"` + namespace + `","names":["a"]}`},
		} {
			if got := decrypt.Do(t, r); got.Code != http.StatusOK || !bytes.Contains(got.Body, []byte(`"v"`)) {
				t.Fatalf("%s %s: %d %s", r.Method, r.Path, got.Code, got.Body)
			}
		}
	}
}

// wantWrites asks that every write is answered, and every read.
func wantWrites(t *testing.T, s *harness.Server, name string) {
	t.Helper()
	for n := range scale(t, 50) {
		body := fmt.Sprintf(`{"metadata":{"name":"%s-%d"},"spec":{"description":"d","value":"v"}}`, name, n)
		for _, r := range []harness.Request{
			{Method: http.MethodPost, Path: harness.Collection(namespace), Body: body},
			{Method: http.MethodGet, Path: harness.Collection(namespace) + fmt.Sprintf("/%s-%d", name, n)},
		} {
			r.Token = workToken
			if got := s.Do(t, r); got.Code != http.StatusCreated && got.Code != http.StatusOK {
				t.Fatalf("%s %s: %d %s", r.Method, r.Path, got.Code, got.Body)
			}
		}
	}
}

// TestFloodOfHalfRequests: 400 connections, and streams of HTTP/2 beside them, each with a request whose body does not
// come, of one user and of several, on either port. Everybody else is served as if they were not there, on both ports.
func TestFloodOfHalfRequests(t *testing.T) {
	for _, users := range []int{1, 5} {
		for _, port := range []string{"decrypt", "api"} {
			t.Run(fmt.Sprintf("%s port, %d users", port, users), func(t *testing.T) {
				s, tokens := startFair(t, users)
				to := target{s.DecryptURL, rpcPath, "application/json"}
				if port == "api" {
					to = target{s.URL, harness.Collection(namespace), "application/json"}
				}
				stop := flood(t, s, to, tokens, scale(t, 400))
				defer stop()
				wantDecrypts(t, s)
				wantWrites(t, s, "other")
				wantBounded(t, s)
			})
		}
	}
}

// TestStandingReadersLeaveAPlace: one caller's answers that nobody takes hold a quarter of the places, and the others
// are served at once.
func TestStandingReadersLeaveAPlace(t *testing.T) {
	s := start(t, "--max-requests-inflight=8")
	fillBig(t, s, 600)
	for range 20 {
		standing(t, s, "http/1.1")
		standing(t, s, "h2")
	}
	for range scale(t, 50) {
		s.Get(t, harness.Collection(namespace), workToken).Want(t, http.StatusOK)
	}
}

// TestHalfRequestsHoldNoPlace: a caller that has more half requests than there are places is served all the same, on
// either port. What they keep is memory, not places.
func TestHalfRequestsHoldNoPlace(t *testing.T) {
	s, _ := startFair(t, 0, "--decrypt-max-requests-inflight=8", "--max-mutating-requests-inflight=8")
	for range 5 {
		for _, rest := range idleBodies {
			idle(t, s, target{s.DecryptURL, rpcPath, "application/json"}, readerToken, rest)
			idle(t, s, target{s.URL, harness.Collection(namespace), "application/json"}, workToken, rest)
		}
	}
	wantDecrypts(t, s)
	wantWrites(t, s, "own")
}
