// SPDX-License-Identifier: Apache-2.0

package kmsplugin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// keyBytes makes AES-256.
const keyBytes = 32

// Keyring holds named keys and wraps with one of them. It is what a KMS behind a plugin is.
type Keyring struct {
	mu      sync.Mutex
	file    string // "" for memory only
	current string
	keys    map[string][]byte
}

// NewKeyring returns a keyring in memory whose current key has a new random secret.
func NewKeyring(current string) *Keyring {
	k := &Keyring{keys: map[string][]byte{}}
	k.use(current)
	return k
}

// OpenKeyring reads a keyring from a file, creates it when there is none, and makes current its current key.
func OpenKeyring(file, current string) (*Keyring, error) {
	k := &Keyring{file: file, keys: map[string][]byte{}}
	data, err := os.ReadFile(file) //nolint:gosec // named by who runs the plugin
	if err == nil {
		err = json.Unmarshal(data, &k.keys)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return k, k.Use(current)
}

// Use makes id the current key. One that is not there yet gets a new random secret.
func (k *Keyring) Use(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.use(id)
	if k.file == "" {
		return nil
	}
	data, err := json.Marshal(k.keys)
	if err != nil {
		return err
	}
	return os.WriteFile(k.file, data, 0o600)
}

func (k *Keyring) use(id string) {
	if k.keys[id] == nil {
		key := make([]byte, keyBytes)
		_, _ = rand.Read(key) // never fails
		k.keys[id] = key
	}
	k.current = id
}

// Forget destroys a key. What it wrapped cannot be unwrapped any more.
func (k *Keyring) Forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, id)
}

// Current names the key that wraps.
func (k *Keyring) Current() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// Wrap encrypts under a key and binds the result to the key's name.
func (k *Keyring) Wrap(id string, plain []byte) ([]byte, error) {
	aead, err := k.aead(id)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, []byte(id)), nil //nolint:gosec // the AEAD draws a nonce for each message
}

// Unwrap reverses Wrap. It fails for another key's ciphertext.
func (k *Keyring) Unwrap(id string, wrapped []byte) ([]byte, error) {
	aead, err := k.aead(id)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, wrapped, []byte(id))
	if err != nil {
		return nil, fmt.Errorf("key %q does not unwrap this: %w", id, err)
	}
	return plain, nil
}

func (k *Keyring) aead(id string) (cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[id]
	if !ok {
		return nil, fmt.Errorf("no key %q", id)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
