// SPDX-License-Identifier: Apache-2.0

package leak

import "math/rand/v2"

const (
	letters  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits   = "0123456789"
	wordSize = 16
)

// caster makes the fresh canaries of one request and remembers them.
type caster struct {
	random *rand.Rand
	made   []string
}

// newCaster repeats itself for the same seed and request.
func newCaster(seed, request uint64) *caster {
	return &caster{random: rand.New(rand.NewPCG(seed, request))}
}

// word returns a canary that is the same in JSON, YAML and a URL.
func (c *caster) word() string { return c.pick(letters, letters+digits, wordSize) }

// number returns a canary of digits.
func (c *caster) number() string { return c.pick(digits[1:], digits, 18) }

func (c *caster) pick(first, rest string, size int) string {
	b := make([]byte, size)
	b[0] = first[c.random.IntN(len(first))]
	for i := 1; i < size; i++ {
		b[i] = rest[c.random.IntN(len(rest))]
	}
	c.made = append(c.made, string(b))
	return string(b)
}
