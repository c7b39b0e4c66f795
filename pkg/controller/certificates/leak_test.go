// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// apiStub is as much of kube-apiserver as creating and reading Secrets takes. When it refuses, it quotes what it was
// sent, as admission may.
type apiStub struct {
	mu     sync.Mutex
	stored map[string][]byte
	refuse bool
}

func (s *apiStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodGet && s.stored[r.URL.Path] != nil:
		_, _ = w.Write(s.stored[r.URL.Path])
	case r.Method == http.MethodGet:
		status(w, http.StatusNotFound, "NotFound", "")
	case s.refuse:
		status(w, http.StatusForbidden, "Forbidden", string(body))
	default:
		var secret corev1.Secret
		_ = json.Unmarshal(body, &secret)
		secret.ResourceVersion = "1"
		body, _ = json.Marshal(secret)
		s.stored["/api/v1/namespaces/"+secret.Namespace+"/secrets/"+secret.Name] = body
		_, _ = w.Write(body)
	}
}

func status(w http.ResponseWriter, code int, reason, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
	})
}

// TestPrivateKeysStayOutOfLogsEventsAndErrors runs against a real client at -v=10, where client-go logs what it sends
// and receives. That it does so here, but for the guard, is shown with the guard taken away.
func TestPrivateKeysStayOutOfLogsEventsAndErrors(t *testing.T) {
	stub := &apiStub{stored: map[string][]byte{}}
	server := httptest.NewServer(stub)
	defer server.Close()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
	kube, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	log := captureLog(t)
	recorder := events.NewFakeRecorder(100)
	r := &Reconciler{
		Authority: EtcdAuthority(namespace), Lifetimes: DefaultLifetimes(), Client: kube, Reader: kube,
		Events: recorder,
		Clock:  clocktesting.NewFakePassiveClock(noon),
	}

	stub.refuse = true
	_, err = r.Reconcile(t.Context(), reconcile.Request{})
	if err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Fatalf("got %v", err)
	}
	refused := err.Error()
	stub.refuse = false
	for range 2 {
		if _, err := r.Reconcile(t.Context(), reconcile.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	klog.Flush()
	close(recorder.Events)
	out := refused + log.String()
	for e := range recorder.Events {
		out += e + "\n"
	}
	if !strings.Contains(out, "CACreated") || !strings.Contains(out, "Issued a certificate") ||
		!strings.Contains(out, "/secrets") {
		t.Fatalf("events and log are not what is searched: %s", out)
	}
	keys := 0
	for _, data := range stub.stored {
		var secret corev1.Secret
		if err := json.Unmarshal(data, &secret); err != nil {
			t.Fatal(err)
		}
		keys++
		if leaks(out, secret.Data[corev1.TLSPrivateKeyKey]) {
			t.Errorf("the key of %s is in a log line, an event or an error", secret.Name)
		}
	}
	if keys != 4 {
		t.Errorf("%d keys", keys)
	}

	log.Reset()
	if _, err := r.loadSecret(t.Context(), EtcdServerSecret); err != nil {
		t.Fatal(err)
	}
	klog.Flush()
	var secret corev1.Secret
	_ = json.Unmarshal(stub.stored["/api/v1/namespaces/"+namespace+"/secrets/"+EtcdServerSecret], &secret)
	if !leaks(log.String(), secret.Data[corev1.TLSPrivateKeyKey]) {
		t.Error("without the guard nothing leaks: this test proves nothing")
	}
}

// leaks reports whether text holds a key, as PEM, as its content, or as base64 of the whole as in JSON.
func leaks(text string, keyPEM []byte) bool {
	block, _ := pem.Decode(keyPEM)
	encodedPEM := base64.StdEncoding.EncodeToString(keyPEM)
	// Logs cut long bodies, so a piece from the midst of the key is enough.
	for _, needle := range []string{
		encodedPEM[60:120], base64.StdEncoding.EncodeToString(block.Bytes)[8:48], string(block.Bytes),
	} {
		if strings.Contains(text, needle) {
			return true
		}
	}
	return false
}

// buffer is written by the log and read by the test.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// captureLog sets -v=10 and returns what is logged from here on.
func captureLog(t *testing.T) *buffer {
	t.Helper()
	state := klog.CaptureState()
	t.Cleanup(state.Restore)
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"v": "10", "logtostderr": "false", "alsologtostderr": "false",
		"stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	log := &buffer{}
	klog.SetOutput(log)
	return log
}
