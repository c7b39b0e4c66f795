// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	"k8s.io/kms/pkg/service"
	"k8s.io/utils/lru"
)

const (
	// kmsPrefix starts every envelope of KMS v2; the provider's name and a colon follow.
	kmsPrefix = "k8s:enc:kms:v2:"
	// dataKeyTTL is how long a data key opens values without the plugin being asked: as long as upstream keeps one.
	dataKeyTTL = 24 * time.Hour
	// maxDataKeys bounds the memory: there is one for each key of the plugin and restart of a server, seldom more than ten.
	maxDataKeys = 1024
	// encryptedDataField is EncryptedObject.encryptedData in .../kmsv2/v2/api.proto, and comes first in its encoding.
	encryptedDataField = 1
)

// dataKeys opens envelopes of KMS v2 with data keys that the plugin has unwrapped before. Upstream's own reader serialises
// all providers behind the mutex of one metric (kubernetes#135408) and matches every annotation against regular
// expressions on each read; see docs/decisions/0008. An envelope that is new to it goes the way of upstream, which checks
// it, and only what opened there is remembered. One generation belongs to one configuration, so that a provider that was
// taken out opens nothing any more.
type dataKeys struct {
	// unwrapped has the plaintext of data keys by flightKey; readers has what opens by provider and envelope.
	unwrapped, readers *lru.Cache
	now                func() time.Time
	// sealing has the key that each KMS seals with, by the name of its provider.
	mu      sync.Mutex
	sealing map[string]sealingKey
}

// reader opens what one data key sealed.
type reader struct {
	read  value.Read
	since time.Time
}

func newDataKeys() *dataKeys {
	return &dataKeys{unwrapped: lru.New(maxDataKeys), readers: lru.New(maxDataKeys), now: time.Now, sealing: map[string]sealingKey{}}
}

// open opens an envelope whose data key is known, and reports false for any other.
func (k *dataKeys) open(ctx context.Context, data []byte, dataCtx value.Context) (plain []byte, known bool, err error) {
	id, encrypted, ok := splitEnvelope(data)
	if !ok {
		return nil, false, nil
	}
	found, ok := k.readers.Get(id)
	if !ok {
		return nil, false, nil
	}
	r := found.(reader)
	if k.now().Sub(r.since) > dataKeyTTL {
		k.readers.Remove(id)
		return nil, false, nil
	}
	plain, _, err = r.read.TransformFromStorage(ctx, encrypted, dataCtx)
	return plain, true, err
}

// learn remembers the data key of an envelope that upstream has opened.
func (k *dataKeys) learn(data []byte) {
	id, _, ok := splitEnvelope(data)
	if !ok {
		return
	}
	name, object, _ := bytes.Cut(data[len(kmsPrefix):], []byte(":"))
	var envelope kmstypes.EncryptedObject
	if err := proto.Unmarshal(object, &envelope); err != nil {
		return
	}
	if envelope.EncryptedDEKSourceType != kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED {
		return // nothing has sealed otherwise since Kubernetes 1.29
	}
	seed, ok := k.unwrapped.Get(unwrappedKey(string(name), envelope.KeyID, envelope.EncryptedDEKSource, envelope.Annotations))
	if !ok {
		return
	}
	read, err := aestransformer.NewHKDFExtendedNonceGCMTransformer(seed.([]byte))
	if err != nil {
		return
	}
	k.readers.Add(id, reader{read: read, since: k.now()})
}

// add is told of every data key that the plugin of a provider wrapped or unwrapped.
func (k *dataKeys) add(name, keyID string, wrapped []byte, annotations map[string][]byte, plain []byte) {
	k.unwrapped.Add(unwrappedKey(name, keyID, wrapped, annotations), slices.Clone(plain))
}

func unwrappedKey(name, keyID string, wrapped []byte, annotations map[string][]byte) string {
	return name + ":" + flightKey(&service.DecryptRequest{KeyID: keyID, Ciphertext: wrapped, Annotations: annotations})
}

// splitEnvelope takes the encrypted bytes out of a KMS v2 envelope. All the rest of it, the provider's name included, says
// which data key it needs.
func splitEnvelope(data []byte) (id string, encrypted []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(kmsPrefix))
	if !ok {
		return "", nil, false
	}
	name, object, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return "", nil, false
	}
	number, kind, n := protowire.ConsumeTag(object)
	if n < 0 || number != encryptedDataField || kind != protowire.BytesType {
		return "", nil, false
	}
	encrypted, m := protowire.ConsumeBytes(object[n:])
	if m < 0 {
		return "", nil, false
	}
	return string(name) + ":" + string(object[n+m:]), encrypted, true
}
