// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// stored is what a client knows of a name: nothing but zeros when the object does not exist.
type stored struct{ value, label, resourceVersion string }

// owner is the only client of its names, so that it knows what each answer has to be.
type owner struct {
	server *harness.Server
	random *rand.Rand
	// acknowledged is the state of each name, inFlight the one that the request with the unknown outcome was to make.
	acknowledged, inFlight map[string]stored
	values                 []string
	// released are the audit ids of the values that came out.
	released      []string
	writes, found int
}

// work sends requests until one has no answer, which is how a client sees a killed server.
func (o *owner) work(t *testing.T) {
	for {
		name := slices.Sorted(maps.Keys(o.acknowledged))[o.random.IntN(len(o.acknowledged))]
		old := o.acknowledged[name]
		if old.value != "" && o.random.IntN(3) == 0 {
			if value, answered := o.open(t, name); !answered {
				return
			} else if value != old.value {
				t.Errorf("%s opens as another value than the one that was stored last", name)
			}
			continue
		}
		next, r := o.choose(t, name, old)
		response, err := send(o.server, r)
		if err != nil {
			o.inFlight[name] = next
			return
		}
		if response.Code/100 != 2 {
			t.Errorf("%s %s: %d %.300s", r.Method, name, response.Code, response.Body)
			continue
		}
		if next != (stored{}) {
			next.resourceVersion = version(t, response.Body)
		}
		o.acknowledged[name] = next
		o.writes++
	}
}

// choose returns a write and the state that it makes.
func (o *owner) choose(t *testing.T, name string, old stored) (next stored, r harness.Request) {
	object := harness.Request{Method: http.MethodPatch, Path: harness.Collection("default") + "/" + name, ContentType: "application/merge-patch+json"}
	next = old
	switch kind := o.random.IntN(5); {
	case old.value == "":
		next.value, next.label = o.newValue(), "a" // as Object writes it
		return next, harness.Request{Method: http.MethodPost, Path: harness.Collection("default"), Body: harness.Object(t, name, next.value, "k6-cloud")}
	case kind == 0:
		object.Method, object.ContentType = http.MethodDelete, ""
		return stored{}, object
	case kind == 1:
		next.label = fmt.Sprint(o.random.Uint32())
		object.Body = fmt.Sprintf(`{"metadata":{"labels":{"team":%q}}}`, next.label)
	default:
		next.value = o.newValue()
		object.Body = fmt.Sprintf(`{"spec":{"value":%q}}`, next.value)
	}
	return next, object
}

func (o *owner) newValue() string {
	value := harness.Canary()
	o.values = append(o.values, value)
	return value
}

