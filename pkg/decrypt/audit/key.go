// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

const keyBytes = 32

// keyHint is how to make a key.
const keyHint = "make one with: (umask 077; openssl rand -base64 32 > %s)"

// key makes MACs. It is for one goroutine at a time.
type key struct {
	// id tells keys apart without saying anything of them.
	id   string
	hmac hash.Hash
}

func newKey(secret []byte) *key {
	k := &key{hmac: hmac.New(sha256.New, secret)}
	name := k.mac([]byte("secret-apiserver decrypt audit key id"))
	k.id = hex.EncodeToString(name[:8])
	return k
}

func (k *key) mac(data []byte) (mac MAC) {
	k.hmac.Reset()
	k.hmac.Write(data)
	k.hmac.Sum(mac[:0])
	return mac
}

// Keys are the keys of a key file: the first one writes, all of them verify. They are for one goroutine at a time.
type Keys struct {
	path string
	keys []*key
}

func (k *Keys) current() *key { return k.keys[0] }

// byID returns the key of that id, or nil.
func (k *Keys) byID(id string) *key {
	for _, key := range k.keys {
		if key.id == id {
			return key
		}
	}
	return nil
}

// LoadKeys reads a key file: 32 bytes in base64 a line, the newest key first. Its mode has to be right for credentials.
func LoadKeys(path string) (*Keys, error) {
	data, err := reload.ReadFile(path, reload.Credentials)
	if err != nil {
		return nil, fmt.Errorf("reading the key of the decrypt audit log: %w", err)
	}
	keys := &Keys{path: path}
	for i, text := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		secret, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
		if err != nil || len(secret) != keyBytes {
			return nil, fmt.Errorf("line %d of key file %s is not %d bytes in base64; "+keyHint, i+1, path, keyBytes, path)
		}
		keys.keys = append(keys.keys, newKey(secret))
	}
	return keys, nil
}

// generateKey writes a fresh key file, whole or not at all.
func generateKey(path string) error {
	secret := make([]byte, keyBytes)
	rand.Read(secret) // never fails: it ends the process instead
	if err := atomicfile.WriteNew(path, []byte(base64.StdEncoding.EncodeToString(secret)+"\n")); err != nil {
		return fmt.Errorf("making the key of the decrypt audit log: %w", err)
	}
	return nil
}

// checkApart refuses a key in the folder of the log or below it: whoever may write there could forge the log.
func checkApart(keyFile, logDir string) error {
	keyPath, err := resolve(keyFile)
	if err != nil {
		return fmt.Errorf("the decrypt audit key: %w", err)
	}
	logPath, err := resolve(logDir)
	if err != nil {
		return fmt.Errorf("the folder of the decrypt audit log: %w", err)
	}
	relative, err := filepath.Rel(logPath, keyPath)
	if err == nil && relative != ".." && !strings.HasPrefix(relative, "../") {
		return fmt.Errorf("the decrypt audit key %s lies in the folder of the log, %s: keep it elsewhere, so that writing the log is not enough to forge it", keyFile, logDir)
	}
	return nil
}

// resolve follows symbolic links. The last element need not exist.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	followed, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		followed, err = filepath.EvalSymlinks(filepath.Dir(path))
		followed = filepath.Join(followed, filepath.Base(path))
	}
	return followed, err
}
