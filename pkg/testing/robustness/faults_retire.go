// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// retireFaults are whole rotations that one server does not follow: the newest local key is retired, proved unused and
// destroyed. What is then sealed under it is lost.
var retireFaults = []fault{
	{"one server keeps its old key file", func(t *testing.T, e *environment, random *rand.Rand) injection {
		late := random.IntN(replicas)
		rest, old := e.sealLocally(t)
		e.addKey()
		for _, file := range e.keysFiles { // step 1 of a rotation
			harness.WriteFile(t, file, e.configuration(false, append([]string{old, e.keys[0]}, rest...)))
		}
		e.until(t, "both servers have read the new key", func() bool { return e.allCanRead(t.Context(), e.newest()) })
		e.late[late] = true
		e.writeKeys(t, false)
		e.destroy(t, replicas-1-late, old)
		return injection{
			effect: func() bool {
				_, err := e.prober.fresh(t.Context(), late)
				return errors.Is(err, errKeyRetired)
			},
			heal: func() {
				e.late[late] = false
				e.writeKeys(t, false)
				e.until(t, "the late server seals with the new key", func() bool { return e.sealWithFirst(t.Context()) })
			},
		}
	}},
	// Values that were sealed before the pause must not be written after it.
	{"pause a server while a key is retired", func(t *testing.T, e *environment, random *rand.Rand) injection {
		paused := random.IntN(replicas)
		r, s := e.servers[paused], e.servers[paused].get()
		_, old := e.sealLocally(t)
		var writers sync.WaitGroup
		for range inFlight {
			e.probers++
			c := &client{id: clients + 10 + e.probers, env: e, history: e.prober.history, seen: map[string]int64{}}
			writers.Go(func() { _, _ = c.fresh(t.Context(), paused) }) // it may have been written: the history has it
		}
		r.away.Store(true)
		s.Signal(t, syscall.SIGSTOP)
		e.addKey()
		e.writeKeys(t, false)
		e.destroy(t, replicas-1-paused, old)
		return injection{heal: func() {
			s.Signal(t, syscall.SIGCONT)
			writers.Wait()
			r.away.Store(false)
			e.until(t, "the paused server seals with the new key", func() bool { return e.sealWithFirst(t.Context()) })
		}}
	}},
}

// proofTimeout is for moving a few hundred values. It ends a run in which values go on being sealed.
const proofTimeout = 30 * time.Second

// inFlight is how many values are being written to a server when it is paused.
const inFlight = 16

// until waits until something is true, or fails the test.
func (e *environment) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !eventually(done) {
		t.Errorf("waited in vain until %s", what)
	}
}

// sealLocally lets both servers seal under the newest local key, and returns the other local keys and this one.
func (e *environment) sealLocally(t *testing.T) (rest []string, old string) {
	t.Helper()
	e.writeKeys(t, false)
	e.until(t, "both servers seal with a local key", func() bool { return e.sealWithFirst(t.Context()) })
	return slices.Clone(e.keys[1:]), e.keys[0]
}

// allCanRead reports whether both servers have announced that they have read a key.
func (e *environment) allCanRead(ctx context.Context, key string) bool {
	for i := range e.servers {
		if !e.announced(ctx, i, func(keys []string) bool { return slices.Contains(keys, key) }) {
			return false
		}
	}
	return true
}

// announced reports whether a server has announced such keys.
func (e *environment) announced(ctx context.Context, server int, such func(keys []string) bool) bool {
	servers, err := sealed.LiveServers(ctx, e.direct, options.EtcdPrefix, 0)
	return err == nil && slices.ContainsFunc(servers, func(s sealed.Server) bool { return s.Instance == instance(server) && such(s.Keys) })
}

// destroy retires a local key, moves what is sealed under it through one server, proves that nothing is left, and takes
// the key out of the files.
func (e *environment) destroy(t *testing.T, through int, old string) {
	t.Helper()
	program := harness.Binary(t)
	ctx, s := t.Context(), e.servers[through].get()
	name, _, _ := strings.Cut(strings.TrimPrefix(old, "      - {name: "), ",")
	name = "aesgcm/" + name
	e.until(t, "a server seals with the new key", func() bool { return writeKey(ctx, s) == e.first })
	e.until(t, "the key is retired", func() bool { return sealed.Retire(ctx, e.direct, options.EtcdPrefix, name) == nil })
	var output []byte
	proved := false
	limited, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	e.until(t, "nothing is sealed under the retired key", func() bool {
		e.rewrap(ctx, through, name)
		var err error
		output, err = exec.CommandContext(ctx, program, "keys", "report", "--fail-on="+name, //nolint:gosec // the binary under test
			"--etcd-servers="+strings.Join(e.etcd.Endpoints(), ","), "--encryption-provider-config="+e.keysFiles[through]).CombinedOutput()
		proved = err == nil
		return proved || limited.Err() != nil
	})
	if !proved {
		t.Errorf("values are still sealed under the retired key %s: %s", name, output)
	}
	at := slices.Index(e.keys, old)
	e.keys, e.destroyed = slices.Delete(slices.Clone(e.keys), at, at+1), append(e.destroyed, old)
	e.writeKeys(t, false)
	e.until(t, "a server has dropped the retired key", func() bool {
		return e.announced(ctx, through, func(keys []string) bool { return !slices.Contains(keys, name) })
	})
}

// rewrap moves every value under a key to the write key of a server.
func (e *environment) rewrap(ctx context.Context, server int, key string) {
	got, err := e.prober.send(ctx, server, http.MethodGet, harness.Collection(namespace), "", "")
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Key string }
		}
	}
	if err != nil || json.Unmarshal(got.body, &list) != nil {
		return
	}
	for _, item := range list.Items {
		if item.Status.Key == key {
			_, _ = e.prober.send(ctx, server, http.MethodPost, harness.Collection(namespace)+"/"+item.Metadata.Name+"/rewrap",
				"application/json", "{}") // repeated until nothing is left
		}
	}
}
