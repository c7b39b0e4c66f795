// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// megabyte is the largest body that is read.
const megabyte = 1 << 20

// bombs are bodies that are cheap to send. Each is refused by the limit that it is named after, or costs no more than
// its size.
var bombs = []struct {
	name, method, contentType string
	body                      func(name string) string
	want                      []int
}{
	{"the largest value", http.MethodPost, "application/json", func(name string) string {
		return `{"metadata":{"name":"` + name + `"},"spec":{"description":"d","value":"` + strings.Repeat("x", 24576) + `"}}`
	}, []int{201, 409}},
	{"the largest body", http.MethodPost, "application/json", padded(megabyte - 200), []int{400}},
	{"too large a body", http.MethodPost, "application/json", padded(megabyte + 1), []int{413}},
	{"much too large a body", http.MethodPost, "application/json", padded(8 * megabyte), []int{413}},
	{"deep JSON", http.MethodPost, "application/json", func(string) string {
		return `{"spec":` + strings.Repeat(`[`, megabyte/2) + strings.Repeat(`]`, megabyte/2-100) + `}`
	}, []int{400}},
	{"deep objects", http.MethodPost, "application/json", func(string) string { return strings.Repeat(`{"a":`, megabyte/6) }, []int{400}},
	{"wide JSON", http.MethodPost, "application/json", func(string) string { return `{"a":[` + strings.Repeat(`[],`, megabyte/3-10) + `[]]}` }, []int{400}},
	{"a long number", http.MethodPost, "application/json", func(string) string { return `{"a":` + strings.Repeat("9", megabyte-20) + `}` }, []int{400}},
	{"YAML bomb", http.MethodPost, "application/yaml", func(string) string {
		var b strings.Builder
		b.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
		for c := 'b'; c < 'z'; c++ {
			fmt.Fprintf(&b, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
		}
		return b.String()
	}, []int{400}},
	{"deep YAML", http.MethodPost, "application/yaml", func(string) string { return "a: " + strings.Repeat("[", 100000) }, []int{400}},
	{"JSON patch of many operations", http.MethodPatch, "application/json-patch+json", func(string) string {
		return "[" + strings.Repeat(`{"op":"add","path":"/metadata/labels/a","value":"b"},`, 19000) + `{"op":"test","path":"/x","value":1}]`
	}, []int{400, 404, 413}},
	{"JSON patch that doubles", http.MethodPatch, "application/json-patch+json", func(string) string {
		return `[{"op":"add","path":"/metadata/annotations","value":{"a":"` + strings.Repeat("x", 1000) + `"}}` +
			strings.Repeat(`,{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/b"}`, 200) + "]"
	}, []int{400, 404, 413}},
	{"merge patch of many labels", http.MethodPatch, "application/merge-patch+json", func(string) string {
		var b strings.Builder
		b.WriteString(`{"metadata":{"labels":{"a":""`)
		for i := range 50000 {
			fmt.Fprintf(&b, `,"k%d":"v"`, i)
		}
		return b.String() + `}}}`
	}, []int{400, 404}},
	{"protobuf of large lengths", http.MethodPost, "application/vnd.kubernetes.protobuf", func(string) string {
		return "k8s\x00\x0a\xff\xff\xff\xff\x07" + strings.Repeat("\x12\xff\xff\xff\xff\x07", 1000)
	}, []int{400}},
}

func padded(size int) func(string) string {
	return func(name string) string {
		return `{"metadata":{"name":"` + name + `"},"spec":{"description":"d","value":"` + strings.Repeat("x", size) + `"}}`
	}
}

// TestIncident13MemoryIsBounded: one request ate a server's memory or time (CVE-2019-11253 by YAML, CVE-2019-1002100 by
// a JSON patch, CVE-2025-6203 and CVE-2025-59043 by JSON). Here many of them come at once, more than may be in flight.
func TestIncident13MemoryIsBounded(t *testing.T) {
	s := start(t, "--max-mutating-requests-inflight=8")
	o := work(t, s)
	var (
		group  sync.WaitGroup
		mutex  sync.Mutex
		counts = map[int]int{}
	)
	const senders = 24
	for sender := range senders {
		group.Go(func() {
			for n := sender; n < scale(t, 20*len(bombs)); n += senders {
				bomb, name := bombs[n%len(bombs)], fmt.Sprintf("bomb-%d", n%50)
				path := harness.Collection(namespace)
				if bomb.method == http.MethodPatch {
					path += "/" + name
				}
				code, header, err := try(t, s, harness.Request{
					Method: bomb.method, Path: path, Token: floodToken, ContentType: bomb.contentType, Body: bomb.body(name),
				})
				if err != nil && len(bomb.body(name)) <= megabyte {
					t.Errorf("%s: %v", bomb.name, err) // the server may end a stream that is over the limit
				}
				if code == http.StatusTooManyRequests && header.Get("Retry-After") == "" {
					t.Errorf("%s: 429 without Retry-After", bomb.name)
				}
				if code == http.StatusGatewayTimeout && scale(t, 1) > 1 {
					code = http.StatusTooManyRequests // --request-timeout ended it: the dearest of them take a second of CPU time each
				}
				if err == nil && code != http.StatusTooManyRequests && !slices.Contains(bomb.want, code) {
					t.Errorf("%s: %d, want %v or 429", bomb.name, code, bomb.want)
				}
				mutex.Lock()
				counts[code]++
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	o.wait(t)
	t.Logf("answers by code: %v", counts)
	if counts[413] == 0 || counts[400] == 0 {
		t.Errorf("no 413 or no 400 among %v", counts)
	}
	wantBounded(t, s)
}

// TestTooManyRequests: callers that come while all places are taken are told so by a Status, and when to come again.
func TestTooManyRequests(t *testing.T) {
	s := start(t, "--max-requests-inflight=1", "--request-timeout=30s")
	fillBig(t, s, 600)
	get := harness.Request{Method: http.MethodGet, Path: harness.Collection(namespace), Token: workToken}
	var readers []net.Conn
	var got harness.Response
	eventually(t, "somebody is refused", func() bool {
		readers = append(readers, standing(t, s, "http/1.1")) // one of them takes the only place
		got = s.Do(t, get)
		return got.Code == http.StatusTooManyRequests
	})
	if status := got.Status(t); got.Header.Get("Retry-After") == "" || status.Reason != metav1.StatusReasonTooManyRequests {
		t.Errorf("%v %s", got.Header, got.Body)
	}
	o := &others{}
	if code, err := o.persist(t, s, http.MethodGet, "/livez", ""); err != nil || code != http.StatusOK {
		t.Errorf("health meanwhile: %d %v", code, err)
	}
	for _, reader := range readers {
		_ = reader.Close()
	}
	if !o.round(t, s, 1) {
		t.Error("others are not served afterwards")
	}
}

// TestHugeSelectorsAndHeaders: what is in no body is bounded too.
func TestHugeSelectorsAndHeaders(t *testing.T) {
	s := start(t)
	o := work(t, s)
	all := harness.Collection(namespace)
	for n := range scale(t, 6) {
		size := 1000 << (2 * (n % 6)) // up to a megabyte
		for _, query := range []string{
			"?labelSelector=a+in+(" + strings.Repeat("x,", size/2) + "x)", "?fieldSelector=" + strings.Repeat("metadata.name!%3Da,", size/19) + "metadata.name%3Db",
			"?labelSelector=" + strings.Repeat("!a,", size/3) + "b", "?" + strings.Repeat("a=b&", size/4),
		} {
			code, _, err := try(t, s, harness.Request{Method: http.MethodGet, Path: all + query, Token: floodToken})
			want := []int{http.StatusOK, http.StatusBadRequest, http.StatusTooManyRequests}
			if len(all+query) > httpguard.MaxURIBytes { // net/http refuses a megabyte by itself
				want = []int{http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge}
			}
			if err == nil && !slices.Contains(want, code) {
				t.Errorf("a query of %d bytes: %d", len(query), code)
			}
		}
	}
	o.wait(t)
	wantBounded(t, s)
}

// TestURIIsTooLong: what costs more to parse than to send is refused before it is parsed, logged or audited, on both
// ports, with and without credentials, and by a Status that says how long it may be.
func TestURIIsTooLong(t *testing.T) {
	s := start(t, "-v=10")
	decrypt := s.OnDecryptPort()
	canary := harness.Canary()
	list, open := harness.Collection(namespace), harness.DecryptPath(namespace, "a")
	for _, token := range []string{floodToken, "wrong"} {
		for _, test := range []struct {
			server *harness.Server
			path   string
			served []int // with one byte less
		}{
			{s, list + "?labelSelector=", []int{http.StatusBadRequest, http.StatusUnauthorized}},
			{s, list + "?fieldSelector=metadata.name%3D", []int{http.StatusOK, http.StatusUnauthorized}},
			{s, list + "?" + canary + "=", []int{http.StatusOK, http.StatusUnauthorized}},
			{s, list + "/", []int{http.StatusNotFound, http.StatusUnauthorized}},
			{decrypt, open + "?", []int{http.StatusForbidden, http.StatusNotFound, http.StatusUnauthorized}},
			{decrypt, "/decrypt/", []int{http.StatusNotFound, http.StatusUnauthorized}},
		} {
			whole := test.path + canary + strings.Repeat("x", httpguard.MaxURIBytes+1-len(test.path+canary))
			got := test.server.Get(t, whole, token)
			status := got.Status(t)
			if got.Code != http.StatusRequestURITooLong || int(status.Code) != got.Code || !strings.Contains(status.Message, "the limit is 65536") {
				t.Errorf("%s of %d bytes: %d %s", test.path, len(whole), got.Code, got.Body)
			}
			if len(harness.Find(got.Body, canary)) > 0 || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v %s", test.path, got.Header, got.Body)
			}
			if got := test.server.Get(t, test.path+strings.Repeat("x", httpguard.MaxURIBytes-len(test.path)), token); !slices.Contains(test.served, got.Code) {
				t.Errorf("%s of %d bytes: %d %s", test.path, httpguard.MaxURIBytes, got.Code, got.Body[:min(len(got.Body), 300)])
			}
		}
	}
	s.Leaks(t, canary)
}

// TestCallersWithoutCredentials: who is nobody costs next to nothing, whatever is sent.
func TestCallersWithoutCredentials(t *testing.T) {
	s := start(t)
	o := work(t, s)
	decrypt := s.OnDecryptPort()
	body := strings.Repeat("x", megabyte)
	var group sync.WaitGroup
	for sender := range 16 {
		group.Go(func() {
			for n := range scale(t, 60) {
				server, path := s, harness.Collection(namespace)
				if n%2 == 1 {
					server, path = decrypt, "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
				}
				code, _, err := try(t, server, harness.Request{Method: http.MethodPost, Path: path, Token: fmt.Sprintf("wrong-%d-%d", sender, n), Body: body})
				if err == nil && code != http.StatusUnauthorized && code != http.StatusTooManyRequests {
					t.Errorf("without credentials: %d", code)
				}
			}
		})
	}
	group.Wait()
	o.wait(t)
	wantBounded(t, s)
}
