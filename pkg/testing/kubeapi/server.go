// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Audience is what a token must be issued for to be accepted by kube-apiserver itself.
const Audience = "https://kubernetes.default.svc"

// Token is whose a token is and its audiences.
type Token struct {
	User      string
	Groups    []string
	Audiences []string
	// Silent answers without audiences, as an authenticator that knows none does.
	Silent bool
}

// Server is a running stand-in for kube-apiserver.
type Server struct {
	// Secret is the token that a client must show.
	Secret string

	http *httptest.Server

	mu      sync.Mutex
	tokens  map[string]Token
	allow   func(authorizationv1.SubjectAccessReviewSpec) bool
	down    bool
	held    chan struct{}
	counts  map[string]int
	events  []event
	changed chan struct{}
	waiting atomic.Int64
}

// Start runs a server until the test ends. It allows nothing.
func Start(t *testing.T) *Server {
	t.Helper()
	s := &Server{
		Secret:  rand.Text(),
		tokens:  map[string]Token{},
		allow:   func(authorizationv1.SubjectAccessReviewSpec) bool { return false },
		counts:  map[string]int{},
		changed: make(chan struct{}),
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// JWT is a token that looks like one which kube-apiserver issued for the audiences. Its signature is made up: only
// TokenReview tells.
func JWT(subject string, audiences ...string) string {
	claims, err := json.Marshal(map[string]any{"sub": subject, "aud": audiences})
	if err != nil {
		panic(err) // strings always marshal
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(claims) + "." + encode([]byte("signature of "+subject))
}

// Hold makes TokenReviews wait until release is called. Waiting is how many do.
func (s *Server) Hold() (release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held == held {
			s.held = nil
			close(held)
		}
	}
}

// Waiting is how many TokenReviews wait for the release of Hold.
func (s *Server) Waiting() int { return int(s.waiting.Load()) }

// SetToken makes a token known; RemoveToken revokes it.
func (s *Server) SetToken(token string, whose Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = whose
}

// RemoveToken revokes a token.
func (s *Server) RemoveToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// Allow says what SubjectAccessReview answers.
func (s *Server) Allow(allow func(authorizationv1.SubjectAccessReviewSpec) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = allow
}

// Grants reports whether a review asks for what a shipped ClusterRole for a decrypter gives: verb decrypt on any value
// and verb use on that decrypter.
func Grants(decrypter string, review authorizationv1.SubjectAccessReviewSpec) bool {
	asked := review.ResourceAttributes
	return asked != nil && asked.Group == "secret.grafana.app" && (asked.Verb == "decrypt" && asked.Resource == "securevalues" ||
		asked.Verb == "use" && asked.Resource == "decrypters" && asked.Name == decrypter)
}

// SetDown makes every answer 503.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Count is how often a resource was asked for.
func (s *Server) Count(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[resource]
}

// CA is the PEM of what signs the server's certificate.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
}

// RESTConfig is for a client that may do everything.
func (s *Server) RESTConfig() *restclient.Config {
	return &restclient.Config{
		Host: s.http.URL, BearerToken: s.Secret, QPS: -1,
		TLSClientConfig: restclient.TLSClientConfig{CAData: s.CA()},
	}
}

// Client is such a client.
func (s *Server) Client(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(s.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Kubeconfig writes a kubeconfig for such a client and returns its path.
func (s *Server) Kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: s.http.URL, CertificateAuthorityData: s.CA()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"test": {Token: s.Secret}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "test"}},
		CurrentContext: "test",
	}, file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := parsePath(r.URL.Path)
	s.mu.Lock()
	s.counts[path.resource]++
	down := s.down
	s.mu.Unlock()
	switch {
	case down:
		refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
	case r.Header.Get("Authorization") != "Bearer "+s.Secret:
		refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
	case path.resource == "tokenreviews":
		s.reviewToken(w, r)
	case path.resource == "subjectaccessreviews":
		s.reviewAccess(w, r)
	case r.Method == http.MethodPut && path.name != "":
		s.update(w, r, path)
	case path.name != "":
		s.get(w, path)
	case strings.HasPrefix(r.URL.Query().Get("watch"), "t") || r.URL.Query().Get("watch") == "1":
		s.watch(w, r, path)
	default:
		s.list(w, r, path)
	}
}

func (s *Server) reviewToken(w http.ResponseWriter, r *http.Request) {
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != nil {
		s.waiting.Add(1)
		select {
		case <-held:
		case <-r.Context().Done():
		}
		s.waiting.Add(-1)
	}
	wanted := review.Spec.Audiences
	if len(wanted) == 0 {
		wanted = []string{Audience}
	}
	s.mu.Lock()
	whose, ok := s.tokens[review.Spec.Token]
	s.mu.Unlock()
	common := slices.DeleteFunc(wanted, func(a string) bool { return !slices.Contains(whose.Audiences, a) })
	if ok && (whose.Silent || len(common) > 0) {
		review.Status.Authenticated = true
		review.Status.User = authenticationv1.UserInfo{Username: whose.User, Groups: whose.Groups}
		if !whose.Silent {
			review.Status.Audiences = common
		}
	} else {
		review.Status.Error = "token is not known"
	}
	answer(w, http.StatusCreated, &review)
}

func (s *Server) reviewAccess(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.mu.Lock()
	allow := s.allow
	s.mu.Unlock()
	review.Status.Allowed = allow(review.Spec)
	answer(w, http.StatusCreated, &review)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	answer(w, code, &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: string(reason), //nolint:gosec // an HTTP code
	})
}
