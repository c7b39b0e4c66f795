// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"k8s.io/client-go/util/cert"
)

func TestGet(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	s.set("b", "two")
	values, err := s.client(t).Get(t.Context(), "default", "b", "a", "b", "a")
	if err != nil {
		t.Fatal(err)
	}
	if got := exposed(values); !slices.Equal(got, []string{"a=one", "b=two"}) {
		t.Errorf("Get = %v", got)
	}
	if got := s.lengths(); !slices.Equal(got, []int{2}) {
		t.Errorf("the calls had %v names, want one of two", got)
	}
	if values, err := s.client(t).Get(t.Context(), "default"); err != nil || len(values) != 0 {
		t.Errorf("Get of no names = %v, %v", values, err)
	}
}

func TestManyNamesAreSplit(t *testing.T) {
	s := newServer(t)
	names := numbered(300)
	for _, name := range names {
		s.set(name, "value of "+name)
	}
	values, err := s.client(t).Get(t.Context(), "default", names...)
	if err != nil || len(values) != 300 || values["n-299"].Expose() != "value of n-299" {
		t.Errorf("Get = %d values, %v", len(values), err)
	}
	if got := s.lengths(); !slices.Equal(got, []int{128, 128, 44}) {
		t.Errorf("the calls had %v names", got)
	}
}

func TestWhatIsWrongWithWhichName(t *testing.T) {
	s := newServer(t)
	s.set("good", "fine")
	s.set("denied", "error: not authorized")
	s.set("broken", "error: decryption failed")
	s.set("odd", "error: something new")
	s.set("empty", "nothing")
	s.set("later", "error: unavailable")
	values, err := s.client(t).Get(t.Context(), "default", "good", "absent", "denied", "broken", "odd", "empty", "later")
	if got := exposed(values); !slices.Equal(got, []string{"good=fine", "later=recovered"}) {
		t.Errorf("values %v", got)
	}
	for name, want := range map[string]error{
		"absent": ErrNotFound, "denied": ErrNotAuthorized, "broken": ErrDecryptionFailed, "odd": ErrDecryptionFailed, "empty": ErrDecryptionFailed,
	} {
		_, single := s.client(t).GetOne(t.Context(), "default", name)
		var failed *NameError
		if !errors.Is(err, want) || !errors.Is(single, want) || !errors.As(single, &failed) || failed.Name != name || failed.Namespace != "default" {
			t.Errorf("%s: %v, want %v", name, single, want)
		}
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), "secure value default/absent: not found") {
		t.Errorf("error %v", err)
	}
}

func TestTemporaryFailuresAreTriedAgain(t *testing.T) {
	unavailable, exhausted := connect.NewError(connect.CodeUnavailable, nil), connect.NewError(connect.CodeResourceExhausted, nil)
	for name, arrange := range map[string]func(*server){
		"unavailable":          func(s *server) { s.fail = []error{unavailable, unavailable} },
		"busy":                 func(s *server) { s.fail = []error{exhausted, unavailable} },
		"plain 503 and 429":    func(s *server) { s.plain = []int{503, 429} },
		"bad gateway, timeout": func(s *server) { s.plain = []int{502, 504} },
		"retry after no time":  func(s *server) { s.plain = []int{503, 503}; s.header.Set("Retry-After", "0") },
		"retry after nonsense": func(s *server) { s.plain = []int{503, 503}; s.header.Set("Retry-After", "soon") },
		"retry after long past": func(s *server) {
			s.plain = []int{503, 503}
			s.header.Set("Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.set("a", "one")
			arrange(s)
			value, err := s.client(t).GetOne(t.Context(), "default", "a")
			if err != nil || value.Expose() != "one" || s.requests() != 3 {
				t.Errorf("Get = %q, %v after %d requests, want three", value.Expose(), err, s.requests())
			}
		})
	}
}

func TestPermanentFailuresAreNot(t *testing.T) {
	for code, want := range map[connect.Code]error{
		connect.CodePermissionDenied: ErrNotAuthorized, connect.CodeInvalidArgument: nil, connect.CodeInternal: nil, connect.CodeUnimplemented: nil,
	} {
		s := newServer(t)
		s.fail = []error{connect.NewError(code, errors.New("no"))}
		_, err := s.client(t).GetOne(t.Context(), "default", "a")
		if err == nil || (want != nil && !errors.Is(err, want)) || connect.CodeOf(err) != code || s.requests() != 1 {
			t.Errorf("%v: %v after %d requests", code, err, s.requests())
		}
	}
}

// TestErrorOfACall has the sentinel, and its word once where the code has the same.
func TestErrorOfACall(t *testing.T) {
	for code, want := range map[connect.Code]string{
		connect.CodeUnavailable: "unavailable: why", connect.CodeUnauthenticated: "unauthenticated: why",
		connect.CodeDeadlineExceeded: "unavailable: deadline_exceeded: why", connect.CodeInternal: "internal: why",
	} {
		cause := connect.NewError(code, errors.New("why"))
		if err := callError(cause); err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("%v: %q, want %q", code, err, want)
		}
	}
}

