// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	"k8s.io/kms/pkg/service"
	"k8s.io/utils/lru"
)

// Upstream calls this variable for each KMS v2 provider of a configuration. Only plugins of load are wrapped.
func init() {
	dial := encryptionconfig.EnvelopeKMSv2ServiceFactory
	encryptionconfig.EnvelopeKMSv2ServiceFactory = func(ctx context.Context, endpoint, name string,
		timeout time.Duration) (service.Service, error) {
		plugin, err := dial(ctx, endpoint, name, timeout)
		keys, ours := ctx.Value(dataKeysKey{}).(*dataKeys)
		if err != nil || !ours {
			return plugin, err
		}
		return &kmsPlugin{Service: plugin, name: name, life: ctx, keys: keys}, nil
	}
}

type dataKeysKey struct{}

// withDataKeys makes the providers that are loaded with this context report their data keys.
func withDataKeys(ctx context.Context, keys *dataKeys) context.Context {
	return context.WithValue(ctx, dataKeysKey{}, keys)
}

// kmsPlugin coalesces equal concurrent calls, and reports data keys. Upstream calls the plugin for each value that is
// opened before the first answer is cached: after a restart a thousand services that fetch their secrets would cause a
// thousand calls for one data key.
type kmsPlugin struct {
	service.Service
	name    string
	life    context.Context //nolint:containedctx // a shared call outlives the request that started it
	keys    *dataKeys
	flights singleflight.Group
}

// Status reports the plugin's key. Upstream calls it once a minute, or every ten seconds after a failure.
func (p *kmsPlugin) Status(ctx context.Context) (*service.StatusResponse, error) {
	since := kmsv2.GetNowFunc(p.name)()
	response, err := p.Service.Status(ctx)
	if err == nil {
		p.keys.reported(p.name, response.KeyID, since)
	}
	return response, err
}

// Encrypt wraps a data key. Upstream calls it when Status returns a new key.
func (p *kmsPlugin) Encrypt(ctx context.Context, uid string, plain []byte) (*service.EncryptResponse, error) {
	response, err := p.Service.Encrypt(ctx, uid, plain)
	if err == nil {
		p.keys.add(p.name, response.KeyID, response.Ciphertext, response.Annotations, plain)
		p.keys.wrapped(p.name, response.KeyID)
	}
	return response, err
}

// Decrypt unwraps a data key. A canceled caller does not end the shared call; the plugin's timeout does.
func (p *kmsPlugin) Decrypt(ctx context.Context, uid string, req *service.DecryptRequest) ([]byte, error) {
	flight := p.flights.DoChan(flightKey(req), func() (any, error) {
		plain, err := p.Service.Decrypt(p.life, uid, req)
		if err == nil {
			p.keys.add(p.name, req.KeyID, req.Ciphertext, req.Annotations, plain)
		}
		return plain, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return slices.Clone(result.Val.([]byte)), nil
	}
}

// flightKey returns a hash of the whole request.
func flightKey(req *service.DecryptRequest) string {
	h := sha256.New()
	part := func(b []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(b)))
		h.Write(length[:])
		h.Write(b)
	}
	part([]byte(req.KeyID))
	part(req.Ciphertext)
	for _, name := range slices.Sorted(maps.Keys(req.Annotations)) {
		part([]byte(name))
		part(req.Annotations[name])
	}
	return string(h.Sum(nil))
}

// errKMSUnknown reports that the write key of a KMS is unknown.
var errKMSUnknown = errors.New("the plugin has not confirmed a write key")

// sealingTTL is how long upstream uses a data key after the plugin last confirmed its key:
// kmsv2PluginWriteDEKSourceMaxTTL in k8s.io/apiserver/pkg/server/options/encryptionconfig.
const sealingTTL = 3 * time.Minute

// sealingKey mirrors the private state of upstream's rotateDEKOnKeyIDChange: a data key is used once the plugin has
// wrapped it under the key of the last Status, and for sealingTTL after the last Status with that key.
type sealingKey struct {
	// named is the key of the last Status, requested at since; wrapped is the key of the data key in use until expires.
	named   string
	since   time.Time
	wrapped string
	expires time.Time
}

// reported records an answer of Status.
func (k *dataKeys) reported(provider, keyID string, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sealing[provider]
	s.named, s.since = keyID, since
	if s.wrapped == keyID {
		s.expires = since.Add(sealingTTL)
	}
	k.sealing[provider] = s
}

// wrapped records an answer of Encrypt.
func (k *dataKeys) wrapped(provider, keyID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sealing[provider]
	if s.named == keyID {
		s.wrapped, s.expires = keyID, s.since.Add(sealingTTL)
	}
	k.sealing[provider] = s
}

// keyID returns the id of the active key of a KMS, without calling its plugin.
func (k *dataKeys) keyID(provider string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sealing[provider]
	return s.wrapped, s.wrapped != "" && !kmsv2.GetNowFunc(provider)().After(s.expires)
}

const (
	// kmsPrefix starts every envelope of KMS v2; the provider's name and a colon follow.
	kmsPrefix = "k8s:enc:kms:v2:"
	// dataKeyTTL is how long a data key is used without calling the plugin: as in upstream.
	dataKeyTTL = 24 * time.Hour
	// maxDataKeys bounds the memory: each key of the plugin and restart of a server adds one, rarely more than ten
	// exist.
	maxDataKeys = 1024
	// encryptedDataField is EncryptedObject.encryptedData in .../kmsv2/v2/api.proto, the first in the encoding.
	encryptedDataField = 1
)

// dataKeys opens envelopes of KMS v2 with data keys that the plugin has unwrapped before. Upstream's reader serializes
// all providers with the mutex of one metric (kubernetes#135408) and matches every annotation against regular
// expressions on each read; see docs/decisions/0008. A new envelope is opened and checked by upstream, and only then
// remembered. Each configuration has its own dataKeys, so that a removed provider opens nothing.
type dataKeys struct {
	// unwrapped has the plaintext of data keys by flightKey; readers has transformers by provider and envelope.
	unwrapped, readers *lru.Cache
	now                func() time.Time
	// sealing has the active key of each KMS, by the name of its provider.
	mu      sync.Mutex
	sealing map[string]sealingKey
}

// reader opens what one data key sealed.
type reader struct {
	read  value.Read
	since time.Time
}

func newDataKeys() *dataKeys {
	return &dataKeys{unwrapped: lru.New(maxDataKeys), readers: lru.New(maxDataKeys), now: time.Now,
		sealing: map[string]sealingKey{}}
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
		return // no other type since Kubernetes 1.29
	}
	seed, ok := k.unwrapped.Get(unwrappedKey(string(name), envelope.KeyID, envelope.EncryptedDEKSource,
		envelope.Annotations))
	if !ok {
		return
	}
	read, err := aestransformer.NewHKDFExtendedNonceGCMTransformer(seed.([]byte))
	if err != nil {
		return
	}
	k.readers.Add(id, reader{read: read, since: k.now()})
}

// add records a data key that the plugin of a provider wrapped or unwrapped.
func (k *dataKeys) add(name, keyID string, wrapped []byte, annotations map[string][]byte, plain []byte) {
	k.unwrapped.Add(unwrappedKey(name, keyID, wrapped, annotations), slices.Clone(plain))
}

func unwrappedKey(name, keyID string, wrapped []byte, annotations map[string][]byte) string {
	return name + ":" + flightKey(&service.DecryptRequest{KeyID: keyID, Ciphertext: wrapped, Annotations: annotations})
}

// splitEnvelope returns the encrypted bytes of a KMS v2 envelope. The rest, with the provider's name, identifies the
// data key.
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
