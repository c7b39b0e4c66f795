// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestIncident21RacesAndStop is one life of a data folder: races, a graceful stop amid them, and at the end every value
// is opened. Colliding creates and deletes, and kills, are in pkg/testing/robustness and pkg/testing/keys.
func TestIncident21RacesAndStop(t *testing.T) {
	first := harness.Start(t, harness.Options{})
	raced := writers(t, first, "writers")
	want := raced.expected()
	stopped := stopRaces(t, first, "stop")
	noDataRace(t, first)

	second := harness.Start(t, harness.Options{DataDir: first.DataDir})
	stopped.client, raced.client = newClient(t, second, "stop"), newClient(t, second, "writers")
	maps.Copy(want, stopped.survivedStop())
	raced.expected()
	second.Stop(t)
	noDataRace(t, second)
	opens(t, first.DataDir, want)
	first.Leaks(t, raced.ledger.all[:min(10, len(raced.ledger.all))]...)
	t.Logf("%d values acknowledged", len(raced.ledger.all))
}

// TestRacesWithoutWatchCache asks the same of a server that reads everything from etcd.
func TestRacesWithoutWatchCache(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--watch-cache=false"}})
	want := writers(t, s, "writers").expected()
	s.Stop(t)
	noDataRace(t, s)
	opens(t, s.DataDir, want)
}

// expected is what must open: the value of the version that each object is read with, by NAMESPACE/NAME.
func (r *race) expected() map[string]string {
	r.t.Helper()
	want := map[string]string{}
	for i := range objects {
		got := r.get(name(i))
		value, ok := r.ledger.versions(got)[got.Status.Version]
		if !ok {
			r.t.Errorf("%s has version %d, which nobody was told of", name(i), got.Status.Version)
		}
		want[r.namespace+"/"+name(i)] = value
	}
	return want
}

// survivedStop asks that a server started again has every acknowledged write, and returns what must open.
func (r *race) survivedStop() map[string]string {
	r.t.Helper()
	want := map[string]string{}
	for id, versions := range r.ledger.values {
		name, _, _ := strings.Cut(id, "/")
		got, last := r.get(name), int64(0)
		for version := range versions {
			last = max(last, version)
		}
		if got.Status.Version < last {
			r.t.Errorf("%s has version %d after the stop, %d was acknowledged", name, got.Status.Version, last)
		}
		if got.Status.Version == last { // else the write on top of it was cut off unanswered
			want[r.namespace+"/"+name] = versions[last]
		}
	}
	return want
}

// opens asks that every expected object opens to its value, and that every other record opens.
func opens(t *testing.T, dataDir string, want map[string]string) {
	t.Helper()
	opened := harness.OpenAll(t, dataDir)
	for key, value := range want {
		if got, ok := opened[key]; !ok || got != value {
			t.Errorf("%s opens to %q (%t), the last writer wrote %q", key, got, ok, value)
		}
	}
	if len(want) == 0 || len(opened) < len(want) {
		t.Errorf("%d records opened, %d expected", len(opened), len(want))
	}
}

// noDataRace reads the log for reports of the race detector; without it there are none.
func noDataRace(t *testing.T, s *harness.Server) {
	t.Helper()
	if log := s.Log(t); strings.Contains(log, "DATA RACE") {
		_, report, _ := strings.Cut(log, "DATA RACE")
		t.Errorf("DATA RACE%s", report[:min(len(report), 4000)])
	}
}

// object is what a client writes and reads: JSON, so that a half object would show.
type object struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Spec       struct {
		Description string   `json:"description"`
		Value       *string  `json:"value,omitempty"`
		Decrypters  []string `json:"decrypters,omitempty"`
	} `json:"spec"`
	Status v1beta1.SecureValueStatus `json:"status"`
}

func newObject(name, value string) object {
	o := object{APIVersion: "secret.grafana.app/v1beta1", Kind: "SecureValue"}
	o.Metadata.Name = name
	o.Spec.Description, o.Spec.Decrypters = "race", []string{"k6-cloud"}
	o.Spec.Value = &value
	return o
}

// client talks to one server and one namespace; its methods may be called by any goroutine.
type client struct {
	t         *testing.T
	server    *harness.Server
	http      *http.Client
	namespace string
}

func newClient(t *testing.T, s *harness.Server, namespace string) *client {
	t.Helper()
	return &client{t: t, server: s, http: s.HTTPClient(), namespace: namespace}
}

// do sends a request. An answer of 500 and above, or half an object, fails the test; a broken connection is the
// caller's affair.
func (c *client) do(method, name, contentType string, body any) (object, int, error) {
	var got object
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return got, 0, err
		}
	}
	path := c.server.URL + harness.Collection(c.namespace)
	if name != "" {
		path += "/" + name
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, path, bytes.NewReader(data))
	if err != nil {
		return got, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+c.server.AdminToken)
	request.Header.Set("Content-Type", contentType)
	response, err := c.http.Do(request)
	if err != nil {
		return got, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return got, response.StatusCode, err
	}
	if response.StatusCode >= 300 || method == http.MethodDelete {
		return got, response.StatusCode, nil
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return got, response.StatusCode, fmt.Errorf("%s %s: %w", method, name, err)
	}
	c.checkWhole(got, string(answer))
	return got, response.StatusCode, nil
}

// checkWhole fails the test for an object of which a part is missing.
func (c *client) checkWhole(o object, answer string) {
	m := o.Metadata
	if o.Kind != "SecureValue" || m.Name == "" || m.UID == "" || m.ResourceVersion == "" || m.Generation < 1 ||
		o.Spec.Description == "" || o.Spec.Value != nil || o.Status.Version < 1 || o.Status.Key == "" {
		c.t.Errorf("half an object, or one with its value: %s", answer)
	}
}

// must sends a request that has to be answered with one of the codes.
func (c *client) must(method, name, contentType string, body any, codes ...int) (object, int) {
	got, code, err := c.do(method, name, contentType, body)
	for _, want := range codes {
		if err == nil && code == want {
			return got, code
		}
	}
	c.t.Errorf("%s %s: %d %v, want %v", method, name, code, err, codes)
	return got, code
}

func (c *client) create(name string) (object, string) {
	value := newValue()
	got, _ := c.must(http.MethodPost, "", "application/json", newObject(name, value), http.StatusCreated)
	return got, value
}

func (c *client) get(name string) object {
	got, _ := c.must(http.MethodGet, name, "", nil, http.StatusOK)
	return got
}

// newValue is random, so that no output holds it by chance.
func newValue() string { return "race-" + rand.Text() }

// ledger remembers which value each acknowledged version of an object has.
type ledger struct {
	mutex  sync.Mutex
	values map[string]map[int64]string // by NAME/UID
	all    []string
}

// wrote records an acknowledged write. Two with one version are a lost write.
func (l *ledger) wrote(t *testing.T, o object, value string) {
	t.Helper()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	id := o.Metadata.Name + "/" + string(o.Metadata.UID)
	if l.values == nil {
		l.values = map[string]map[int64]string{}
	}
	if l.values[id] == nil {
		l.values[id] = map[int64]string{}
	}
	if _, twice := l.values[id][o.Status.Version]; twice {
		t.Errorf("version %d of %s was acknowledged twice", o.Status.Version, id)
	}
	l.values[id][o.Status.Version] = value
	l.all = append(l.all, value)
}

// versions are the acknowledged writes of the values of an object, its creation included.
func (l *ledger) versions(o object) map[int64]string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.values[o.Metadata.Name+"/"+string(o.Metadata.UID)]
}
