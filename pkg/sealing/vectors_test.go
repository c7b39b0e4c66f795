// SPDX-License-Identifier: Apache-2.0

package sealing

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/sv1.json: only for a new suite, never to make this test pass")

var vectorsFile = filepath.Join("testdata", "sv1.json")

// vectors is testdata/sv1.json, described in testdata/README.md.
type vectors struct {
	PrivateKey  string   `json:"privateKey"`
	PublicKey   []byte   `json:"publicKey"`
	KeyID       string   `json:"keyID"`
	Fingerprint string   `json:"fingerprint"`
	Texts       []vector `json:"texts"`
	Refused     []vector `json:"refused"`
	Malformed   []vector `json:"malformed"`
}

type vector struct {
	Name       string   `json:"name"`
	Namespace  string   `json:"namespace,omitempty"`
	Object     string   `json:"object,omitempty"`
	Decrypters []string `json:"decrypters,omitempty"`
	NotAfter   int64    `json:"notAfter,omitempty"`
	Value      []byte   `json:"value,omitempty"`
	Info       string   `json:"info,omitempty"`
	SizeClass  int      `json:"sizeClass,omitempty"`
	Text       string   `json:"text"`
}

func (v vector) binding() Binding {
	b := Binding{Namespace: v.Namespace, Name: v.Object, Decrypters: v.Decrypters}
	if v.NotAfter != 0 {
		b.NotAfter = time.Unix(v.NotAfter, 0)
	}
	return b
}

func readVectors(t *testing.T) (vectors, *PrivateKey) {
	t.Helper()
	raw, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", vectorsFile, err)
	}
	seed, err := hex.DecodeString(v.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return v, key
}

// TestRecordedTextsOpen: what was sealed once must open for ever, also after Go has changed its hybrid KEM, a draft.
func TestRecordedTextsOpen(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	v, key := readVectors(t)
	if key.Public().ID() != v.KeyID || key.Public().Fingerprint() != v.Fingerprint ||
		string(key.Public().Bytes()) != string(v.PublicKey) {
		t.Errorf("the private key gives another public key: %s", key.Public().Fingerprint())
	}
	if public, err := ParsePublicKey(v.PublicKey); err != nil || public.ID() != v.KeyID {
		t.Errorf("the recorded public key: %v", err)
	}
	if len(v.Texts) < 10 || len(v.Refused) < 10 || len(v.Malformed) < 10 {
		t.Errorf("%d texts, %d refused, %d malformed: too few", len(v.Texts), len(v.Refused), len(v.Malformed))
	}
	for _, recorded := range v.Texts {
		parsed := parse(t, recorded.Text)
		value, err := key.Open(parsed, recorded.binding())
		if err != nil || string(value) != string(recorded.Value) || parsed.SizeClass() != recorded.SizeClass {
			t.Errorf("%s: %d bytes of class %d: %v", recorded.Name, len(value), parsed.SizeClass(), err)
		}
		date, _ := formatNotAfter(parsed.NotAfter())
		if info := hex.EncodeToString(recorded.binding().info(v.KeyID, date)); info != recorded.Info {
			t.Errorf("%s: info %s, want %s", recorded.Name, info, recorded.Info)
		}
	}
	for _, recorded := range v.Refused {
		if _, err := key.Open(parse(t, recorded.Text), recorded.binding()); !errors.Is(err, ErrNotForThis) {
			t.Errorf("%s: %v", recorded.Name, err)
		}
	}
	for _, recorded := range v.Malformed {
		if _, err := Parse(recorded.Text); err == nil {
			t.Errorf("%s: parsed", recorded.Name)
		}
	}
}

// TestAnotherLanguage lets an implementation in Python, on OpenSSL, check the vectors, and opens what it sealed.
func TestAnotherLanguage(t *testing.T) {
	const probe = "from cryptography.hazmat.primitives.hpke import KEM; KEM.MLKEM768_X25519"
	if out, err := exec.CommandContext(t.Context(), "python3", "-c", probe).CombinedOutput(); err != nil {
		t.Skipf("needs Python with cryptography 47 or later: %s", out)
	}
	script := filepath.Join("testdata", "sv1.py")
	command := exec.CommandContext(t.Context(), "python3", script, vectorsFile)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	_, key := readVectors(t)
	value, err := key.Open(parse(t, strings.TrimSpace(string(out))), Binding{Namespace: "ns", Name: "from-python",
		Decrypters: []string{"b", "a", "b"}, NotAfter: time.Unix(1893456000, 0)})
	if err != nil || string(value) != "sealed in Python" {
		t.Errorf("opened to %q: %v", value, err)
	}
}
