// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// tokenPrefix lets scanners of source code and logs recognise an admin token.
const tokenPrefix = "sva_"

// digest is what the server keeps of the admin token. The token has 256 random bits, so a plain hash cannot be reversed.
type digest [sha256.Size]byte

func newToken() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails: it ends the process instead
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

func (d digest) equal(other digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

func (d digest) file() []byte { return []byte(hex.EncodeToString(d[:]) + "\n") }

// readDigest returns nil when there is no file.
func readDigest(path, kubeconfig string) (*digest, error) {
	data, err := readPrivate(path)
	if data == nil {
		return nil, err
	}
	var d digest
	text := strings.TrimSpace(string(data))
	if n, err := hex.Decode(d[:], []byte(text[:min(len(text), 2*len(d))])); err != nil || n != len(d) || len(text) != 2*len(d) {
		return nil, fmt.Errorf("%s is not a SHA-256 in hex: delete it and %s to get a new admin token", path, kubeconfig)
	}
	return &d, nil
}

// adminToken authenticates the one token whose digest it is.
type adminToken digest

var _ authenticator.Token = adminToken{}

// AuthenticateToken compares digests in constant time.
func (a adminToken) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	if !digest(a).equal(digestOf(token)) {
		return nil, false, nil
	}
	return &authenticator.Response{
		User: &user.DefaultInfo{Name: adminUser, Groups: []string{user.SystemPrivilegedGroup}},
	}, true, nil
}
