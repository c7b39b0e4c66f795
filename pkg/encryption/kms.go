// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/kms/pkg/service"
)

// Upstream asks the plugin once for each value that is opened before the first answer for its data key is in memory. After
// a restart that is a storm: a thousand services that fetch their secrets would be a thousand calls for one data key.
func init() {
	dial := encryptionconfig.EnvelopeKMSv2ServiceFactory
	encryptionconfig.EnvelopeKMSv2ServiceFactory = func(ctx context.Context, endpoint, name string, timeout time.Duration) (service.Service, error) {
		plugin, err := dial(ctx, endpoint, name, timeout)
		if err != nil {
			return nil, err
		}
		return &coalescing{Service: plugin, life: ctx}, nil
	}
}

// coalescing makes one call of a plugin out of equal ones that come while the first is under way.
type coalescing struct {
	service.Service
	life    context.Context //nolint:containedctx // a shared call must outlive the request that happened to start it
	flights singleflight.Group
}

// Decrypt asks the plugin for a data key. A caller that gives up does not end the call for the others; the plugin's
// timeout does.
func (c *coalescing) Decrypt(ctx context.Context, uid string, req *service.DecryptRequest) ([]byte, error) {
	flight := c.flights.DoChan(flightKey(req), func() (any, error) {
		return c.Service.Decrypt(c.life, uid, req)
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