// send is Server.Do for a server that may end meanwhile.
func send(s *harness.Server, r harness.Request) (harness.Response, error) {
	if r.Token == "" {
		r.Token = s.AdminToken
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	response, err := s.Send(ctx, r)
	if err != nil {
		return harness.Response{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return harness.Response{Code: response.StatusCode, Header: response.Header, Body: body}, err
}

// open decrypts a value, and keeps the audit id of the release.
func (o *owner) open(t *testing.T, name string) (value string, answered bool) {
	response, err := send(o.server.OnDecryptPort(), harness.Request{
		Method: http.MethodGet, Path: harness.DecryptPath("default", name), Token: harness.K6Token, Header: http.Header{"Accept": {"text/plain"}},
	})
	if err != nil {
		return "", false
	}
	if response.Code != http.StatusOK {
		t.Errorf("decrypt %s: %d %.300s", name, response.Code, response.Body)
	}
	o.released = append(o.released, response.Header.Get("Audit-Id"))
	return string(response.Body), true
}

// check compares the server with what was acknowledged. The one write without an answer happened whole or not at all.
func (o *owner) check(t *testing.T, s *harness.Server) {
	o.server = s
	for name, want := range o.acknowledged {
		got := stored{}
		if response := s.Get(t, harness.Collection("default")+"/"+name, s.AdminToken); response.Code == http.StatusOK {
			object := struct {
				Metadata struct{ Labels map[string]string }
			}{}
			if err := json.Unmarshal(response.Body, &object); err != nil {
				t.Fatal(err)
			}
			got.label, got.resourceVersion = object.Metadata.Labels["team"], version(t, response.Body)
			got.value, _ = o.open(t, name)
		} else {
			response.Want(t, http.StatusNotFound)
		}
		after, unknown := o.inFlight[name]
		if after != (stored{}) {
			after.resourceVersion = got.resourceVersion
		}
		switch {
		case got == want:
		case unknown && got == after:
			o.found++
		default:
			t.Errorf("%s was acknowledged with version %q and label %q, and is now %q and %q; same value: %t; with a write in flight: %t",
				name, want.resourceVersion, want.label, got.resourceVersion, got.label, got.value == want.value, unknown)
		}
		o.acknowledged[name] = got
	}
	clear(o.inFlight)
}

func version(t *testing.T, object []byte) string {
	t.Helper()
	var known struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(object, &known); err != nil || known.Metadata.ResourceVersion == "" {
		t.Fatalf("no resourceVersion: %v", err)
	}
	return known.Metadata.ResourceVersion
}

// TestKilledUnderLoad kills a server (SIGKILL) at any moment of its work and starts it again on the same folder: what
// was acknowledged is there, a write without an answer happened whole or not at all, and every release has its audit
// record. KILLS is how often, KILL_SEED repeats the choices.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	kills, seed := harness.Setting(t, "KILLS", 3), harness.Setting(t, "KILL_SEED", rand.Uint64()>>1)
	random := rand.New(rand.NewPCG(seed, 0))
	s := harness.Start(t, onDisk(""))
	var owners []*owner
	for i := range 8 {
		o := &owner{
			server: s, random: rand.New(rand.NewPCG(seed, uint64(i+1))),
			acknowledged: map[string]stored{}, inFlight: map[string]stored{},
		}
		for n := range 8 {
			o.acknowledged[fmt.Sprintf("name-%d-%d", i, n)] = stored{}
		}
		owners = append(owners, o)
	}
	all := func(do func(o *owner)) (wait func()) {
		var group sync.WaitGroup
		for _, o := range owners {
			group.Go(func() { do(o) })
		}
		return group.Wait
	}
	unanswered, writes := 0, 0
	for range kills {
		wait := all(func(o *owner) { o.work(t) })
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		s.Kill()
		wait()
		for _, o := range owners {
			unanswered += len(o.inFlight)
		}
		s = s.Again(t, onDisk(""))
		all(func(o *owner) { o.check(t, s) })()
	}
	s.Stop(t)
	report, errs, code := harness.Tool(t, "audit", "verify", "--key-file="+filepath.Join(s.DataDir, "decrypt-audit.key"), filepath.Join(s.DataDir, "decrypt-audit"))
	if code != 0 {
		t.Errorf("audit verify: %s%s", report, errs)
	}
	var log []byte
	files, _ := filepath.Glob(filepath.Join(s.DataDir, "decrypt-audit", "*.log"))
	for _, file := range files {
		log = append(log, harness.ReadFile(t, file)...)
	}
	released, found := 0, 0
	var values []string
	for _, o := range owners {
		for _, id := range o.released {
			if !bytes.Contains(log, []byte(`"`+id+`"`)) {
				t.Errorf("a value was released without a record: audit id %q", id)
			}
		}
		released, found, writes, values = released+len(o.released), found+o.found, writes+o.writes, append(values, o.values...)
	}
	s.Leaks(t, values...)
	if writes == 0 || released == 0 {
		t.Error("nobody worked")
	}
	t.Logf("KILLS=%d KILL_SEED=%d: %d acknowledged writes; %d without an answer, of which %d happened; %d values released, each with its record",
		kills, seed, writes, unanswered, found, released)
}
