// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
)

const listPath = "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues"

func TestScrubQuery(t *testing.T) {
	const none = "REDACTED%3DREDACTED"
	tests := map[string]struct{ path, query, want string }{
		"nothing": {listPath, "", ""},
		"known": {listPath,
			"limit=1&continue=a%2Bb&labelSelector=a%3Db&dryRun=All&fieldManager=f&pretty",
			"limit=1&continue=a%2Bb&labelSelector=a%3Db&dryRun=All&fieldManager=f&pretty"},
		"options of all kinds": {listPath,
			"timeout=1s&includeObject=None&propagationPolicy=Orphan&fieldValidation=Strict&force=true",
			"timeout=1s&includeObject=None&propagationPolicy=Orphan&fieldValidation=Strict&force=true"},
		"name": {listPath, "fieldSelector=metadata.name%3Da%5C%2Cb,metadata.namespace!=c",
			"fieldSelector=metadata.name%3Da%5C%2Cb,metadata.namespace!=c"},
		"decrypter":      {listPath, "fieldSelector=spec.decrypter==k6", "fieldSelector=spec.decrypter==k6"},
		"empty selector": {listPath, "fieldSelector=", "fieldSelector="},
		"value": {listPath, "fieldSelector=spec.value%3Dc4n4ry",
			"fieldSelector=spec.value%3DREDACTED"},
		"value, raw": {listPath, "limit=1&fieldSelector=spec.value!=c4n4ry&watch=1",
			"limit=1&fieldSelector=spec.value%21%3DREDACTED&watch=1"},
		"value, escaped name": {listPath, "field%53elector=spec.value==c4n4ry",
			"fieldSelector=spec.value%3DREDACTED"},
		"one of two terms": {listPath, "fieldSelector=spec.value=c4n4ry,metadata.name=a%5C%5Cb",
			"fieldSelector=metadata.name%3Da%5C%5Cb%2Cspec.value%3DREDACTED"},
		"escaped comma": {listPath, "fieldSelector=spec.value=x%5C,c4n4ry",
			"fieldSelector=spec.value%3DREDACTED"},
		"field is the value":   {listPath, "fieldSelector=c4n4ry==", "fieldSelector=" + none},
		"field is case of one": {listPath, "fieldSelector=Metadata.name=c4n4ry", "fieldSelector=" + none},
		"unparsable":           {listPath, "fieldSelector=c4n4ry", "fieldSelector=" + none},
		"bad escape":           {listPath, "fieldSelector=metadata.name=%5Cc4n4ry", "fieldSelector=" + none},
		"second equals":        {listPath, "fieldSelector=metadata.name=a=c4n4ry", "fieldSelector=" + none},
		"undecodable":          {listPath, "fieldSelector=c4n4ry%zz", "fieldSelector=" + none},
		"semicolon":            {listPath, "fieldSelector=metadata.name=a;c4n4ry", "fieldSelector=" + none},
		"semicolon in a name":  {listPath, "a;c4n4ry=b", "REDACTED"},
		"twice": {listPath, "fieldSelector=metadata.name=a&fieldSelector=spec.value=c4n4ry",
			"fieldSelector=metadata.name=a&fieldSelector=spec.value%3DREDACTED"},
		"selector elsewhere": {"/api/v1/pods", "fieldSelector=spec.value=c4n4ry",
			"fieldSelector=spec.value%3DREDACTED"},
		"unknown parameter":     {listPath, "value=c4n4ry&spec.value=c4n4ry&limit=1", "REDACTED&REDACTED&limit=1"},
		"case of a parameter":   {listPath, "fieldselector=spec.value=c4n4ry", "REDACTED"},
		"parameter is a value":  {listPath, "c4n4ry", "REDACTED"},
		"parameter is base64":   {listPath, "c4n4ry==", "REDACTED"},
		"bad parameter":         {listPath, "%zzc4n4ry=1", "REDACTED"},
		"known, undecodable":    {listPath, "limit=c4n4ry%zz", "limit=REDACTED"},
		"unknown elsewhere":     {"/metrics", "seconds=5", "seconds=5"},
		"undecodable elsewhere": {"/metrics", "seconds=c4n4ry%zz", "REDACTED"},
		"odd path":              {"//apis//Secret.Grafana.App/x", "value=c4n4ry", "REDACTED"},
		"decrypt":               {"/decrypt/v1/namespaces/a/secrets/b/decrypt", "value=c4n4ry", "REDACTED"},
		"decrypt service": {"/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues", "value=c4n4ry",
			"REDACTED"},
		"openapi hash":           {"/openapi/v3/apis/secret.grafana.app/v1beta1", "hash=ABC&timeout=1s", "timeout=1s"},
		"empty segments survive": {listPath, "&limit=1&", "&limit=1&"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ScrubQuery(test.path, test.query)
			if got != test.want {
				t.Errorf("want %q, got %q", test.want, got)
			}
			if strings.Contains(got, canary) {
				t.Errorf("the canary survived: %q", got)
			}
			if again := ScrubQuery(test.path, got); again != got {
				t.Errorf("not stable: %q", again)
			}
		})
	}
}

