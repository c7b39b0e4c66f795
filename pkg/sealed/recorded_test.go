// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

var update = flag.Bool("update", false, "rewrite testdata/sealed-v2.json: only for a new provider, never to "+
	"make this test pass")

// recording is one etcd value as a released server wrote it.
type recording struct {
	Provider   string    `json:"provider"`
	Namespace  string    `json:"namespace"`
	Name       string    `json:"name"`
	UID        types.UID `json:"uid"`
	Version    int64     `json:"version"`
	Decrypters []string  `json:"decrypters"`
	Key        string    `json:"key"`
	Value      string    `json:"value"`
	Frame      []byte    `json:"frame"`
}

// recordedFile has frames of the version that is written now, the other one those of version 1.
var (
	recordedFile  = filepath.Join("testdata", "sealed-v2.json")
	recordedFiles = []string{filepath.Join("testdata", "sealed-v1.json"), recordedFile}
)

// TestRecordedCiphertextsOpen: what was sealed once must open for ever.
func TestRecordedCiphertextsOpen(t *testing.T) {
	if *update {
		writeRecordings(t)
	}
	for version, file := range recordedFiles {
		t.Run(filepath.Base(file), func(t *testing.T) { checkRecordings(t, file, byte(1+version)) })
	}
}

func checkRecordings(t *testing.T, file string, version byte) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var recordings []recording
	if err := json.Unmarshal(raw, &recordings); err != nil {
		t.Fatalf("reading %s: %v", file, err)
	}
	covered := map[string]bool{}
	for _, r := range recordings {
		covered[r.Provider] = true
		t.Run(r.Provider+"/"+r.Name, func(t *testing.T) { r.check(t, version) })
	}
	for _, provider := range encrypting {
		if !covered[provider] {
			t.Errorf("%s holds nothing of %s", file, provider)
		}
	}
}

func (r recording) check(t *testing.T, version byte) {
	t.Helper()
	if r.Frame[len(frameMagic)] != version {
		t.Errorf("a frame of version %d", r.Frame[len(frameMagic)])
	}
	s := NewSealer(newTransformer(t, r.Provider), nil)
	obj := decodeFrame(t, NewCodec(objectCodec()), r.Frame)
	if want := bound(r.Namespace, r.Name, string(r.UID), r.Version,
		r.Decrypters...); string(AAD(obj)) != string(AAD(want)) {
		t.Errorf("decoded %s/%s of version %d, not what was recorded", obj.Namespace, obj.Name, obj.Status.Version)
	}
	if obj.Status.Key != r.Key {
		t.Errorf("status.key = %q, want %q", obj.Status.Key, r.Key)
	}
	v, err := s.Open(t.Context(), obj)
	if err != nil || v.Expose() != r.Value {
		t.Fatalf("a value that was sealed once does not open any more: %v", err)
	}
	obj.Name += "x"
	_ = mustNotOpen(t, s, obj)
}

func writeRecordings(t *testing.T) {
	t.Helper()
	var recordings []recording
	for _, provider := range encrypting {
		for name, v := range map[string]string{"short": "s", "unicode": "pässwörd ☃ 0123456789"} {
			s, codec := NewSealer(newTransformer(t, provider), nil), NewCodec(objectCodec())
			obj := mustSeal(t, s, newObject(name, v))
			recordings = append(recordings, recording{
				Provider: provider, Namespace: obj.Namespace, Name: obj.Name, UID: obj.UID, Version: obj.Status.Version,
				Decrypters: obj.Spec.Decrypters, Key: KeyName(obj.Sealed, nil), Value: v,
				Frame: encodeFrame(t, codec, obj),
			})
		}
	}
	raw, err := json.MarshalIndent(recordings, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordedFile, append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
