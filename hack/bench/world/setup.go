// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"fmt"
	"net/http"

	"github.com/securevalue/secret-apiserver/hack/bench/wire"
)

// coreObjects are for kube-apiserver what rbac is for secret-apiserver, as path and body.
var coreObjects = [][2]string{
	{"/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"metadata":{"name":"bench"},"rules":[{"apiGroups":[""],"resources":["secrets"],` +
		`"verbs":["create","get","list","watch","update","patch","delete"]}]}`},
	{"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"bench"},` +
		`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"bench"},` +
		`"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"bench"}]}`},
}

// Grant gives User its rights where that is done through the API, and makes the namespaces that must exist.
func (s *Side) Grant(ctx context.Context, namespaces ...string) error {
	if s.Name != Core {
		return nil
	}
	connection, err := wire.Dial(ctx, s.Address, s.Admin)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	objects := coreObjects
	for _, namespace := range namespaces {
		objects = append(objects, [2]string{"/api/v1/namespaces", fmt.Sprintf(`{"metadata":{"name":%q}}`, namespace)})
	}
	for _, object := range objects {
		var answer []byte
		status, err := connection.Do(wire.Request{
			Method: http.MethodPost, Path: object[0], ContentType: "application/json", Body: []byte(object[1]),
		}, func(part []byte) { answer = append(answer, part...) })
		if err != nil {
			return err
		}
		if status != http.StatusCreated && status != http.StatusConflict {
			return fmt.Errorf("POST %s: %d: %s", object[0], status, answer)
		}
	}
	return nil
}
