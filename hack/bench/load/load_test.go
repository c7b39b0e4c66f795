// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/hack/bench/wire"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

func newSlice(t *testing.T, handler http.HandlerFunc) *Slice {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com"
	return &Slice{
		Address: server.Listener.Addr().String(), TLS: config, Kind: SecureValues, Encoding: Protobuf, Namespace: "n",
		Op: Get, Size: 100, Names: []string{"a", "b"}, Clients: 4, Limit: 100,
	}
}

func run(t *testing.T, s *Slice) *Outcome {
	t.Helper()
	outcome, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func TestEveryRequestIsCounted(t *testing.T) {
	var seen atomic.Int64
	s := newSlice(t, func(w http.ResponseWriter, _ *http.Request) {
		switch seen.Add(1) % 10 {
		case 0:
			w.WriteHeader(http.StatusTooManyRequests)
		case 1:
			panic(http.ErrAbortHandler)
		}
	})
	outcome := run(t, s)
	if outcome.Total() != 100 || seen.Load() != 100 {
		t.Fatalf("counted %d, the server saw %d, want 100", outcome.Total(), seen.Load())
	}
	if outcome.OK != 80 || outcome.Failed["429"] != 10 || outcome.Failed["no response"] != 10 {
		t.Errorf("%d succeeded, failed %v", outcome.OK, outcome.Failed)
	}
}

func TestAServerThatGoesAwayIsCountedToTheEnd(t *testing.T) {
	s := newSlice(t, func(http.ResponseWriter, *http.Request) {})
	connection, err := wire.Dial(t.Context(), s.Address, s.TLS)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(s, connection)
	_ = connection.Close()
	s.Address = "127.0.0.1:1" // nobody listens there
	c.run(t.Context(), &schedule{start: time.Now(), limit: 5})
	if c.recorder.Total() != 5 || c.recorder.Failed["no response"] != 5 {
		t.Errorf("counted %d, failed %v", c.recorder.Total(), c.recorder.Failed)
	}
}

// One request that takes long delays those that were due after it. Their latencies must show it.
func TestTheOpenLoopMeasuresFromWhenARequestWasDue(t *testing.T) {
	const stall = 200 * time.Millisecond
	var seen atomic.Int64
	handler := func(http.ResponseWriter, *http.Request) {
		if seen.Add(1) == 1 {
			time.Sleep(stall)
		}
	}
	s := newSlice(t, handler)
	s.Clients, s.Limit, s.Rate, s.For = 1, 0, 1000, 100*time.Millisecond
	outcome := run(t, s)
	if outcome.Total() != 100 {
		t.Fatalf("%d requests were sent, and 100 were due", outcome.Total())
	}
	if least := outcome.Quantile(1); least < stall/2 {
		t.Errorf("the shortest latency is %s, though every request was due while the server stood still for %s", least, stall)
	}
	seen.Store(0)
	s.Rate, s.Limit, s.For = 0, 100, 0
	if closed := run(t, s); closed.Total() != 100 || closed.Quantile(100) < stall {
		t.Errorf("closed loop: %d requests, the longest of %s", closed.Total(), closed.Quantile(100))
	}
}

func TestEachObjectIsDeletedOnce(t *testing.T) {
	var names atomic.Value
	names.Store("")
	s := newSlice(t, func(_ http.ResponseWriter, r *http.Request) {
		for {
			old := names.Load()
			if names.CompareAndSwap(old, old.(string)+r.Method+r.URL.Path+";") {
				return
			}
		}
	})
	s.Op, s.Names = Delete, []string{"a", "b", "c"}
	outcome := run(t, s)
	for _, name := range s.Names {
		if strings.Count(names.Load().(string), "DELETE"+SecureValues.Collection("n")+"/"+name+";") != 1 {
			t.Errorf("%s in %s", name, names.Load())
		}
	}
	if outcome.OK != 3 {
		t.Errorf("%d deleted", outcome.OK)
	}
}

func TestCreateKnowsWhatItMade(t *testing.T) {
	var seen atomic.Int64
	s := newSlice(t, func(w http.ResponseWriter, _ *http.Request) {
		if seen.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	s.Op, s.Prefix, s.Names = Create, "p", nil
	outcome := run(t, s)
	unique := map[string]bool{}
	for _, name := range outcome.Made {
		unique[name] = true
	}
	if len(outcome.Made) != 50 || len(unique) != 50 || outcome.Failed["409"] != 50 {
		t.Errorf("made %d, of these %d names, failed %v", len(outcome.Made), len(unique), outcome.Failed)
	}
}

func TestABrokenWorldIsAnError(t *testing.T) {
	s := newSlice(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx); err == nil {
		t.Error("no error")
	}
}

// The bodies are what the servers take: their own types read them back.
func TestBodies(t *testing.T) {
	for _, encoding := range []Encoding{Protobuf, JSON} {
		s := &Slice{Kind: SecureValues, Encoding: encoding, Namespace: "n", Op: Create, Size: 100, Prefix: "p"}
		r := requests{slice: s, random: newRandom()}
		request, name := r.next(7)
		if name != "p-0000007" || request.Method != http.MethodPost || request.Path != "/apis/secret.grafana.app/v1beta1/namespaces/n/securevalues" {
			t.Errorf("%s %s for %s", request.Method, request.Path, name)
		}
		if encoding == Protobuf {
			sv := &v1beta1.SecureValue{}
			decodeProtobuf(t, request.Body, sv)
			if sv.Name != name || len(sv.Spec.Value.Expose()) != 100 {
				t.Errorf("%s of %d bytes", sv.Name, len(sv.Spec.Value.Expose()))
			}
		}
		s.Kind, s.Op, s.Names = Secrets, Update, []string{"a"}
		request, _ = r.next(8)
		if request.Method != http.MethodPut || request.Path != "/api/v1/namespaces/n/secrets/a" {
			t.Errorf("%s %s", request.Method, request.Path)
		}
		if encoding == Protobuf {
			secret := &corev1.Secret{}
			decodeProtobuf(t, request.Body, secret)
			if secret.Name != "a" || len(secret.Data["value"]) != 100 {
				t.Errorf("%s of %d bytes", secret.Name, len(secret.Data["value"]))
			}
		}
	}
}

func decodeProtobuf(t *testing.T, body []byte, into runtime.Object) {
	t.Helper()
	if _, _, err := protobufSerializer.Decode(body, nil, into); err != nil {
		t.Fatal(err)
	}
}

func TestSplitter(t *testing.T) {
	stream := "\x00\x00\x00\x03abc\x00\x00\x00\x01x\x00\x00\x01\x00" + strings.Repeat("y", 256)
	for _, size := range []int{1, 2, 3, 5, 7, len(stream)} {
		var events int
		s := splitter{encoding: Protobuf, event: func() { events++ }}
		for reader := strings.NewReader(stream); ; {
			part := make([]byte, size)
			n, err := reader.Read(part)
			if err == io.EOF {
				break
			}
			s.write(part[:n])
		}
		if events != 3 {
			t.Errorf("in parts of %d: %d events, want 3", size, events)
		}
	}
	lines := 0
	s := splitter{encoding: JSON, event: func() { lines++ }}
	s.write([]byte("{}\n{"))
	s.write([]byte("}\n"))
	if lines != 2 {
		t.Errorf("%d lines, want 2", lines)
	}
}
