// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/csidriver"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const podTokens = "csi.storage.k8s.io/serviceAccount.tokens"

func withToken(token string, r csidriver.Request) csidriver.Request {
	return r.Set(podTokens, fmt.Sprintf(`{"secret.grafana.app":{"token":%q}}`, token))
}

// refused wants an error of a code, whose text has want.
func (c *csi) refused(t *testing.T, r csidriver.Request, code, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := c.Mount(ctx, r)
	text := status.Convert(err).Message()
	if status.Code(err).String() != code || !strings.Contains(text, want) || strings.Contains(text, "\n") || len(answer.Files) > 0 {
		t.Errorf("code %s, %d files: %s\nwant %s: %s", status.Code(err), len(answer.Files), text, code, want)
	}
	if found := harness.Find([]byte(text), c.canaries...); len(found) > 0 || strings.Contains(text, harness.K6Token) {
		t.Errorf("the error has %v, or a token", found)
	}
}

// TestCSIRefuses: nothing is mounted, and the error has the command that helps.
func TestCSIRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	s.create(t, "large", strings.Repeat(s.canary(), 600))
	s.Create(t, "default", "of-others", s.canary(), "synthetic-monitoring")
	c := s.csi(t)
	good := "[{path: a, name: a}]"
	request := pod("uid-1", good)
	canary := s.canary()
	for name, test := range map[string]struct {
		request    csidriver.Request
		code, want string
	}{
		"unknown name": {pod("uid-1", "[{path: a, name: a}, {path: b, name: absent}]"), "NotFound",
			"secure value default/absent: not found (a name that is not found does not exist in namespace default, or"},
		"no decrypter":         {pod("uid-1", "[{path: b, name: of-others}]"), "NotFound", "kubectl securevalue who-can-decrypt NAME -n default"},
		"no right":             {withToken("token-of-nobody", request), "PermissionDenied", "secret-apiserver grant SERVICE --decrypter DECRYPTER --namespace default"},
		"no right there":       {request.Set("namespace", "elsewhere"), "PermissionDenied", "--namespace elsewhere"},
		"namespace of the Pod": {request.Set("namespace", ""), "PermissionDenied", "--namespace shop"},
		"unknown token":        {withToken("x", request), "Unauthenticated", "the server does not know the token of the Pod: revoked, or of another server"},
		"expired":              {withToken(jwtOf(t, "secret.grafana.app", -time.Hour), request), "Unauthenticated", "the token of the Pod expired at 20"},
		"audience":             {withToken(jwtOf(t, "vault", time.Hour), request), "Unauthenticated", `the token of the Pod is issued for audience ["vault"]`},
		"no token":             {request.Set(podTokens, ""), "Unauthenticated", `kubectl patch csidriver secrets-store.csi.k8s.io --type=merge -p='{"spec":{"tokenRequests":[{"audience":"secret.grafana.app"}]}}'`},
		"of another audience":  {request.Set(podTokens, `{"vault":{"token":"x"}}`), "Unauthenticated", "no token for audience secret.grafana.app"},
		"two tokens":           {withToken("x\ny", request), "Unauthenticated", "no token for audience"},
		"garbage tokens":       {request.Set(podTokens, canary), "InvalidArgument", podTokens + ": expected a JSON object of tokens"},
		"tokens of a kind":     {request.Set(podTokens, `["`+canary+`"]`), "InvalidArgument", "expected a JSON object of tokens"},
		"outside":              {pod("uid-1", "[{path: ../a, name: a}]"), "InvalidArgument", `item 1: path "../a" must be relative`},
		"through":              {pod("uid-1", "[{path: a/../b, name: a}]"), "InvalidArgument", `path "a/../b": write it as "b"`},
		"absolute":             {pod("uid-1", "[{path: /a, name: a}]"), "InvalidArgument", "must be relative"},
		"dots":                 {pod("uid-1", "[{path: ..a, name: a}]"), "InvalidArgument", "nor start with two dots"},
		"no path":              {pod("uid-1", "[{name: a}]"), "InvalidArgument", "must be relative"},
		"two for a path":       {pod("uid-1", "[{path: a, name: a}, {path: a, name: large}]"), "InvalidArgument", "item 2: path a is used twice"},
		"file and directory":   {pod("uid-1", "[{path: a, name: a}, {path: a/b, name: a}]"), "InvalidArgument", "path a is a file and a directory"},
		"129 names":            {pod("uid-1", many(129, "n-%d")), "InvalidArgument", "129 files: a volume has 1 to 128"},
		"no files":             {pod("uid-1", "[]"), "InvalidArgument", "0 files"},
		"too large":            {pod("uid-1", many(60, "large")), "FailedPrecondition", "bytes together: a volume has at most 1048576"},
		"no name":              {pod("uid-1", "[{path: a}]"), "InvalidArgument", "item 1: name: expected the name of a secure value"},
		"not a name":           {pod("uid-1", "[{path: a, name: "+canary+"}]"), "InvalidArgument", "name: expected the name"},
		"unknown key":          {pod("uid-1", "[{path: a, name: a, filePermission: '0400'}]"), "InvalidArgument", `unknown key "filePermission": keys are path, name and mode`},
		"repeated key":         {pod("uid-1", "[{path: a, name: a, name: b}]"), "InvalidArgument", "where no key is repeated"},
		"mode":                 {pod("uid-1", "[{path: a, name: a, mode: '1777'}]"), "InvalidArgument", `mode: expected "0" to "0777"`},
		"decimal mode":         {pod("uid-1", "[{path: a, name: a, mode: '400'}]"), "InvalidArgument", `mode: expected "0" to "0777"`},
		"mode unquoted":        {pod("uid-1", "[{path: a, name: a, mode: 0400}]"), "InvalidArgument", "mode: expected a string; quote numbers"},
		"not a list":           {pod("uid-1", "path: a\nname: "+canary), "InvalidArgument", "expected a YAML list of mappings"},
		"not YAML":             {pod("uid-1", "[{"+canary), "InvalidArgument", "expected a YAML list of mappings"},
		"no objects":           {request.Set("objects", ""), "InvalidArgument", "parameter objects: 0 files"},
		"unknown parameter":    {request.Set("vaultAddress", canary), "InvalidArgument", `unknown parameter "vaultAddress": a SecretProviderClass has namespace and objects`},
		"no UID":               {request.Set("csi.storage.k8s.io/pod.uid", ""), "InvalidArgument", "podInfoOnMount: true"},
		"no namespace":         {request.Set("csi.storage.k8s.io/pod.namespace", ""), "InvalidArgument", "podInfoOnMount: true"},
		"no target path":       {csidriver.Request{Attributes: request.Attributes}, "InvalidArgument", "the request lacks the target path"},
		"no attributes":        {csidriver.Request{TargetPath: "/x"}, "InvalidArgument", "attributes: expected a JSON object of strings"},
		"garbage":              {csidriver.Request{Attributes: canary, TargetPath: "/x"}, "InvalidArgument", "attributes: expected a JSON object"},
		"numbers":              {csidriver.Request{Attributes: `{"` + canary + `":1}`, TargetPath: "/x"}, "InvalidArgument", "attributes: expected a JSON object"},
		"permission":           {csidriver.Request{Attributes: request.Attributes, TargetPath: "/x", Permission: "0644"}, "InvalidArgument", "permission: expected a number from 0 to 511"},
		"permissions":          {csidriver.Request{Attributes: request.Attributes, TargetPath: "/x", Permission: "512"}, "InvalidArgument", "permission: expected a number"},
		"garbage secrets":      {csidriver.Request{Attributes: request.Set(podTokens, "").Attributes, TargetPath: "/x", Secrets: canary}, "InvalidArgument", "secrets: expected a JSON object of strings"},
	} {
		t.Run(name, func(t *testing.T) { c.refused(t, test.request, test.code, test.want) })
	}
	c.stop(t)
	for _, want := range []string{"mounting a volume of Pod shop/checkout: permission_denied", "mounting a volume of Pod of an unknown name: invalid_argument"} {
		if !strings.Contains(c.output(), want) {
			t.Errorf("the log lacks %q: %s", want, c.output())
		}
	}
}

