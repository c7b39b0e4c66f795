// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

const probedName = "secret-apiserver.secret-system.svc"

// serveBy starts a TLS server with a certificate of ca and returns its port.
func serveBy(t *testing.T, ca pair) int32 {
	t.Helper()
	leaf, err := ca.issue(ServingAuthority(namespace).Certificates[0], time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw},
		PrivateKey: leaf.key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return int32(server.Listener.Addr().(*net.TCPAddr).Port)
}

// closedPort returns a port that nobody listens on.
func closedPort(t *testing.T) int32 {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // only its number is of use
	return int32(listener.Addr().(*net.TCPAddr).Port)
}

func endpoints(name, service string, ready bool, ports ...int32) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{
		Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: new(ready)},
	}}}
	slice.Name, slice.Namespace, slice.Labels = name, namespace,
		map[string]string{discoveryv1.LabelServiceName: service}
	for _, port := range ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Port: new(port)})
	}
	slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{}) // "all ports", which says nothing
	return slice
}

func TestProbe(t *testing.T) {
	old, err := newCA("old", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	next, err := newCA("new", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	byOld, byNew, closed := serveBy(t, old), serveBy(t, next), closedPort(t)
	for name, c := range map[string]struct {
		slices []*discoveryv1.EndpointSlice
		want   string
	}{
		"nobody serves": {nil, ""},
		"all by the new": {[]*discoveryv1.EndpointSlice{endpoints("a", serverService, true, byNew),
			endpoints("b", serverService, true, byNew)}, ""},
		"one by the old": {[]*discoveryv1.EndpointSlice{endpoints("a", serverService, true, byNew),
			endpoints("b", serverService, true, byOld)}, "unknown authority"},
		"not ready, old": {[]*discoveryv1.EndpointSlice{endpoints("a", serverService, false, byOld)},
			"unknown authority"},
		"does not answer": {[]*discoveryv1.EndpointSlice{endpoints("a", serverService, true, closed)}, "refused"},
		"two ports, one old": {[]*discoveryv1.EndpointSlice{endpoints("a", serverService, true, byNew, byOld)},
			"unknown authority"},
		"another Service": {[]*discoveryv1.EndpointSlice{endpoints("a", "other", true, byOld)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			builder := fake.NewClientBuilder()
			for _, slice := range c.slices {
				builder = builder.WithObjects(slice)
			}
			err := EndpointProber{Reader: builder.Build()}.AllServe(t.Context(), namespace, serverService, probedName,
				pki.Encode(next.cert))
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestProbeAsksForTheName(t *testing.T) {
	ca, err := newCA("new", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	reader := fake.NewClientBuilder().WithObjects(endpoints("a", serverService, true, serveBy(t, ca))).Build()
	err = EndpointProber{Reader: reader}.AllServe(t.Context(), namespace, serverService, "other.svc",
		pki.Encode(ca.cert))
	if err == nil || !strings.Contains(err.Error(), "other.svc") {
		t.Errorf("got %v", err)
	}
	if err := (EndpointProber{Reader: reader}).AllServe(t.Context(), namespace, serverService, probedName,
		[]byte("no PEM")); err == nil {
		t.Error("takes no CA at all for one that all serve by")
	}
}
