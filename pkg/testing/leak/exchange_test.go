// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// deadline bounds waiting for what must come; it is not a claim about speed.
const deadline = time.Minute

// call is a request as it goes over the wire.
type call struct {
	method, url, contentType, accept, body string
	breakOff                               bool
	// port sends to the decrypt port, as the service.
	port port
}

// head is the answer without its body.
type head struct {
	code int
	text string
}

var errBrokenOff = errors.New("the client goes away")

// brokenBody fails half way through.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errBrokenOff
	}
	return n, err
}

// send may be called by any goroutine.
func send(t *testing.T, s *subject, c call) ([]byte, head, error) {
	t.Helper()
	base, client := s.URL, s.HTTPClient()
	if c.port == decryptPort {
		base, client = s.DecryptURL, s.service.HTTPClient()
	}
	body := io.Reader(strings.NewReader(c.body))
	if c.breakOff {
		body = brokenBody{strings.NewReader(c.body[:len(c.body)-1])}
	}
	request, err := http.NewRequestWithContext(t.Context(), c.method, base+c.url, body)
	if err != nil {
		return nil, head{}, err
	}
	s.authenticate(request, c.port)
	if c.contentType != "" {
		request.Header.Set("Content-Type", c.contentType)
	}
	if c.accept != "" {
		request.Header.Set("Accept", c.accept)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, head{}, err
	}
	defer func() { _ = response.Body.Close() }()
	var header bytes.Buffer
	_ = response.Header.Write(&header) // to memory
	answer, err := io.ReadAll(response.Body)
	_ = response.Trailer.Write(&header)
	return answer, head{code: response.StatusCode, text: response.Status + "\n" + header.String()}, err
}

// streams are watches whose events go to files, to be searched with everything else.
type streams struct {
	files []string
	stop  func()
}

var watchQueries = map[string]string{
	"plain":          "watch=true",
	"initial-events": "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
}

// startWatches opens a watch for each kind of watch and each form of event.
func startWatches(t *testing.T, s *subject, dir string) *streams {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	all := &streams{stop: func() { cancel(); group.Wait() }}
	t.Cleanup(all.stop)
	for name, query := range watchQueries {
		for i, accept := range accepts {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet,
				s.URL+harness.Collection(namespace)+"?"+query, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			s.authenticate(request, apiPort)
			request.Header.Set("Accept", accept)
			response, err := s.HTTPClient().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, fmt.Sprintf("watch-%s-%d", name, i))
			out := create(t, file)
			// Upstream opens a watch of lists, and sends nothing.
			if response.StatusCode == http.StatusOK && !strings.Contains(accept, "as=PartialObjectMetadataList") {
				all.files = append(all.files, file)
			}
			group.Go(func() {
				defer func() { _ = response.Body.Close() }()
				_, _ = io.Copy(out, response.Body) // ends with the context
			})
		}
	}
	return all
}

// waitFor returns once every watch has seen a text.
func (s *streams) waitFor(t *testing.T, text string) {
	t.Helper()
	if len(s.files) < 8 {
		t.Fatalf("only %d watches were opened", len(s.files))
	}
	for _, file := range s.files {
		for end := time.Now().Add(deadline); !bytes.Contains(harness.ReadFile(t, file),
			[]byte(text)); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s never saw the last object", filepath.Base(file))
			}
		}
	}
}

// control is what must be found: a search that finds nothing at all proves nothing.
type control struct{ name, label string }

// plant puts canaries where they are not secret: a label and a name.
func plant(t *testing.T, r *run, which string) control {
	t.Helper()
	c := newCaster(r.seed, 1<<40)
	planted := control{label: c.word() + which, name: strings.ToLower(c.word()) + "-" + which}
	d := document{name: planted.name, text: c.word()}
	r.canaries = append(r.canaries, c.made[len(c.made)-1])
	body := strings.Replace(d.write(t, asJSON), `"metadata": {`,
		`"metadata": {"labels":{"planted":"`+planted.label+`"},`, 1)
	answer, head, err := send(t, r.subject, call{method: "POST", url: harness.Collection(namespace) + "?planted",
		body: body})
	if err != nil || head.code != http.StatusCreated {
		t.Fatalf("planting: %d %s %v", head.code, answer, err)
	}
	if len(newFinder(planted.label).find(answer)) == 0 {
		t.Error("the planted label is not found in the answer")
	}
	if _, head, err = send(t, r.subject, call{method: "GET", url: harness.Collection(namespace) + "/" +
		planted.name}); err != nil || head.code != http.StatusOK {
		t.Fatalf("reading what was planted: %d %v", head.code, err)
	}
	return planted
}

// find asks that the planted canaries are found where they belong.
func (c control) find(t *testing.T, s *subject, out string) {
	t.Helper()
	for what, where := range map[string][]string{
		c.label: {s.etcdDir, out}, // database and watches
		c.name:  {s.etcdDir, out, s.LogFile, s.AuditFile, s.spans},
	} {
		for _, path := range where {
			if !holds(t, newFinder(what), path) {
				t.Errorf("the planted %s is not found in %s: the search is broken", what, filepath.Base(path))
			}
		}
	}
}

// holds reports whether a file, or a file below a folder, has something.
func holds(t *testing.T, f *finder, path string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(path, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		in, err := f.findIn(path)
		found = found || len(in) > 0
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

// endpoints reads what a server tells of itself.
func (r *run) endpoints(t *testing.T) {
	t.Helper()
	f := newFileFinder(r.canaries...)
	for path, code := range map[string]int{
		"/metrics": http.StatusOK, "/openapi/v2": http.StatusOK, "/openapi/v3": http.StatusOK,
		"/version":       http.StatusOK,
		"/livez?verbose": http.StatusOK, "/readyz?verbose": http.StatusOK, "/apis": http.StatusOK,
		"/statusz":      http.StatusOK,
		"/metrics/slis": http.StatusOK, harness.Collection(namespace): http.StatusOK,
		"/debug/pprof/": http.StatusNotFound, "/debug/pprof/heap": http.StatusNotFound,
		"/debug/flags/v":                 http.StatusNotFound,
		"/debug/pprof/goroutine?debug=2": http.StatusNotFound, "/configz": http.StatusNotFound,
		"/": http.StatusNotFound,
	} {
		body, head, err := send(t, r.subject, call{method: "GET", url: path})
		if err != nil || head.code != code {
			t.Errorf("GET %s: %d %v, want %d", path, head.code, err, code)
		}
		report(t, path, f.find(append(body, head.text...)))
	}
}