// TestCSIAccepts what other versions of the driver send, and as much as fits.
func TestCSIAccepts(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	for i := range 128 {
		s.create(t, fmt.Sprintf("n-%d", i), s.canary())
	}
	c := s.csi(t)
	request := pod("uid-1", "[{path: a, name: a}]")
	var attributes map[string]string
	if err := json.Unmarshal([]byte(request.Attributes), &attributes); err != nil {
		t.Fatal(err)
	}
	secrets, err := json.Marshal(map[string]string{podTokens: attributes[podTokens], "other": "x"})
	if err != nil {
		t.Fatal(err)
	}
	inSecrets := request.Set(podTokens, "")
	inSecrets.Secrets = string(secrets)
	strict, open := request, request
	strict.Permission, open.Permission = "256", "511"
	unset := request
	unset.Permission, unset.Secrets = "", ""
	for name, test := range map[string]struct {
		request csidriver.Request
		mode    int32
	}{"tokens in secrets": {inSecrets, 0o444}, "strict": {strict, 0o400}, "open": {open, 0o555}, "unset": {unset, 0o444}} {
		answer := c.mount(t, test.request)
		if file := answer.Files["a"]; file.Contents != s.canaries[0] || file.Mode != test.mode {
			t.Errorf("%s: mode %o", name, file.Mode)
		}
	}
	if answer := c.mount(t, pod("uid-2", many(128, "n-%d"))); len(answer.Files) != 128 || len(answer.Versions) != 128 {
		t.Errorf("%d files, %d versions", len(answer.Files), len(answer.Versions))
	}
	class := example(t)
	s.create(t, "db-password", s.canary())
	s.create(t, "web-key", s.canary())
	if class.Spec.Provider+".sock" != filepath.Base(c.socket) {
		t.Errorf("the example is for %s", class.Spec.Provider)
	}
	answer := c.mount(t, pod("uid-3", class.Spec.Parameters["objects"]))
	if got := slices.Sorted(maps.Keys(answer.Files)); !slices.Equal(got, []string{"db-password", "tls/key.pem"}) {
		t.Errorf("files of the example: %v", got)
	}
	c.stop(t)
	for flag, want := range map[string]string{
		"--provider=a/b":                      "--provider: expected 1 to 30 letters",
		"--socket-dir=/nowhere":               "--socket-dir, --provider: listen unix /nowhere/secret-agent.sock",
		"--ca-file=/nowhere":                  "--ca-file: decrypt client: CAFile: open /nowhere",
		"--metrics-bind-address=127.0.0.1:-1": "--metrics-bind-address: ",
	} {
		a := c.provider(t, flag).start(t)
		if code := a.end(t); code != 1 || !strings.Contains(a.output(), want) {
			t.Errorf("%s: exit code %d: %s", flag, code, a.output())
		}
	}
}

type secretProviderClass struct {
	metav1.TypeMeta
	Metadata metav1.ObjectMeta
	Spec     struct {
		Provider   string
		Parameters map[string]string
	}
}

// example is the SecretProviderClass that is shown.
func example(t *testing.T) (class secretProviderClass) {
	t.Helper()
	text, pod, _ := strings.Cut(string(harness.ReadFile(t, filepath.Join(harness.Root(t), "docs", "examples", "pods", "csi.yaml"))), "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(text), &class); err != nil || !strings.Contains(pod, "secretProviderClass: "+class.Metadata.Name) {
		t.Fatalf("the example: %v", err)
	}
	return class
}

// many is a list of n files, whose names are made by a format.
func many(n int, format string) string {
	var list strings.Builder
	for i := range n {
		name := format
		if strings.Contains(format, "%") {
			name = fmt.Sprintf(format, i)
		}
		fmt.Fprintf(&list, "- {path: f-%d, name: %s}\n", i, name)
	}
	return list.String()
}