// A server that asks for more patience than there is gets no request in vain, and the caller no wait in vain.
func TestRetryAfterIsHonoured(t *testing.T) {
	s := newServer(t)
	s.plain = []int{429, 429}
	s.header.Set("Retry-After", "3600")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := s.client(t).GetOne(ctx, "default", "a")
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errTooLate) || s.requests() != 1 || ctx.Err() != nil {
		t.Errorf("Get = %v after %d requests, %v", err, s.requests(), ctx.Err())
	}
}

func TestWhatRetryAfterSays(t *testing.T) {
	for text, want := range map[string]time.Duration{"7": 7 * time.Second, "0": 0, "": 0, "soon": 0, "-1": 0, "1.5": 0, "99999999999": 0} {
		if got := retryAfter(text); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	if got := retryAfter(date); got < 50*time.Minute || got > time.Hour {
		t.Errorf("retryAfter(%q) = %v", date, got)
	}
}

func TestUnreachableServer(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.GetOne(ctx, "default", "a"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Get = %v, want %v", err, ErrUnavailable)
	}
	config := s.config()
	config.Timeout = 100 * time.Millisecond
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetOne(t.Context(), "default", "a"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Get without a deadline = %v, want %v", err, ErrUnavailable)
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.GetOne(cancelled, "default", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with a cancelled context = %v", err)
	}
}

func TestNamesThatStayUnavailable(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	c := s.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // less than the first pause
	defer cancel()
	s.set("b", "error: unavailable")
	values, err := c.Get(ctx, "default", "a", "b")
	var failed *NameError
	if !errors.Is(err, ErrUnavailable) || ctx.Err() == nil && (!errors.As(err, &failed) || failed.Name != "b" || values["a"].Expose() != "one") {
		t.Errorf("Get = %v, %v", exposed(values), err)
	}
}

func TestReplacedTokenIsReadAfterARefusal(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	c := s.client(t)
	if _, err := c.GetOne(t.Context(), "default", "a"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.tokenFile, "token-2")
	s.mu.Lock()
	s.token = "token-2"
	s.mu.Unlock()
	if _, err := c.GetOne(t.Context(), "default", "a"); err != nil {
		t.Errorf("Get with a new token in the file: %v", err)
	}
	s.mu.Lock()
	s.token, s.seen = "token-3", 0
	s.mu.Unlock()
	if _, err := c.GetOne(t.Context(), "default", "a"); !errors.Is(err, ErrUnauthenticated) || s.requests() != 2 {
		t.Errorf("Get with an old token = %v after %d requests", err, s.requests())
	}
}

func TestAttackRedirectToAnotherServer(t *testing.T) {
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the client followed, with Authorization %q", r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	s := newServer(t)
	s.plain = []int{http.StatusTemporaryRedirect}
	s.header.Set("Location", thief.URL)
	if _, err := s.client(t).GetOne(t.Context(), "default", "a"); err == nil {
		t.Error("no error")
	}
}

func TestAttackServerWithAnotherCertificate(t *testing.T) {
	s := newServer(t)
	config := s.config()
	other, _, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.caFile, string(other))
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.GetOne(ctx, "default", "a"); err == nil || s.requests() != 0 {
		t.Errorf("Get = %v, %d requests came through", err, s.requests())
	}
}

func TestConfigFaults(t *testing.T) {
	good := newServer(t).config()
	for name, test := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"no URL":           {func(c *Config) { c.URL = "" }, "expected https://HOST:PORT"},
		"no host":          {func(c *Config) { c.URL = "secret-decrypt:8444" }, "expected https://HOST:PORT"},
		"plain HTTP":       {func(c *Config) { c.URL = "http://secret-decrypt:8444" }, "is not https"},
		"nobody":           {func(c *Config) { c.TokenFile = "" }, "anonymous access"},
		"two tokens":       {func(c *Config) { c.Token = func(context.Context) string { return "" } }, "exclude each other"},
		"half a pair":      {func(c *Config) { c.CertFile = "x" }, "go together"},
		"no such CA":       {func(c *Config) { c.CAFile += "x" }, "no such file"},
		"no CA in it":      {func(c *Config) { c.CAFile = c.TokenFile }, "contains no certificate"},
		"no such token":    {func(c *Config) { c.TokenFile += "x" }, "no such file"},
		"no token in it":   {func(c *Config) { c.TokenFile = os.DevNull }, os.DevNull + " is empty"},
		"no such key pair": {func(c *Config) { c.CertFile, c.KeyFile = "/x", "/y" }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			test.spoil(&config)
			if _, err := New(config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New = %v, want %q", err, test.want)
			}
		})
	}
}
