// SPDX-License-Identifier: Apache-2.0

package sealing

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// Suite is the first part of every text of this package.
	Suite = "sv1"
	// MaxTextBytes is the maximum size of a text.
	MaxTextBytes = 40 * 1024
	// MaxValueBytes is the maximum size of a value that the server accepts. It accepts UTF-8, and no empty value.
	MaxValueBytes = 24576
	overhead      = 1120 + 4 + 16 // bytes that a ciphertext adds to the padded value: enc, length, tag
	maxNotAfter   = 253402300799  // 9999-12-31T23:59:59Z, the last second that RFC 3339 can write
)

// ErrNotForThis is the only error of PrivateKey.Open, whatever differs: key, object, decrypters, date or a single bit.
// Parse returns it too, so that a cut text is not told apart by where it was cut.
var ErrNotForThis = errors.New("the text was changed, or sealed for another object, list of decrypters or date")

// Binding is what a text is sealed for.
type Binding struct {
	Namespace, Name string    // of the object; not empty
	Decrypters      []string  // a set: order and duplicates do not matter
	NotAfter        time.Time // when the text expires, in whole seconds from 1970 to the year 9999; zero: never
}

func (b Binding) info(keyID, notAfter string) []byte {
	decrypters := slices.Compact(slices.Sorted(slices.Values(b.Decrypters)))
	list := append([]string{"secret.grafana.app/" + Suite, keyID, b.Namespace, b.Name, notAfter}, decrypters...)
	info := number(len(list))
	for _, element := range list {
		info = append(append(info, number(len(element))...), element...)
	}
	return info
}

// PublicKey seals. It is safe for concurrent use.
type PublicKey struct {
	key hpke.PublicKey
	sum [sha256.Size]byte
}

// ParsePublicKey takes the 1216 bytes of PublicKey.Bytes.
func ParsePublicKey(raw []byte) (*PublicKey, error) {
	key, err := hpke.MLKEM768X25519().NewPublicKey(raw)
	if err != nil {
		return nil, errors.New("invalid public key: expected the 1216 bytes of an MLKEM768-X25519 key")
	}
	return &PublicKey{key, sha256.Sum256(raw)}, nil
}

// ID returns the 16 hexadecimal digits that name the key in a text.
func (p *PublicKey) ID() string { return fmt.Sprintf("%x", p.sum[:8]) }

// Bytes returns the 1216 bytes that ParsePublicKey takes.
func (p *PublicKey) Bytes() []byte { return p.key.Bytes() }

// Fingerprint returns "SHA256:" and the hash of Bytes in base64 without padding, as ssh-keygen prints it.
func (p *PublicKey) Fingerprint() string {
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(p.sum[:])
}

// Seal returns a text that opens to value for this binding only; each call returns a different one. The server's rules
// for values are not applied. Seal fails if the binding is invalid, or the text would be longer than MaxTextBytes.
func (p *PublicKey) Seal(value []byte, b Binding) (string, error) {
	notAfter, err := formatNotAfter(b.NotAfter)
	if err != nil {
		return "", err
	}
	if b.Namespace == "" || b.Name == "" {
		return "", errors.New("a value is sealed for one object: namespace and name must not be empty")
	}
	plaintext := slices.Concat(number(len(value)), value, make([]byte, padded(int64(len(value)))-int64(len(value))))
	ciphertext, err := hpke.Seal(p.key, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(p.ID(), notAfter), plaintext)
	if err != nil {
		return "", fmt.Errorf("cannot seal with public key %s: %w", p.ID(), err)
	}
	text := Suite + ":" + p.ID() + ":" + notAfter + ":" + base64.RawURLEncoding.EncodeToString(ciphertext)
	if len(text) > MaxTextBytes {
		return "", fmt.Errorf("value too long: at most %d bytes", MaxValueBytes)
	}
	return text, nil
}

// PrivateKey opens. It is safe for concurrent use.
type PrivateKey struct {
	key    func() hpke.PrivateKey // a function, since fmt prints none
	public *PublicKey
}

// GenerateKey makes a new key.
func GenerateKey() (*PrivateKey, error) {
	seed := make([]byte, 32)
	rand.Read(seed) // never fails
	return ParsePrivateKey(seed)
}

// ParsePrivateKey takes the 32 bytes of PrivateKey.Bytes. Its error does not contain them.
func ParsePrivateKey(raw []byte) (*PrivateKey, error) {
	key, err := hpke.MLKEM768X25519().NewPrivateKey(raw)
	if err != nil {
		return nil, errors.New("invalid private key: expected the 32 bytes of an MLKEM768-X25519 key")
	}
	public, err := ParsePublicKey(key.PublicKey().Bytes())
	return &PrivateKey{func() hpke.PrivateKey { return key }, public}, err
}

