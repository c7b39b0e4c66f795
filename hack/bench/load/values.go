// SPDX-License-Identifier: Apache-2.0

package load

import (
	"crypto/rand"
	"math/big"
	mathrand "math/rand/v2"
)

const (
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	poolSize = 4 << 20
)

// values is one long random text; a value is a part of it, since generating randomness would cost the client more than
// the request does. It is text, since a SecureValue is.
var values = func() string {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	source := mathrand.NewChaCha8(seed)
	pool := make([]byte, poolSize)
	_, _ = source.Read(pool) // never fails
	for i, b := range pool {
		pool[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(pool)
}()

// value returns size bytes of the text from anywhere in it.
func value(random *mathrand.Rand, size int) string {
	start := random.IntN(len(values) - size)
	return values[start : start+size]
}

// newRandom is a generator of a client's own.
func newRandom() *mathrand.Rand {
	seed, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63)) // never fails
	return mathrand.New(mathrand.NewPCG(seed.Uint64(), 1))                //nolint:gosec // which object is next is not secret
}
