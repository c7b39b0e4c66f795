// SPDX-License-Identifier: Apache-2.0

package decryptclient

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	secretclient "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	k6Token    = harness.K6Token
	otherToken = "token-of-nobody"
)

// suite is a server and what was stored on it.
type suite struct {
	*harness.Server
	canaries []string
}

func start(t *testing.T) *suite {
	t.Helper()
	return &suite{Server: harness.Start(t, options())}
}

// options let user k6 open what lists k6-cloud in namespace default.
func options() harness.Options {
	return harness.Options{Tokens: []string{harness.Token(otherToken, "nobody")}}.WithK6("default")
}

// values is the admin's typed client.
func (s *suite) values(t *testing.T) secretclient.SecureValueInterface {
	t.Helper()
	api, err := versioned.NewForConfig(s.RESTConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	return api.SecretV1beta1().SecureValues("default")
}

func (s *suite) decrypt(t *testing.T, token string) *client.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	harness.WriteFile(t, file, token)
	c, err := client.New(client.Config{URL: s.DecryptURL, CAFile: s.CAFile, TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (s *suite) secret() *sensitive.Value {
	canary := harness.Canary()
	s.canaries = append(s.canaries, canary)
	return sensitive.New(canary)
}

func (s *suite) create(t *testing.T, name string, decrypters ...string) string {
	t.Helper()
	value := s.secret().Expose()
	s.Create(t, "default", name, value, decrypters...)
	return value
}

// change writes a new value for name, or only new decrypters when there are some.
func (s *suite) change(t *testing.T, name string, decrypters ...string) string {
	t.Helper()
	sv, err := s.values(t).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value := s.secret()
	sv.Spec.Value = value
	if len(decrypters) > 0 {
		sv.Spec.Decrypters = decrypters
	}
	if _, err := s.values(t).Update(t.Context(), sv, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return value.Expose()
}

// TestClientAgainstTheServer ends with what an operator does: the audit log has a line for each name, and verifies.
func TestClientAgainstTheServer(t *testing.T) {
	s := start(t)
	want := map[string]string{}
	for i := range 140 { // more than one call takes
		name := fmt.Sprintf("n-%d", i)
		want[name] = s.create(t, name, "k6-cloud")
	}
	s.create(t, "for-others", "synthetic-monitoring")
	names := []string{"absent", "for-others"}
	for name := range want {
		names = append(names, name)
	}
	got, err := s.decrypt(t, k6Token).Get(t.Context(), "default", names...)
	if !errors.Is(err, client.ErrNotFound) || len(got) != len(want) {
		t.Fatalf("Get = %d values, %v", len(got), err)
	}
	for _, name := range []string{"absent", "for-others"} {
		if want := "default/" + name + ": not found"; !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	for name, value := range want {
		if got[name].Expose() != value {
			t.Errorf("%s opens to another value", name)
		}
	}
	if _, err := s.decrypt(t, otherToken).GetOne(t.Context(), "default", "n-0"); !errors.Is(err, client.ErrNotAuthorized) {
		t.Errorf("Get without a right = %v", err)
	}
	if _, err := s.decrypt(t, s.AdminToken).GetOne(t.Context(), "default", "n-0"); !errors.Is(err, client.ErrNotAuthorized) {
		t.Errorf("Get by the admin = %v", err)
	}
	if _, err := s.decrypt(t, "unknown").GetOne(t.Context(), "default", "n-0"); !errors.Is(err, client.ErrUnauthenticated) {
		t.Errorf("Get by nobody = %v", err)
	}
	s.Stop(t)
	s.verify(t, "140 allowed, 4 denied, 0 more")
	s.Leaks(t, s.canaries...)
}

// verify runs the command on the log that the server wrote.
func (s *suite) verify(t *testing.T, want string) {
	t.Helper()
	key, log := filepath.Join(s.DataDir, "decrypt-audit.key"), filepath.Join(s.DataDir, "decrypt-audit")
	out, err := exec.CommandContext(t.Context(), harness.Binary(t), "audit", "verify", "--key-file", key, log).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("audit verify: %v, want %q\n%s", err, want, out)
	}
}

// TestNoKubernetes: a service that links the client stays small.
func TestNoKubernetes(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./pkg/decrypt/client")
	list.Dir = harness.Root(t)
	out, err := list.Output()
	if err != nil || !strings.Contains(string(out), "connectrpc.com/connect") {
		t.Fatalf("go list: %v", err)
	}
	for dependency := range strings.Lines(string(out)) {
		if strings.Contains(dependency, "k8s.io/") {
			t.Errorf("pkg/decrypt/client depends on %s", dependency)
		}
	}
}

// TestWatchAllAgainstTheServer follows two values, of which one is absent at first, and a permission.
func TestWatchAllAgainstTheServer(t *testing.T) {
	s := start(t)
	user := s.create(t, "user", "k6-cloud")
	cache, err := client.NewCache(s.decrypt(t, k6Token), client.NewCacheConfig("default"))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	next, stop := iter.Pull2(cache.WatchAll(t.Context(), "user", "password"))
	defer stop()
	want := func(what string, want map[string]string, missing string) {
		t.Helper()
		values, err, ok := next()
		got := map[string]string{}
		for name, value := range values {
			got[name] = value.Expose()
		}
		if failed := errors.Is(err, client.ErrNotFound); !ok || !maps.Equal(got, want) || failed != (missing != "") ||
			failed && !strings.HasSuffix(err.Error(), "default/"+missing+": not found") {
			t.Fatalf("%s: WatchAll yields %d values (as wanted: %v), %v", what, len(got), maps.Equal(got, want), err)
		}
	}
	want("one of two", map[string]string{"user": user}, "password")
	password := s.create(t, "password", "k6-cloud")
	want("both", map[string]string{"user": user, "password": password}, "")
	password = s.change(t, "password")
	want("a new one", map[string]string{"user": user, "password": password}, "")
	if values, err := s.decrypt(t, k6Token).Get(t.Context(), "default", "password"); err != nil || values["password"].Version() != 2 {
		t.Errorf("Get = version %d, %v, want 2", values["password"].Version(), err)
	}
	s.change(t, "user", "synthetic-monitoring")
	want("one withdrawn", map[string]string{"password": password}, "user")
	s.Stop(t)
	s.Leaks(t, s.canaries...)
}

// TestCacheAgainstTheServer follows one value through its life, and prints how long each step took to arrive.
func TestCacheAgainstTheServer(t *testing.T) {
	s := start(t)
	first := s.create(t, "api-key", "k6-cloud")
	cache, err := client.NewCache(s.decrypt(t, k6Token), client.NewCacheConfig("default"))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()

	seen := make(chan string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for value, err := range cache.Watch(t.Context(), "api-key") {
			if err != nil {
				seen <- "error: " + err.Error()
				continue
			}
			seen <- value.Expose()
		}
	}()
	next := func(what string, since time.Time, reached func(string) bool) {
		t.Helper()
		select {
		case got := <-seen:
			if !reached(got) {
				t.Fatalf("%s: Watch yields something else (%d bytes)", what, len(got))
			}
			t.Logf("%s arrived after %v", what, time.Since(since).Round(time.Millisecond))
		case <-time.After(time.Minute):
			t.Fatalf("%s did not arrive", what)
		}
	}
	is := func(want string) func(string) bool { return func(got string) bool { return got == want } }
	notFound := func(got string) bool { return strings.Contains(got, "not found") }

	next("the first value", time.Now(), is(first))
	begin := time.Now()
	next("a new value", begin, is(s.change(t, "api-key")))
	begin = time.Now()
	s.change(t, "api-key", "synthetic-monitoring")
	next("the loss of the decrypter", begin, notFound)
	begin = time.Now()
	next("its return", begin, is(s.change(t, "api-key", "k6-cloud")))
	begin = time.Now()
	if err := s.values(t).Delete(t.Context(), "api-key", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	next("the deletion", begin, notFound)
	begin = time.Now()
	last := s.create(t, "api-key", "k6-cloud")
	next("a namesake", begin, is(last))

	s.Stop(t)
	if got, err := cache.Get(t.Context(), "api-key"); err != nil || got.Expose() != last {
		t.Errorf("Get without a server = %v, want the value that was kept", err)
	}
	cache.Close()
	<-ended
	s.Leaks(t, s.canaries...)
}
