// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"

	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// transformer seals as upstream does, and opens by the short way where the data key is known.
type transformer struct {
	value.Transformer
	provider *Provider
}

// Transformer seals and opens with the configuration that is in force when it is called.
func (p *Provider) Transformer() value.Transformer {
	return &transformer{Transformer: p.dynamic.TransformerForResource(secret.GroupResource), provider: p}
}

// TransformFromStorage opens data. It never reports data as stale: pkg/sealed compares the names of keys.
func (t *transformer) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	keys := t.provider.keys.Load()
	if plain, known, err := keys.open(ctx, data, dataCtx); known {
		return plain, false, err
	}
	plain, _, err := t.Transformer.TransformFromStorage(ctx, data, dataCtx)
	if err == nil {
		keys.learn(data)
	}
	return plain, false, err
}
