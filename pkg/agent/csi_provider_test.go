// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestKeptVolumes are bounded in time and number of bytes.
func TestKeptVolumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(newOptions(), nil)
		volume := func(pod string) *csiVolume {
			return &csiVolume{id: volumeID{pod, "/x"}, namespace: "default", files: []csiFile{{target: target{"a", "a"}}}}
		}
		versions := map[string]string{"a": "1.uid"}
		want := func(pod string, kept bool) {
			t.Helper()
			if got := p.recall(volume(pod), versions) != nil; got != kept {
				t.Errorf("%s is kept: %t", pod, got)
			}
		}
		p.keep(volume("used"), versions, values{})
		p.keep(volume("unused"), versions, values{})
		p.keep(volume("unknown versions"), nil, values{})
		if p.volumes() != 2 {
			t.Errorf("%v volumes are kept", p.volumes())
		}
		for range 3 {
			time.Sleep(keepTime * 2 / 3)
			want("used", true)
		}
		want("unused", false)
		p.keep(volume("used"), versions, values{}) // replaces it, with its expiry
		time.Sleep(keepTime / 2)
		want("used", true)
		if p.recall(volume("used"), map[string]string{"a": "2.uid"}) != nil {
			t.Error("another version is kept")
		}
		p.bytes = maxKept + 1
		p.keep(volume("one too many"), versions, values{})
		want("one too many", false)
		p.bytes = 0
		time.Sleep(2 * keepTime)
		synctest.Wait()
		if p.volumes() != 0 || p.bytes != 0 {
			t.Errorf("in the end %v volumes of %d bytes are kept", p.volumes(), p.bytes)
		}
	})
}
