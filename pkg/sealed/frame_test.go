// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"errors"
	"testing"
)

func TestFrameRoundTrip(t *testing.T) {
	for name, tc := range map[string]struct{ object, sealed string }{
		"both":      {"object", "k8s:enc:sealed"},
		"no object": {"", "k8s:enc:sealed"},
		"no sealed": {"object", ""},
		"empty":     {"", ""},
		"zeros":     {"\x00\x00sv", "\x00sv\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			frame := appendFrame(nil, []byte(tc.object), []byte(tc.sealed))
			object, sealed, err := splitFrame(frame)
			if err != nil || string(object) != tc.object || string(sealed) != tc.sealed {
				t.Errorf("splitFrame = %q, %q, %v", object, sealed, err)
			}
			if got := appendFrame([]byte("before"), object, sealed); string(got) != "before"+string(frame) {
				t.Errorf("appendFrame does not append: %q", got)
			}
			if cap(object) != len(object) {
				t.Error("appending to the object would overwrite the sealed value")
			}
		})
	}
}

// TestFrameBytes fixes the layout: records of this shape exist.
func TestFrameBytes(t *testing.T) {
	want := "\x00sv\x01\x00\x00\x00\x03\x00\x00\x00\x02objsv"
	if got := appendFrame(nil, []byte("obj"), []byte("sv")); string(got) != want {
		t.Errorf("appendFrame = %q, want %q", got, want)
	}
}

func TestSplitFrameRefusesEveryOtherLength(t *testing.T) {
	frame := appendFrame(nil, []byte("object"), []byte("k8s:enc:sealed"))
	for n := range frame {
		if _, _, err := splitFrame(frame[:n]); !errors.Is(err, ErrFrame) {
			t.Errorf("cut to %d bytes: error %v, want ErrFrame", n, err)
		}
	}
	for surplus := range 256 {
		if _, _, err := splitFrame(append(bytes.Clone(frame), byte(surplus))); !errors.Is(err, ErrFrame) {
			t.Errorf("surplus byte %#x: error %v, want ErrFrame", surplus, err)
		}
	}
}

func TestSplitFrameRefusesOtherRecords(t *testing.T) {
	frame := func(change func(b []byte)) []byte {
		b := appendFrame(nil, []byte("object"), []byte("sealed"))
		change(b)
		return b
	}
	for name, record := range map[string][]byte{
		"nil":                nil,
		"plain protobuf":     []byte("k8s\x00\x0a\x0b and what follows in a record of upstream's codec"),
		"plain JSON":         []byte(`{"kind":"SecureValue","apiVersion":"secret.grafana.app/v1beta1"}`),
		"magic byte 0":       frame(func(b []byte) { b[0] = 1 }),
		"magic byte 1":       frame(func(b []byte) { b[1] = 'S' }),
		"magic byte 2":       frame(func(b []byte) { b[2] = 0 }),
		"version 0":          frame(func(b []byte) { b[3] = 0 }),
		"version 2":          frame(func(b []byte) { b[3] = 2 }),
		"object too long":    frame(func(b []byte) { b[7]++ }),
		"object too short":   frame(func(b []byte) { b[7]-- }),
		"sealed too long":    frame(func(b []byte) { b[11]++ }),
		"sealed too short":   frame(func(b []byte) { b[11]-- }),
		"lengths that wrap":  frame(func(b []byte) { copy(b[4:], "\xff\xff\xff\xff\x00\x00\x00\x0d") }),
		"both lengths huge":  frame(func(b []byte) { copy(b[4:], "\xff\xff\xff\xff\xff\xff\xff\xff") }),
		"encrypted by etcd3": []byte("k8s:enc:aesgcm:v1:key1:0123456789abcdef"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := splitFrame(record); !errors.Is(err, ErrFrame) {
				t.Errorf("error %v, want ErrFrame", err)
			}
		})
	}
}

func FuzzSplitFrame(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x00sv\x01\x00\x00\x00\x03\x00\x00\x00\x02objsv"))
	f.Add([]byte("\x00sv\x01\xff\xff\xff\xff\x00\x00\x00\x0dobjsv"))
	f.Fuzz(func(t *testing.T, record []byte) {
		object, sealed, err := splitFrame(record)
		if err != nil {
			if object != nil || sealed != nil || !errors.Is(err, ErrFrame) {
				t.Fatalf("splitFrame = %q, %q, %v", object, sealed, err)
			}
			return
		}
		if again := appendFrame(nil, object, sealed); !bytes.Equal(again, record) {
			t.Fatalf("%q is framed again as %q", record, again)
		}
	})
}
