// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"time"
)

// CacheConfig says what a Cache watches and keeps. NewCacheConfig has the defaults.
type CacheConfig struct {
	// Namespace of the secure values.
	Namespace string
	// Decrypter is the name in spec.decrypters that this service goes by. When set, only values that list it are
	// watched.
	Decrypter string
	// MaxEntries bounds how many values are kept; the least recently used goes first.
	MaxEntries int
	// MaxAge is how long a value is served that nothing changed of. It bounds how late a service notices that its
	// rights were taken away, which metadata does not show.
	MaxAge time.Duration
	// MaxStale is how long an old value is served when it cannot be fetched anew because the server is out of reach,
	// from the first attempt that failed. 0 serves none. A value that the server denies is never served again.
	MaxStale time.Duration
}

// NewCacheConfig returns the defaults for a namespace.
func NewCacheConfig(namespace string) CacheConfig {
	return CacheConfig{Namespace: namespace, MaxEntries: 1000, MaxAge: 10 * time.Minute, MaxStale: 5 * time.Minute}
}

func (c CacheConfig) validate() error {
	if c.Namespace == "" {
		return errors.New("decrypt cache: no namespace is set")
	}
	if c.MaxEntries < 1 || c.MaxAge <= 0 || c.MaxStale < 0 {
		return errors.New("decrypt cache: MaxEntries and MaxAge must be positive, MaxStale not negative")
	}
	return nil
}