func TestScrubURI(t *testing.T) {
	tests := map[string]string{
		"":                                      "",
		listPath:                                listPath,
		listPath + "?limit=1":                   listPath + "?limit=1",
		listPath + "?value=c4n4ry":              listPath + "?REDACTED",
		"/" + listPath + "?v=c4n4ry":            "/" + listPath + "?REDACTED",
		"/apis/secret%2egrafana.app?c4n4ry":     "/apis/secret%2egrafana.app?REDACTED",
		"https://host" + listPath + "?v=c4n4ry": "https://host" + listPath + "?REDACTED",
		"/%zz?limit=c4n4ry":                     "/%zz?REDACTED",
	}
	for uri, want := range tests {
		if got := ScrubURI(uri); got != want {
			t.Errorf("%q: want %q, got %q", uri, want, got)
		}
	}
}

func TestScrubCopiesTheRequest(t *testing.T) {
	const query = "fieldSelector=spec.value%3Dc4n4ry&limit=1"
	const want = "fieldSelector=spec.value%3DREDACTED&limit=1"
	var seen *http.Request
	handler := WithScrub(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, listPath+"?"+query, nil)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if seen.URL.RawQuery != want || seen.RequestURI != listPath+"?"+want || seen.URL.RequestURI() != listPath+"?"+want {
		t.Errorf("want the query %s, got %s and %s", want, seen.URL, seen.RequestURI)
	}
	if r.URL.RawQuery != query || r.RequestURI != listPath+"?"+query {
		t.Errorf("the original changed: %s, %s", r.URL, r.RequestURI)
	}
	for _, clean := range []string{"", "?limit=1"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, listPath+clean, nil)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if seen != r {
			t.Errorf("%q: a clean request was copied", clean)
		}
	}
}

func TestUpgradesAreRefused(t *testing.T) {
	tests := map[string]struct {
		method  string
		headers http.Header
		refused bool
	}{
		"plain":            {http.MethodGet, http.Header{"Connection": {"keep-alive, close"}}, false},
		"spdy":             {http.MethodGet, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}}, true},
		"only upgrade":     {http.MethodPost, http.Header{"Upgrade": {""}}, true},
		"only connection":  {http.MethodGet, http.Header{"Connection": {"keep-alive, uPgrade"}}, true},
		"second header":    {http.MethodGet, http.Header{"Connection": {"close", " upgrade "}}, true},
		"connect":          {http.MethodConnect, nil, true},
		"not such a token": {http.MethodGet, http.Header{"Connection": {"upgrade-insecure"}}, false},
	}
	for name, test := range tests {
		for _, path := range []string{listPath, "/livez", "/"} {
			t.Run(name+" "+path, func(t *testing.T) {
				called := false
				handler := WithScrub(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(t.Context(), test.method, "http://host"+path, nil)
				maps.Copy(r.Header, test.headers)
				handler.ServeHTTP(w, r)
				if called == test.refused {
					t.Fatalf("want refused %v, got %d", test.refused, w.Code)
				}
				if test.refused {
					requireStatus(t, w.Result(), http.StatusBadRequest, metav1.StatusReasonBadRequest)
				}
			})
		}
	}
}

