// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/testing/kmsplugin"
)

// openWith opens obj, whose ciphertext is sealed, with the keys of a provider.
func openWith(t *testing.T, s *Sealer, sealed []byte) error {
	t.Helper()
	return mustNotOpen(t, s, withSealed(newObject("a", ""), sealed))
}

// TestOpenFaults: for each provider, what its key's absence, another secret and a changed ciphertext are called.
// Sealers with and without the names of the configuration agree.
func TestOpenFaults(t *testing.T) {
	for _, provider := range encrypting {
		t.Run(provider, func(t *testing.T) {
			sealed := mustSeal(t, newSealer(t, provider), newObject("a", canary)).Sealed
			other := "aesgcm"
			if provider == other {
				other = "secretbox"
			}
			for _, s := range []*Sealer{newSealer(t, other), NewSealer(newTransformer(t, other), nil)} {
				//nolint:errorlint // the sentinel itself
				if err := openWith(t, s, sealed); !errors.Is(err, ErrKeyMissing) || FaultOf(err) != ErrKeyMissing {
					t.Errorf("without the provider: want ErrKeyMissing, got %v", err)
				}
			}
			for _, s := range []*Sealer{newSealer(t, provider), NewSealer(newTransformer(t, provider), nil)} {
				for name, bad := range map[string][]byte{
					"a flipped bit": damaged(sealed), "cut": sealed[:len(sealed)-1],
					"prefix alone": sealed[:bytes.IndexByte(sealed[20:], ':')+21],
				} {
					if err := openWith(t, s, bad); FaultOf(err) != ErrDamaged { //nolint:errorlint // as above
						t.Errorf("%s: want ErrDamaged, got %v", name, err)
					}
				}
			}
		})
	}
	sealed := string(mustSeal(t, newSealer(t, "aesgcm"), newObject("a", canary)).Sealed)
	for name, test := range map[string]struct {
		sealed string
		want   error
	}{
		"another key of the provider": {strings.Replace(sealed, ":key1:", ":key2:", 1), ErrKeyMissing},
		"a name that is not readable": {strings.Replace(sealed, ":key1:", ":\x1b[2J:", 1), ErrDamaged},
		"no envelope":                 {"plaintext", ErrDamaged},
		"half an envelope":            {"k8s:enc:aesgcm:v1:key1", ErrDamaged},
	} {
		//nolint:errorlint // as above
		if err := openWith(t, newSealer(t, "aesgcm"), []byte(test.sealed)); FaultOf(err) != test.want {
			t.Errorf("%s: want %v, got %v", name, test.want, err)
		}
	}
}

// TestFaultsOfAKMS: only what may come back is unavailable.
func TestFaultsOfAKMS(t *testing.T) {
	plugin := kmsplugin.Start(t)
	config := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" +
		"- resources: [securevalues.secret.grafana.app]\n  providers:\n" + plugin.Provider("vault1")
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	writeFile(t, file, config)
	start := func() *Sealer { // a server that has no data key in memory
		p, err := keys.New(t.Context(), keys.Config{File: file, APIServerID: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return NewSealer(p.Transformer(), p)
	}
	sealed := mustSeal(t, start(), newObject("a", canary)).Sealed
	want := func(what string, s *Sealer, fault error) {
		t.Helper()
		if err := openWith(t, s, sealed); FaultOf(err) != fault { //nolint:errorlint // the sentinel itself
			t.Errorf("%s: want %v, got %v", what, fault, err)
		}
	}
	s := start()
	plugin.SetFail(true)
	want("it fails", s, ErrKeyUnavailable)
	want("it never answered", start(), ErrKeyUnavailable)
	//nolint:errorlint // as above
	if _, err := start().Seal(t.Context(), newObject("a", canary), canary); FaultOf(err) != ErrKeyUnavailable {
		t.Errorf("sealing without the plugin: %v", err)
	}
	plugin.SetFail(false)
	plugin.SetWrongKey(true)
	want("it answers with another data key", s, ErrDamaged)
	plugin.SetWrongKey(false)
	plugin.Keys.Forget("key-1")
	want("it has lost its key, and may find it", start(), ErrKeyUnavailable)

	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"cancelled":      {fmt.Errorf("reading: %w", context.Canceled), true},
		"plugin is down": {fmt.Errorf("failed to decrypt DEK, error: %w", status.Error(codes.Unavailable, "no")), true},
		"plugin refuses": {fmt.Errorf("failed to decrypt DEK, error: %w",
			status.Error(codes.InvalidArgument, "not a ciphertext")), false},
		"no protobuf": {errors.New("proto: cannot parse invalid wire-format data"), false},
	} {
		if got := isTransient(test.err); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestFaultOf(t *testing.T) {
	for _, err := range []error{ErrBound, ErrNotEncrypted, ErrFrame, ErrNoEnvelope, ErrKeyName, errUndecodable} {
		if FaultOf(fmt.Errorf("opening: %w", err)) != ErrDamaged { //nolint:errorlint // the sentinel itself
			t.Errorf("%v is not damage", err)
		}
	}
	for _, err := range []error{nil, context.Canceled, ErrNoValue, ErrCompacted, ErrPlaintext} {
		if got := FaultOf(err); got != nil {
			t.Errorf("%v is %v", err, got)
		}
	}
}

// damaged flips a bit in the last byte of the ciphertext proper.
func damaged(sealed []byte) []byte {
	sealed = bytes.Clone(sealed)
	at := len(sealed) - 1
	if bytes.HasPrefix(sealed, []byte("k8s:enc:kms:")) {
		at = bytes.Index(sealed, []byte("vault1:")) + 20
	}
	sealed[at] ^= 1
	return sealed
}
