// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	"k8s.io/kms/pkg/service"
)

// Upstream calls this variable for each KMS v2 provider of a configuration. Only what load asks for is wrapped.
func init() {
	dial := encryptionconfig.EnvelopeKMSv2ServiceFactory
	encryptionconfig.EnvelopeKMSv2ServiceFactory = func(ctx context.Context, endpoint, name string, timeout time.Duration) (service.Service, error) {
		plugin, err := dial(ctx, endpoint, name, timeout)
		keys, ours := ctx.Value(dataKeysKey{}).(*dataKeys)
		if err != nil || !ours {
			return plugin, err
		}
		return &kmsPlugin{Service: plugin, name: name, life: ctx, keys: keys}, nil
	}
}

type dataKeysKey struct{}

// withDataKeys makes the providers that are loaded with the context report their data keys.
func withDataKeys(ctx context.Context, keys *dataKeys) context.Context {
	return context.WithValue(ctx, dataKeysKey{}, keys)
}

// kmsPlugin makes one call out of equal ones that come while the first is under way, and reports data keys. Upstream asks
// the plugin once for each value that is opened before the first answer is in memory: after a restart a thousand services
// that fetch their secrets would be a thousand calls for one data key.
type kmsPlugin struct {
	service.Service
	name    string
	life    context.Context //nolint:containedctx // a shared call must outlive the request that happened to start it
	keys    *dataKeys
	flights singleflight.Group
}

// Status asks the plugin which key it has. Upstream does so once a minute, or every ten seconds after a failure.
func (p *kmsPlugin) Status(ctx context.Context) (*service.StatusResponse, error) {
	asked := kmsv2.GetNowFunc(p.name)()
	response, err := p.Service.Status(ctx)
	if err == nil {
		p.keys.reported(p.name, response.KeyID, asked)
	}
	return response, err
}

// Encrypt has the plugin wrap a data key, which upstream does when Status has named another key than before.
func (p *kmsPlugin) Encrypt(ctx context.Context, uid string, plain []byte) (*service.EncryptResponse, error) {
	response, err := p.Service.Encrypt(ctx, uid, plain)
	if err == nil {
		p.keys.add(p.name, response.KeyID, response.Ciphertext, response.Annotations, plain)
		p.keys.wrapped(p.name, response.KeyID)
	}
	return response, err
}

// Decrypt has the plugin unwrap a data key. A caller that gives up does not end the call for the others; the plugin's
// timeout does.
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

// flightKey tells requests apart by all that they hold.
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
