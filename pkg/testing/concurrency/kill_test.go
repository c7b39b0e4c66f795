// SPDX-License-Identifier: Apache-2.0

package concurrency

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// stormWrites are the acknowledged writes before the server is killed.
const stormWrites = 150

// victim is an object with one writer of values, so that what it must hold is known to the last write.
type victim struct {
	acknowledged object
	value        string // of the acknowledged version
	unsure       string // of a write that was never answered
}

// killRaces kills the server in a storm of values and labels and returns what it had acknowledged.
func killRaces(t *testing.T, s *harness.Server, namespace string) []*victim {
	t.Helper()
	c := newClient(t, s, namespace)
	victims := make([]*victim, objects)
	for i := range victims {
		victims[i] = &victim{}
		victims[i].acknowledged, victims[i].value = c.create(name(i))
	}
	var group sync.WaitGroup
	var writes atomic.Int64
	for i, v := range victims {
		group.Go(func() { v.write(c, name(i), &writes) })
		group.Go(func() { labelUntilGone(c, name(i)) })
	}
	for end := time.Now().Add(deadline); writes.Load() < stormWrites && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.Kill()
	group.Wait()
	return victims
}

// write patches values until the server is gone.
func (v *victim) write(c *client, name string, writes *atomic.Int64) {
	for {
		value := newValue()
		got, code, err := c.do(http.MethodPatch, name, mergePatch,
			map[string]any{"spec": map[string]any{"value": value}})
		if err != nil {
			v.unsure = value
			return
		}
		if code != http.StatusOK {
			c.t.Errorf("%s: %d", name, code)
			return
		}
		v.acknowledged, v.value = got, value
		writes.Add(1)
	}
}

func labelUntilGone(c *client, name string) {
	for n := 0; ; n++ {
		body := map[string]any{"metadata": map[string]any{"labels": map[string]string{"n": strconv.Itoa(n)}}}
		if _, _, err := c.do(http.MethodPatch, name, mergePatch, body); err != nil {
			return
		}
	}
}

// survived holds a restarted server against what was acknowledged, and returns what must open. An unanswered write may
// have happened or not, but nothing else.
func survived(t *testing.T, s *harness.Server, namespace string, victims []*victim) map[string]string {
	t.Helper()
	c, want := newClient(t, s, namespace), map[string]string{}
	for i, v := range victims {
		key := namespace + "/" + name(i)
		switch got := c.get(name(i)); got.Status.Version {
		case v.acknowledged.Status.Version:
			want[key] = v.value
		case v.acknowledged.Status.Version + 1:
			want[key] = v.unsure
		default:
			t.Errorf("%s has version %d after the kill, %d was acknowledged", key, got.Status.Version,
				v.acknowledged.Status.Version)
		}
	}
	return want
}