// requireStatus fails unless the response is a Status with this code.
func requireStatus(t *testing.T, response *http.Response, code int, reason metav1.StatusReason) {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	var status metav1.Status
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != code || response.Header.Get("Content-Type") != jsonType || status.Kind != "Status" ||
		status.APIVersion != "v1" || status.Status != metav1.StatusFailure || status.Code != int32(code) ||
		status.Reason != reason {
		t.Errorf("want a Status %d %s, got %d %+v", code, reason, response.StatusCode, status)
	}
}

func TestRedirectsAreRefused(t *testing.T) {
	server := httptest.NewTLSServer(WithScrub(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch code := r.URL.Query().Get("code"); code {
		case "200":
			_, _ = w.Write([]byte("fine"))
		case "304":
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("Content-Length", "7")
			w.Header().Set("Etag", `"x"`)
			http.Redirect(w, r, "https://elsewhere/",
				map[string]int{"301": 301, "302": 302, "303": 303, "307": 307, "308": 308}[code])
			w.WriteHeader(http.StatusFound)
		}
	})))
	defer server.Close()
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for code, want := range map[string]int{"200": 200, "301": 404, "302": 404, "303": 404, "307": 404, "308": 404,
		"304": 304} {
		t.Run(code, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"?code="+code, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != want || response.Header.Get("Location") != "" {
				t.Fatalf("want %d without a location, got %d %v", want, response.StatusCode, response.Header)
			}
			if want == 404 {
				requireStatus(t, response, 404, metav1.StatusReasonNotFound)
			}
		})
	}
}

func TestNothingIsCached(t *testing.T) {
	handler := WithScrub(genericapifilters.WithCacheControl(http.NotFoundHandler()))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, listPath, nil))
	if got := w.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
		t.Errorf("want no-store, got %v", got)
	}
}

// TestWriterKeepsItsAbilities would notice a wrapper that breaks watches, which need to flush.
func TestWriterKeepsItsAbilities(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(WithScrub(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, flusher := w.(http.Flusher)
			//nolint:staticcheck // SA1019: the timeout filter of the library still asks for it.
			_, notifier := w.(http.CloseNotifier)
			if !flusher || !notifier {
				t.Errorf("flusher %v, notifier %v", flusher, notifier)
			}
			_, _ = w.Write([]byte("first\n"))
			w.(http.Flusher).Flush()
		})))
		server.EnableHTTP2 = http2
		server.StartTLS()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "first\n" {
			t.Errorf("got %q, %v", line, err)
		}
		_ = response.Body.Close()
		server.Close()
	}
}

// TestScrubbedSelectorStillFails holds the scrubbed query against the way the library reads queries.
func TestScrubbedSelectorStillFails(t *testing.T) {
	for _, query := range []string{"fieldSelector=c4n4ry", "fieldSelector=a;b", "fieldSelector=%zz",
		"fieldSelector=spec.value=x"} {
		got, err := url.ParseQuery(ScrubQuery(listPath, query))
		if err != nil || !strings.HasSuffix(got.Get("fieldSelector"), "=REDACTED") {
			t.Errorf("%q: want a selector that matches nothing, got %v, %v", query, got, err)
		}
	}
}

// What the server made of a URI counts as what the client sent does: a filter in front may have rewritten either.
func TestURILimit(t *testing.T) {
	served := 0
	handler := WithScrub(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for name, change := range map[string]func(r *http.Request, long string){
		"query of the URL":   func(r *http.Request, long string) { r.URL.RawQuery = long },
		"path of the URL":    func(r *http.Request, long string) { r.URL.Path = long },
		"URI as it was sent": func(r *http.Request, long string) { r.RequestURI = long },
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, listPath, nil)
		change(r, strings.Repeat("c4n4ry", MaxURIBytes/6+1))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusRequestURITooLong || strings.Contains(w.Body.String(), "c4n4ry") ||
			!strings.Contains(w.Body.String(), "the limit is 65536") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet,
		listPath+"?limit="+strings.Repeat("1", MaxURIBytes-len(listPath)-len("?limit=")), nil)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if served != 1 {
		t.Errorf("%d requests were served, want the one of the greatest length", served)
	}
}
