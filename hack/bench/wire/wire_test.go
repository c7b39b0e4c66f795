// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func serve(t *testing.T, handler http.HandlerFunc) *Conn {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return dial(t, server)
}

func dial(t *testing.T, server *httptest.Server) *Conn {
	t.Helper()
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com"
	connection, err := Dial(t.Context(), server.Listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// The bodies are larger than every window together, so that each has to be given back in time.
func TestBodiesLargerThanTheWindows(t *testing.T) {
	const upload, download = 3 << 20, 40 << 20
	connection := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != upload || r.Header.Get("Content-Type") != "text/x" || r.Header.Get("Accept") != "text/y" {
			http.Error(w, fmt.Sprint(len(body), err, r.Header), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
		for range download >> 20 {
			_, _ = w.Write(bytes.Repeat([]byte("a"), 1<<20))
		}
	})
	for range 2 { // the connection can be used again
		sentBefore, readBefore := connection.Bytes()
		var got int
		status, err := connection.Do(Request{
			Method: http.MethodPost, Path: "/x", ContentType: "text/x", Accept: "text/y", Body: make([]byte, upload),
		}, func(part []byte) { got += len(part) })
		if status != http.StatusCreated || err != nil || got != download {
			t.Fatalf("status %d, %v, %d bytes, want %d", status, err, got, download)
		}
		sent, read := connection.Bytes()
		if sent -= sentBefore; sent < upload || sent > upload*11/10 {
			t.Errorf("sent %d bytes for a body of %d", sent, upload)
		}
		if read -= readBefore; read < download || read > download*11/10 {
			t.Errorf("received %d bytes for a body of %d", read, download)
		}
	}
}

func TestStatusAndGzip(t *testing.T) {
	connection := serve(t, func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if wanted := r.URL.RawQuery == "gzip"; wanted != (r.Header.Get("Accept-Encoding") == "gzip") {
			code = http.StatusTeapot
		}
		w.WriteHeader(code)
	})
	for _, code := range []int{200, 201, 404, 409, 500} {
		for query, gzip := range map[string]bool{"": false, "?gzip": true} {
			status, err := connection.Do(Request{Method: http.MethodGet, Path: fmt.Sprintf("/%d%s", code, query), Gzip: gzip}, nil)
			if status != code || err != nil {
				t.Errorf("got %d, %v; want %d", status, err, code)
			}
		}
	}
	if body, err := connection.Fetch("/404"); err == nil {
		t.Errorf("a 404 gave %q", body)
	}
}

func TestACutResponseIsAnErrorAndBreaksTheConnection(t *testing.T) {
	connection := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	status, err := connection.Do(Request{Method: http.MethodGet, Path: "/"}, nil)
	if err == nil || connection.Broken() == nil {
		t.Fatalf("status %d without an error", status)
	}
	if _, again := connection.Do(Request{Method: http.MethodGet, Path: "/"}, nil); again == nil {
		t.Error("a broken connection was used again")
	}
}

func TestInterruptEndsAWatch(t *testing.T) {
	started := make(chan struct{})
	connection := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "event\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	go func() {
		<-started
		connection.Interrupt()
	}()
	_, err := connection.Watch(Request{Method: http.MethodGet, Path: "/"}, func([]byte) { close(started) })
	if err == nil {
		t.Error("a watch that was interrupted ended well")
	}
}

func TestAServerWithoutHTTP2IsRefused(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	config := &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	if connection, err := Dial(t.Context(), server.Listener.Addr().String(), config); err == nil {
		_ = connection.Close()
		t.Error("connected")
	}
}
