// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/storage/value"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	kmsmock "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"
)

// upstreamOf is what a transformer would do without the short way.
func upstreamOf(p *Provider) value.Transformer { return p.Transformer().(*transformer).Transformer }

// The second read of a data key takes the short way, and opens the same.
func TestKnownDataKeysTakeTheShortWay(t *testing.T) {
	socket := socketPath(t)
	kmsmock.NewBase64Plugin(t, socket)
	p := newProvider(t, configuration(kms("vault", socket)))
	sealed := seal(t, p, "one")
	keys := p.keys.Load()
	if _, known, _ := keys.open(t.Context(), sealed, testAAD); known {
		t.Error("an envelope that upstream never opened is known")
	}
	opens(t, p, sealed, "one")
	if plain, known, err := keys.open(t.Context(), sealed, testAAD); !known || err != nil || string(plain) != "one" {
		t.Errorf("after one read: %q, %t, %v", plain, known, err)
	}
	again := seal(t, p, "two")
	if plain, known, err := keys.open(t.Context(), again, testAAD); !known || err != nil || string(plain) != "two" {
		t.Errorf("another value of the same data key: %q, %t, %v", plain, known, err)
	}
	if _, known, err := keys.open(t.Context(), sealed, value.DefaultContext("other")); !known || err == nil {
		t.Errorf("another object's AAD: known %t, error %v", known, err)
	}
}

// A data key that another server wrapped is learnt from the plugin's answer.
func TestADataKeyOfAnotherServer(t *testing.T) {
	socket := socketPath(t)
	kmsmock.NewBase64Plugin(t, socket)
	content := configuration(kms("vault", socket))
	sealed := seal(t, newProvider(t, content), "one")
	p := newProvider(t, content)
	opens(t, p, sealed, "one")
	if _, known, _ := p.keys.Load().open(t.Context(), sealed, testAAD); !known {
		t.Error("the data key was not learnt")
	}
}

// A provider that was taken out of the configuration opens nothing any more, known data key or not.
func TestARemovedProviderOpensNothing(t *testing.T) {
	socket := socketPath(t)
	kmsmock.NewBase64Plugin(t, socket)
	p := newProvider(t, configuration(kms("vault", socket)))
	sealed := seal(t, p, "one")
	opens(t, p, sealed, "one")
	p.rewrite(t, configuration(aesgcm("a")))
	if plain, _, err := p.Transformer().TransformFromStorage(t.Context(), sealed, testAAD); err == nil {
		t.Errorf("opened %q", plain)
	}
}

func TestDataKeysAreForgotten(t *testing.T) {
	socket := socketPath(t)
	kmsmock.NewBase64Plugin(t, socket)
	p := newProvider(t, configuration(kms("vault", socket)))
	sealed := seal(t, p, "one")
	opens(t, p, sealed, "one")
	keys := p.keys.Load()
	keys.now = func() time.Time { return time.Now().Add(dataKeyTTL + time.Second) }
	if _, known, _ := keys.open(t.Context(), sealed, testAAD); known {
		t.Error("a data key is known for longer than its time")
	}
	opens(t, p, sealed, "one")
}

// Forged envelopes: whatever upstream refuses, the short way refuses too.
func TestForgedEnvelopes(t *testing.T) {
	socket := socketPath(t)
	kmsmock.NewBase64Plugin(t, socket)
	p := newProvider(t, configuration(kms("vault", socket)))
	sealed := seal(t, p, "one")
	opens(t, p, sealed, "one")
	head := []byte(kmsPrefix + "vault:")
	change := func(edit func(*kmstypes.EncryptedObject)) []byte {
		var object kmstypes.EncryptedObject
		if err := proto.Unmarshal(sealed[len(head):], &object); err != nil {
			t.Fatal(err)
		}
		edit(&object)
		encoded, err := proto.Marshal(&object)
		if err != nil {
			t.Fatal(err)
		}
		return append(bytes.Clone(head), encoded...)
	}
	for name, forged := range map[string][]byte{
		"another provider": bytes.Replace(sealed, []byte(":vault:"), []byte(":other:"), 1),
		"no object":        head,
		"no name":          []byte(kmsPrefix),
		"data twice":       append(bytes.Clone(sealed), 0x0a, 1, 'x'),
		"no data":          change(func(o *kmstypes.EncryptedObject) { o.EncryptedData = nil }),
		"short data":       change(func(o *kmstypes.EncryptedObject) { o.EncryptedData = o.EncryptedData[:8] }),
		"flipped data":     change(func(o *kmstypes.EncryptedObject) { o.EncryptedData[40] ^= 1 }),
		"another data key": change(func(o *kmstypes.EncryptedObject) {
			o.EncryptedDEKSource = []byte(base64.StdEncoding.EncodeToString(make([]byte, 32)))
		}),
		"another type": change(func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSourceType = 0 }),
		"unknown type": change(func(o *kmstypes.EncryptedObject) { o.EncryptedDEKSourceType = 7 }),
	} {
		for range 2 { // the second time with what the first may have taught
			_, _, want := upstreamOf(p).TransformFromStorage(t.Context(), forged, testAAD)
			plain, _, err := p.Transformer().TransformFromStorage(t.Context(), forged, testAAD)
			if err == nil || want == nil {
				t.Errorf("%s: opened %q; upstream says %v", name, plain, want)
			}
		}
	}
}

// FuzzDataKeys changes an envelope anyhow: the short way must open nothing that upstream does not, and to nothing else.
func FuzzDataKeys(f *testing.F) {
	socket := socketPath(f)
	kmsmock.NewBase64Plugin(f, socket)
	p := newProvider(f, configuration(kms("vault", socket)))
	sealed := seal(f, p, "one")
	opens(f, p, sealed, "one")
	f.Add(uint(len(sealed)-1), byte(1), []byte(nil))
	f.Add(uint(0), byte(0), []byte("\x0a\x01x"))
	f.Add(uint(20), byte(0xff), []byte{0x12, 0x00})
	f.Fuzz(func(t *testing.T, at uint, flip byte, more []byte) {
		forged := append(bytes.Clone(sealed), more...)
		forged[at%uint(len(forged))] ^= flip
		want, _, wantErr := upstreamOf(p).TransformFromStorage(t.Context(), forged, testAAD)
		got, _, err := p.Transformer().TransformFromStorage(t.Context(), forged, testAAD)
		if err == nil && (wantErr != nil || !bytes.Equal(got, want)) {
			t.Errorf("opened %q, upstream %q, %v", got, want, wantErr)
		}
		if err != nil && wantErr == nil {
			t.Errorf("refused what upstream opens: %v", err)
		}
	})
}