// Bytes returns the 32 bytes that ParsePrivateKey takes.
func (k *PrivateKey) Bytes() []byte {
	raw, _ := k.key().Bytes() // fails only for a key without a seed
	return bytes.Clone(raw)
}

// Public returns the key that seals for this one.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// Open returns the value, or ErrNotForThis. It compares b.NotAfter with that of the text, not with a clock: callers do.
// The server's rules for values are not applied: the result may be empty, longer than MaxValueBytes, or not UTF-8.
func (k *PrivateKey) Open(t Text, b Binding) ([]byte, error) {
	keyID := k.public.ID()
	notAfter, _ := formatNotAfter(b.NotAfter) // an invalid one is not that of any text
	plaintext, err := hpke.Open(k.key(), hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(keyID, notAfter), t.ciphertext)
	if err != nil || t.keyID != keyID || !t.notAfter.Equal(b.NotAfter) || len(plaintext) < 4 {
		return nil, ErrNotForThis
	}
	length, rest := int64(binary.BigEndian.Uint32(plaintext)), plaintext[4:]
	if int64(len(rest)) != padded(length) || len(bytes.Trim(rest[length:], "\x00")) > 0 {
		return nil, ErrNotForThis
	}
	return rest[:length:length], nil
}

func number(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) } //nolint:gosec // far below 1<<32

// padded returns the size of a value and its zeros.
func padded(length int64) int64 {
	if length <= 512 {
		return 256 * max(1, (length+255)/256)
	}
	return (length + 1023) / 1024 * 1024
}

func formatNotAfter(t time.Time) (string, error) {
	if t.IsZero() {
		return "", nil
	}
	if t.Nanosecond() != 0 || t.Unix() < 1 || t.Unix() > maxNotAfter {
		return "", errors.New("invalid notAfter: expected whole seconds from 1970 to the year 9999")
	}
	return strconv.FormatInt(t.Unix(), 10), nil
}

// Text is a parsed text.
type Text struct {
	text, keyID string
	notAfter    time.Time
	ciphertext  []byte
}

// Parse accepts the one spelling of a text. Its errors say which part is wrong and never quote it; it is ErrNotForThis
// for a ciphertext of the right characters that was cut or changed.
func Parse(text string) (Text, error) {
	if len(text) > MaxTextBytes {
		return Text{}, fmt.Errorf("text too long: at most %d bytes", MaxTextBytes)
	}
	parts := strings.Split(text, ":")
	if len(parts) != 4 {
		return Text{}, errors.New("expected four parts, sv1:KEY-ID:NOT-AFTER:CIPHERTEXT")
	}
	if parts[0] != Suite {
		return Text{}, errors.New("unknown suite: the first part must be " + Suite)
	}
	t := Text{text: text, keyID: parts[1]}
	if len(t.keyID) != 16 || strings.Trim(t.keyID, "0123456789abcdef") != "" {
		return Text{}, errors.New("invalid key id: the second part must be 16 hexadecimal digits in lower case")
	}
	if seconds, _ := strconv.ParseInt(parts[2], 10, 64); parts[2] != "" {
		t.notAfter = time.Unix(seconds, 0).UTC()
	}
	if spelled, err := formatNotAfter(t.notAfter); err != nil || spelled != parts[2] {
		return Text{}, errors.New("invalid notAfter: the third part must be empty, or Unix seconds to the year 9999")
	}
	if strings.Trim(parts[3], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return Text{}, errors.New("invalid ciphertext: the fourth part must be base64url, no padding or line breaks")
	}
	t.ciphertext, _ = base64.RawURLEncoding.DecodeString(parts[3]) // ignores trailing bits
	if parts[3] == "" || base64.RawURLEncoding.EncodeToString(t.ciphertext) != parts[3] {
		return Text{}, ErrNotForThis
	}
	return t, nil
}

// String returns the text that was parsed.
func (t Text) String() string { return t.text }

// Suite returns the suite.
func (t Text) Suite() string { return Suite }

// KeyID returns the PublicKey.ID of the key that the text was sealed with.
func (t Text) KeyID() string { return t.keyID }

// NotAfter returns when the text expires, in UTC. Zero: never. Only Open shows that the date was not changed.
func (t Text) NotAfter() time.Time { return t.notAfter }

// SizeClass returns the size in bytes that the value was padded to. 0: the text was cut, no value gives its length.
func (t Text) SizeClass() int {
	if size := int64(len(t.ciphertext)) - overhead; size > 0 && padded(size) == size {
		return int(size)
	}
	return 0
}
