// SPDX-License-Identifier: Apache-2.0

package sealing

import (
	"bytes"
	"crypto/hpke"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const canary = "canary-7f3a of a value"

var (
	someDate    = time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	someBinding = Binding{Namespace: "prod", Name: "db", Decrypters: []string{"k6-cloud", "billing"},
		NotAfter: someDate}
)

func newKey(tb testing.TB) *PrivateKey {
	tb.Helper()
	key, err := GenerateKey()
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func seal(tb testing.TB, key *PublicKey, value string, b Binding) string {
	tb.Helper()
	text, err := key.Seal([]byte(value), b)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func parse(tb testing.TB, text string) Text {
	tb.Helper()
	parsed, err := Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return parsed
}

// TestSealOpen: each size opens to itself, with a length that shows its size class only.
func TestSealOpen(t *testing.T) {
	key := newKey(t)
	for size, class := range map[int]int{0: 256, 1: 256, 255: 256, 256: 256, 257: 512, 512: 512, 513: 1024, 1024: 1024,
		1025: 2048, 2049: 3072, MaxValueBytes - 1: MaxValueBytes, MaxValueBytes: MaxValueBytes,
		MaxValueBytes + 1: 25600} {
		value := strings.Repeat("é", size)[:size] // odd sizes end in the middle of a character
		text := seal(t, key.Public(), value, someBinding)
		parsed := parse(t, text)
		if parsed.String() != text || parsed.Suite() != Suite || parsed.KeyID() != key.Public().ID() ||
			!parsed.NotAfter().Equal(someDate) || parsed.SizeClass() != class {
			t.Errorf("%d bytes: parsed as suite %s, key %s, %v, class %d", size, parsed.Suite(), parsed.KeyID(),
				parsed.NotAfter(), parsed.SizeClass())
		}
		if got, err := key.Open(parsed, someBinding); err != nil || string(got) != value {
			t.Errorf("%d bytes opened to %d: %v", size, len(got), err)
		}
		if text == seal(t, key.Public(), value, someBinding) {
			t.Errorf("%d bytes: sealed twice to the same text", size)
		}
	}
	longest := seal(t, key.Public(), strings.Repeat("x", MaxValueBytes), someBinding)
	if len(longest) > 34400 {
		t.Errorf("the longest value becomes %d characters", len(longest))
	}
	if _, err := key.Public().Seal(make([]byte, 30000), someBinding); err == nil {
		t.Error("sealed a text longer than MaxTextBytes")
	}
}

// TestOpenRefuses: every difference has the same answer.
func TestOpenRefuses(t *testing.T) {
	key, other := newKey(t), newKey(t)
	text := seal(t, key.Public(), canary, someBinding)
	for what, change := range map[string]func(*Binding){
		"namespace":           func(b *Binding) { b.Namespace = "prod2" },
		"name":                func(b *Binding) { b.Name = "db2" },
		"name and namespace":  func(b *Binding) { b.Namespace, b.Name = "pro", "ddb" },
		"decrypter added":     func(b *Binding) { b.Decrypters = append(b.Decrypters, "x") },
		"decrypter removed":   func(b *Binding) { b.Decrypters = b.Decrypters[:1] },
		"decrypters joined":   func(b *Binding) { b.Decrypters = []string{"billingk6-cloud"} },
		"no decrypters":       func(b *Binding) { b.Decrypters = nil },
		"later":               func(b *Binding) { b.NotAfter = b.NotAfter.Add(time.Second) },
		"never":               func(b *Binding) { b.NotAfter = time.Time{} },
		"part of a second":    func(b *Binding) { b.NotAfter = b.NotAfter.Add(time.Millisecond) },
		"name into decrypter": func(b *Binding) { b.Decrypters = append(b.Decrypters, "db") },
	} {
		b := someBinding
		b.Decrypters = append([]string{}, b.Decrypters...)
		change(&b)
		if value, err := key.Open(parse(t, text), b); value != nil || !errors.Is(err, ErrNotForThis) {
			t.Errorf("%s: %v", what, err)
		}
	}
	parts := strings.Split(text, ":")
	for what, changed := range map[string]string{
		"key id":        "sv1:0000000000000000:" + parts[2] + ":" + parts[3],
		"another key":   "sv1:" + other.Public().ID() + ":" + parts[2] + ":" + parts[3],
		"date":          "sv1:" + parts[1] + ":" + "1" + parts[2] + ":" + parts[3],
		"date gone":     "sv1:" + parts[1] + "::" + parts[3],
		"cut":           cut(text, 1395),
		"cut to enc":    cut(text, 1120),
		"cut in enc":    cut(text, 1119),
		"one character": text[:strings.LastIndex(text, ":")+5],
		"longer":        text[:len(text)-2] + "AAAA",
	} {
		if value, err := key.Open(parse(t, changed), someBinding); value != nil || !errors.Is(err, ErrNotForThis) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := other.Open(parse(t, text), someBinding); !errors.Is(err, ErrNotForThis) {
		t.Errorf("another key: %v", err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[3])
	for i := 0; i < len(raw); i += 37 {
		flipped := bytes.Clone(raw)
		flipped[i] ^= 1
		changed := strings.Join(parts[:3], ":") + ":" + base64.RawURLEncoding.EncodeToString(flipped)
		if _, err := key.Open(parse(t, changed), someBinding); !errors.Is(err, ErrNotForThis) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
}

// cut returns a text with the first bytes of its ciphertext.
func cut(text string, size int) string {
	head := strings.LastIndex(text, ":") + 1
	raw, _ := base64.RawURLEncoding.DecodeString(text[head:])
	return text[:head] + base64.RawURLEncoding.EncodeToString(raw[:size])
}

func TestDecryptersAreSet(t *testing.T) {
	key, b := newKey(t), someBinding
	b.Decrypters = []string{"k6-cloud", "billing", "k6-cloud"}
	text := parse(t, seal(t, key.Public(), canary, b))
	if strings.Join(b.Decrypters, " ") != "k6-cloud billing k6-cloud" {
		t.Error("Seal sorted the caller's list")
	}
	b.Decrypters = []string{"billing", "billing", "k6-cloud"}
	if value, err := key.Open(text, b); err != nil || string(value) != canary {
		t.Errorf("reordered: %v", err)
	}
	none := seal(t, key.Public(), canary, Binding{Namespace: "prod", Name: "db"})
	if _, err := key.Open(parse(t, none), Binding{Namespace: "prod", Name: "db", Decrypters: []string{}}); err != nil {
		t.Errorf("nil and empty decrypters differ: %v", err)
	}
}

// TestFraming: a plaintext that Seal would not have made does not open, though it was sealed with the public key.
func TestFraming(t *testing.T) {
	key := newKey(t)
	for what, plaintext := range map[string]string{
		"empty":              "",
		"no length":          "\x00\x00\x00",
		"no padding":         "\x00\x00\x00\x02ab",
		"no value":           "\x00\x00\x00\x00",
		"next size class":    "\x00\x00\x00\x02ab" + strings.Repeat("\x00", 510),
		"one zero too many":  "\x00\x00\x00\x02ab" + strings.Repeat("\x00", 255),
		"other padding":      "\x00\x00\x00\x02ab" + strings.Repeat("\x00", 253) + "x",
		"longer than itself": "\x00\x00\x01\x01" + strings.Repeat("x", 256),
		"largest length":     "\xff\xff\xff\xff" + strings.Repeat("x", 256),
	} {
		if _, err := key.Open(parse(t, sealRaw(t, key.Public(), plaintext, someBinding)), someBinding); !errors.Is(err,
			ErrNotForThis) {
			t.Errorf("%s: %v", what, err)
		}
	}
	framed := "\x00\x00\x00\x02ab" + strings.Repeat("\x00", 254)
	if value, err := key.Open(parse(t, sealRaw(t, key.Public(), framed, someBinding)), someBinding); err != nil ||
		string(value) != "ab" {
		t.Errorf("the right frame: %v", err)
	}
}

// sealRaw seals any plaintext, by the package doc and not by this package's own code.
func sealRaw(tb testing.TB, key *PublicKey, plaintext string, b Binding) string {
	tb.Helper()
	date := fmt.Sprint(b.NotAfter.Unix())
	info := "\x00\x00\x00\x07" + "\x00\x00\x00\x16secret.grafana.app/sv1" + "\x00\x00\x00\x10" + key.ID()
	for _, element := range []string{b.Namespace, b.Name, date, "billing", "k6-cloud"} {
		info += string(binary.BigEndian.AppendUint32(nil, uint32(len(element)))) + element
	}
	public, err := hpke.MLKEM768X25519().NewPublicKey(key.Bytes())
	if err != nil {
		tb.Fatal(err)
	}
	ciphertext, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), []byte(plaintext))
	if err != nil {
		tb.Fatal(err)
	}
	return "sv1:" + key.ID() + ":" + date + ":" + base64.RawURLEncoding.EncodeToString(ciphertext)
}

func TestSealRefuses(t *testing.T) {
	public := newKey(t).Public()
	for what, b := range map[string]Binding{
		"no namespace":     {Name: "db"},
		"no name":          {Namespace: "prod"},
		"part of a second": {Namespace: "prod", Name: "db", NotAfter: someDate.Add(1)},
		"1970":             {Namespace: "prod", Name: "db", NotAfter: time.Unix(0, 0)},
		"year 10000":       {Namespace: "prod", Name: "db", NotAfter: time.Unix(maxNotAfter+1, 0)},
	} {
		if text, err := public.Seal([]byte(canary), b); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: sealed %d characters: %v", what, len(text), err)
		}
	}
	lowOrder := append(public.Bytes()[:1184], make([]byte, 32)...)
	if key, err := ParsePublicKey(lowOrder); err == nil {
		if _, err := key.Seal([]byte(canary), someBinding); err == nil {
			t.Error("sealed with an X25519 point of low order")
		}
	}
}

func TestKeys(t *testing.T) {
	key := newKey(t)
	again, err := ParsePrivateKey(key.Bytes())
	if err != nil || !bytes.Equal(again.Public().Bytes(), key.Public().Bytes()) {
		t.Fatalf("a private key parses to another one: %v", err)
	}
	if value, err := again.Open(parse(t, seal(t, key.Public(), canary, someBinding)), someBinding); err != nil ||
		string(value) != canary {
		t.Errorf("the parsed key does not open: %v", err)
	}
	again.Bytes()[0]++
	again.Public().Bytes()[0]++
	if !bytes.Equal(again.Bytes(), key.Bytes()) || !bytes.Equal(again.Public().Bytes(), key.Public().Bytes()) {
		t.Error("Bytes shares its memory with the key")
	}
	for _, size := range []int{0, 31, 33, 1215, 1217} {
		if _, err := ParsePrivateKey(make([]byte, size)); err == nil {
			t.Errorf("a private key of %d bytes", size)
		}
		if _, err := ParsePublicKey(make([]byte, size)); err == nil {
			t.Errorf("a public key of %d bytes", size)
		}
	}
	if _, err := ParsePublicKey(bytes.Repeat([]byte{0xff}, 1216)); err == nil {
		t.Error("a public key that is not reduced")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		printed := fmt.Sprintf(verb, key) + fmt.Sprintf(verb, *key) + fmt.Sprintf(verb, struct{ K *PrivateKey }{key})
		for _, seed := range []string{hex.EncodeToString(key.Bytes()), fmt.Sprintf("%d", key.Bytes())} {
			if strings.Contains(printed, strings.Trim(seed, "[]")) {
				t.Errorf("%s prints a private key", verb)
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	key := newKey(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			text, err := key.Public().Seal([]byte(canary), someBinding)
			if err != nil {
				t.Error(err)
				return
			}
			parsed, err := Parse(text)
			value, openErr := key.Open(parsed, someBinding)
			if err != nil || openErr != nil || string(value) != canary {
				t.Error(err, openErr)
			}
		})
	}
	group.Wait()
}
