// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"time"

	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
)

// errKMSUnknown says that no key of a KMS could seal now.
var errKMSUnknown = errors.New("the plugin has not confirmed a key that seals")

// sealingTTL is how long upstream seals with a data key after the last answer of the plugin that confirmed its key:
// kmsv2PluginWriteDEKSourceMaxTTL in k8s.io/apiserver/pkg/server/options/encryptionconfig.
const sealingTTL = 3 * time.Minute

// sealingKey follows rotateDEKOnKeyIDChange of upstream, which shows its state to nobody: a data key seals once the plugin
// has wrapped it under the key that its last Status named, and for sealingTTL after the last Status that named that key.
type sealingKey struct {
	// named is the key of the last Status, asked at since; wrapped is the key of the data key that seals until expires.
	named   string
	since   time.Time
	wrapped string
	expires time.Time
}

// reported is told of an answer of Status.
func (k *dataKeys) reported(provider, keyID string, asked time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sealing[provider]
	s.named, s.since = keyID, asked
	if s.wrapped == keyID {
		s.expires = asked.Add(sealingTTL)
	}
	k.sealing[provider] = s
}

// wrapped is told of an answer of Encrypt.
func (k *dataKeys) wrapped(provider, keyID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sealing[provider]
	if s.named == keyID {
		s.wrapped, s.expires = keyID, s.since.Add(sealingTTL)
	}
	k.sealing[provider] = s
}

// keyID returns the id of the key that a KMS seals with now, without asking its plugin.
func (k *dataKeys) keyID(provider string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sealing[provider]
	return s.wrapped, s.wrapped != "" && !kmsv2.GetNowFunc(provider)().After(s.expires)
}
