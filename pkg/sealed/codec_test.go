// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

const testEnvelope = "k8s:enc:aesgcm:v1:key1:ciphertext"

func sealedObject(name string) *secret.SecureValue {
	return withSealed(newObject(name, canary), []byte(testEnvelope))
}

func TestCodecRoundTrip(t *testing.T) {
	codec := NewCodec(objectCodec())
	want := sealedObject("a")
	got := decodeFrame(t, codec, encodeFrame(t, codec, want))

	want.Status.Key = "aesgcm/key1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("round trip changed the object (-want +got):\n%s", diff)
	}
}

func TestCodecRefusesPlaintext(t *testing.T) {
	for name, v := range map[string]*sensitive.Value{"a value": sensitive.New(canary),
		"an empty value": sensitive.New("")} {
		t.Run(name, func(t *testing.T) {
			obj := sealedObject("a")
			obj.Spec.Value = v
			var w bytes.Buffer
			err := NewCodec(objectCodec()).Encode(obj, &w)
			if !errors.Is(err, ErrPlaintext) {
				t.Errorf("error %v, want ErrPlaintext", err)
			}
			if w.Len() != 0 {
				t.Errorf("%d bytes were written", w.Len())
			}
		})
	}
}

func TestCodecNeverStoresKeyName(t *testing.T) {
	codec := NewCodec(objectCodec())
	obj := sealedObject("a")
	obj.Status.Key = "a-key-name-that-somebody-set"
	frame := encodeFrame(t, codec, obj)
	if bytes.Contains(frame, []byte("a-key-name")) {
		t.Error("status.key was stored")
	}
	if obj.Status.Key == "" || obj.Sealed == nil {
		t.Error("Encode changed its argument")
	}
	if got := decodeFrame(t, codec, frame).Status.Key; got != "aesgcm/key1" {
		t.Errorf("status.key = %q, want the name in the envelope", got)
	}
	obj.Sealed = nil
	if got := decodeFrame(t, codec, encodeFrame(t, codec, obj)).Status.Key; got != "" {
		t.Errorf("status.key = %q without an envelope, want none", got)
	}
}

// TestCodecKeepsSealedOutOfObject: the object part alone must hold nothing of the ciphertext.
func TestCodecKeepsSealedOutOfObject(t *testing.T) {
	frame := encodeFrame(t, NewCodec(objectCodec()), sealedObject("a"))
	object, sealed, err := splitFrame(frame)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(object, []byte("k8s:enc:")) {
		t.Error("the object part holds the ciphertext")
	}
	if string(sealed) != testEnvelope {
		t.Errorf("sealed part = %q", sealed)
	}
}

// TestCodecReencodesToSameBytes: the etcd3 store recognises a no-op by it.
func TestCodecReencodesToSameBytes(t *testing.T) {
	codec := NewCodec(objectCodec())
	bare := &secret.SecureValue{Sealed: []byte(testEnvelope)}
	many := sealedObject("many")
	many.Labels = map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}
	many.Annotations = map[string]string{"x": "1", "y": "2", "z": "3"}
	now := metav1.Now().Rfc3339Copy()
	many.DeletionTimestamp, many.CreationTimestamp, many.Finalizers = &now, now, []string{"f/1"}
	for name, obj := range map[string]*secret.SecureValue{"usual": sealedObject("a"), "bare": bare,
		"many fields": many} {
		t.Run(name, func(t *testing.T) {
			first := encodeFrame(t, codec, obj)
			for range 20 {
				if again := encodeFrame(t, codec, decodeFrame(t, codec, first)); !bytes.Equal(first, again) {
					t.Fatalf("encoded again:\n%q\nwant\n%q", again, first)
				}
			}
		})
	}
}

func TestCodecDecodesInto(t *testing.T) {
	codec := NewCodec(objectCodec())
	into := &secret.SecureValue{}
	obj, gvk, err := codec.Decode(encodeFrame(t, codec, sealedObject("a")), nil, into)
	if err != nil {
		t.Fatal(err)
	}
	if obj != runtime.Object(into) || into.Name != "a" || string(into.Sealed) != testEnvelope {
		t.Errorf("decoded %v, not into the given object", obj)
	}
	if gvk == nil || gvk.Kind != "SecureValue" {
		t.Errorf("gvk = %v", gvk)
	}
}

