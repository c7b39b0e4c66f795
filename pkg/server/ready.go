// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/pkg/keys"
)

// readyPoll is how often readiness is asked for while the server starts.
const readyPoll = 20 * time.Millisecond

// waitReady returns nil once /readyz answers 200, asked through the server's own loopback client, and an error when ctx
// ends before. A KMS that was never reached matters to a load balancer only: what waits here works without.
func waitReady(ctx context.Context, loopback *restclient.Config) error {
	config := restclient.CopyConfig(loopback)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := restclient.UnversionedRESTClientFor(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		return client.Get().AbsPath("/readyz").Param("exclude", keys.StartupCheckName).Do(ctx).Error() == nil, nil
	})
}
