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
	"os"
	"path/filepath"
	"strings"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

const keyBytes = 32

// keyHint is how to generate a key.
const keyHint = "generate one with: (umask 077; openssl rand -base64 32 > %s)"

// key computes MACs. It is not safe for concurrent use.
type key struct {
	// id identifies the key without revealing it.
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

// Keys are the keys of a key file: the first one writes, all of them verify. They are not safe for concurrent use.
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

// loadKeys reads the key file, or generates it when that is allowed and the log is absent.
func (c Config) loadKeys() (*Keys, error) {
	if err := checkApart(c.KeyFile, c.dir()); err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.KeyFile); !c.GenerateKey || !errors.Is(err, os.ErrNotExist) {
		return LoadKeys(c.KeyFile)
	}
	older, err := olderFiles(c.Path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(c.Path); err == nil || len(older) > 0 {
		return nil, fmt.Errorf("the key %s of the decrypt audit log is missing but the log %s exists: "+
			"restore the key, or move all files of the log away", c.KeyFile, c.Path)
	}
	if err := generateKey(c.KeyFile); err != nil {
		return nil, err
	}
	klog.InfoS("Generated a key for the decrypt audit log; keep a copy where the log is verified", "file", c.KeyFile)
	return LoadKeys(c.KeyFile)
}

// LoadKeys reads a key file: 32 bytes in base64 per line, the newest key first. Its mode must be that of credentials.
func LoadKeys(path string) (*Keys, error) {
	data, err := reload.ReadFile(path, reload.Credentials)
	if err != nil {
		return nil, fmt.Errorf("reading the key of the decrypt audit log: %w", err)
	}
	keys := &Keys{path: path}
	for i, text := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		secret, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
		if err != nil || len(secret) != keyBytes {
			return nil, fmt.Errorf("line %d of key file %s is not %d bytes in base64; "+keyHint,
				i+1, path, keyBytes, path)
		}
		keys.keys = append(keys.keys, newKey(secret))
	}
	return keys, nil
}

// generateKey writes a new key file, whole or not at all.
func generateKey(path string) error {
	secret := make([]byte, keyBytes)
	rand.Read(secret) // never fails: it ends the process instead
	if err := atomicfile.WriteNew(path, []byte(base64.StdEncoding.EncodeToString(secret)+"\n")); err != nil {
		return fmt.Errorf("generating the key of the decrypt audit log: %w", err)
	}
	return nil
}

// checkApart refuses a key in or below the log directory: write access to the log must not be enough to forge it.
func checkApart(keyFile, logDir string) error {
	keyPath, err := resolve(keyFile)
	if err != nil {
		return fmt.Errorf("decrypt audit key: %w", err)
	}
	logPath, err := resolve(logDir)
	if err != nil {
		return fmt.Errorf("decrypt audit log directory: %w", err)
	}
	relative, err := filepath.Rel(logPath, keyPath)
	if err == nil && relative != ".." && !strings.HasPrefix(relative, "../") {
		return fmt.Errorf("the decrypt audit key %s is in the log directory %s: keep it elsewhere, "+
			"so that write access to the log is not enough to forge it", keyFile, logDir)
	}
	return nil
}

// resolve follows symbolic links. The last element may be absent.
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
