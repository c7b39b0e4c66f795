// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// probeTimeout is for one endpoint.
const probeTimeout = 5 * time.Second

// EndpointProber checks the serving certificate of each endpoint of a Service. An endpoint that does not answer counts
// as one with a certificate of an old CA: the overlap lasts longer, and nothing breaks.
type EndpointProber struct {
	Reader client.Reader
}

var _ Prober = EndpointProber{}

// AllServe returns an error that names an endpoint without a certificate of ca for serverName. Endpoints that are not
// ready are probed, too: they may become ready with the certificate that they have now.
func (p EndpointProber) AllServe(ctx context.Context, namespace, service, serverName string, ca []byte) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("no CA to verify endpoints with")
	}
	var slices discoveryv1.EndpointSliceList
	if err := p.Reader.List(ctx, &slices, client.InNamespace(namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		return fmt.Errorf("listing the endpoints of service %s/%s: %w", namespace, service, err)
	}
	config := &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12}
	for _, slice := range slices.Items {
		if err := probeSlice(ctx, slice, config); err != nil {
			return err
		}
	}
	return nil
}

func probeSlice(ctx context.Context, slice discoveryv1.EndpointSlice, config *tls.Config) error {
	for _, endpoint := range slice.Endpoints {
		for _, address := range endpoint.Addresses {
			for _, port := range slice.Ports {
				if port.Port == nil {
					continue
				}
				if err := probe(ctx, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))), config); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func probe(ctx context.Context, address string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("endpoint %s does not serve a certificate of the new CA yet: %w", address, err)
	}
	return conn.Close()
}
