// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"

	"github.com/securevalue/secret-apiserver/hack/bench/wire"
)

// Stored is what a server says of a collection.
type Stored struct {
	Objects         int64
	ResourceVersion string
}

// Count asks a server how many objects it has in a namespace, apart from what this program counted.
func Count(ctx context.Context, address string, config *tls.Config, kind Kind, namespace string) (Stored, error) {
	connection, err := wire.Dial(ctx, address, config)
	if err != nil {
		return Stored{}, err
	}
	defer func() { _ = connection.Close() }()
	body, err := connection.Fetch(kind.Collection(namespace) + "?limit=1")
	if err != nil {
		return Stored{}, err
	}
	var list struct {
		Metadata struct {
			ResourceVersion    string `json:"resourceVersion"`
			RemainingItemCount int64  `json:"remainingItemCount"`
		} `json:"metadata"`
		Items []struct{} `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return Stored{}, fmt.Errorf("list of %s in %s: %w", kind, namespace, err)
	}
	return Stored{
		Objects: int64(len(list.Items)) + list.Metadata.RemainingItemCount, ResourceVersion: list.Metadata.ResourceVersion,
	}, nil
}