func TestCodecRefusesOtherTypes(t *testing.T) {
	codec := NewCodec(objectCodec())
	var w bytes.Buffer
	for _, obj := range []runtime.Object{&secret.SecureValueList{}, &metav1.Status{}, nil} {
		if err := codec.Encode(obj, &w); err == nil || w.Len() != 0 {
			t.Errorf("%T was encoded (%d bytes), error %v", obj, w.Len(), err)
		}
	}
	list, err := runtime.Encode(objectCodec(), &secret.SecureValueList{})
	if err != nil {
		t.Fatal(err)
	}
	if obj, _, err := codec.Decode(appendFrame(nil, list, nil), nil, nil); err == nil {
		t.Errorf("a frame with a list was decoded to %T", obj)
	}
	if _, _, err := codec.Decode(appendFrame(nil, []byte("no object"), nil), nil, nil); err == nil {
		t.Error("a frame without an object was decoded")
	}
	if _, _, err := codec.Decode(list, nil, nil); !errors.Is(err, ErrFrame) {
		t.Errorf("an unframed record: error %v, want ErrFrame", err)
	}
}

func TestCodecIdentifier(t *testing.T) {
	object := objectCodec()
	if id := NewCodec(object).Identifier(); id == object.Identifier() ||
		!strings.Contains(string(id), string(object.Identifier())) {
		t.Errorf("identifier %q must differ from the object codec's and hold it", id)
	}
}

func FuzzCodecDecode(f *testing.F) {
	codec := NewCodec(objectCodec())
	f.Add(encodeFrame(f, codec, sealedObject("a")))
	f.Add(appendFrame(nil, []byte("k8s\x00"), []byte(testEnvelope)))
	f.Add(appendFrame(nil,
		[]byte(`{"kind":"SecureValue","apiVersion":"secret.grafana.app/v1beta1","spec":{"value":"v"}}`), nil))
	f.Fuzz(func(t *testing.T, record []byte) {
		obj, _, err := codec.Decode(record, nil, nil)
		if err != nil {
			return
		}
		sv := obj.(*secret.SecureValue)
		_, sealed, err := splitFrame(record)
		if err != nil || !bytes.Equal(sv.Sealed, sealed) || sv.Status.Key != KeyName(sealed, nil) {
			t.Fatalf("decoded sealed bytes %q and key %q out of %q", sv.Sealed, sv.Status.Key, record)
		}
		if sv.Spec.Value != nil { // only a record that somebody wrote past this codec
			if err := codec.Encode(sv, &bytes.Buffer{}); !errors.Is(err, ErrPlaintext) {
				t.Fatalf("plaintext was encoded again: %v", err)
			}
			return
		}
		first := encodeFrame(t, codec, sv)
		if again := encodeFrame(t, codec, decodeFrame(t, codec, first)); !bytes.Equal(first, again) {
			t.Fatalf("encoded %q, then %q", first, again)
		}
	})
}

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
	want := "\x00sv\x02\x00\x00\x00\x03\x00\x00\x00\x02objsv"
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
		"version 3":          frame(func(b []byte) { b[3] = 3 }),
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
	f.Add([]byte("\x00sv\x02\x00\x00\x00\x03\x00\x00\x00\x02objsv"))
	f.Add([]byte("\x00sv\x01\xff\xff\xff\xff\x00\x00\x00\x0dobjsv"))
	f.Fuzz(func(t *testing.T, record []byte) {
		object, sealed, err := splitFrame(record)
		if err != nil {
			if object != nil || sealed != nil || !errors.Is(err, ErrFrame) {
				t.Fatalf("splitFrame = %q, %q, %v", object, sealed, err)
			}
			return
		}
		again := appendFrame(nil, object, sealed)
		if isUnfenced(record) {
			again[len(frameMagic)] = unfencedVersion
		}
		if !bytes.Equal(again, record) {
			t.Fatalf("%q is framed again as %q", record, again)
		}
	})
}
