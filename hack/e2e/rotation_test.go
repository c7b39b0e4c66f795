// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestServingCertificateRotation replaces our CA while clients work: trust the new one too, use it, forget the old one.
func TestServingCertificateRotation(t *testing.T) {
	l := startLoad(t)
	old := server.CA
	fresh, err := pki.NewCA("secret-apiserver-ca-2")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.SetCABundle(t.Context(), old, fresh); err != nil {
		t.Fatal(err)
	}
	l.settle()
	if err := server.WriteServing(fresh); err != nil {
		t.Fatal(err)
	}
	for _, replica := range server.Replicas {
		eventually(t, "the new certificate is served", func(ctx context.Context) error {
			return handshake(ctx, strings.TrimPrefix(replica.URL, "https://"), fresh)
		})
	}
	l.settle()
	if err := server.SetCABundle(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	l.settle()
	if err := server.AwaitAvailable(t.Context()); err != nil {
		t.Error(err)
	}
	l.finish()
}

// handshake is nil when the address shows a certificate of the CA.
func handshake(ctx context.Context, address string, ca *pki.CA) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// TestFrontProxyCARotation replaces the CA of the aggregator's certificate while clients work.
func TestFrontProxyCARotation(t *testing.T) {
	namespace := newNamespace(t)
	l := startLoad(t)
	old := cluster.FrontProxyCA
	fresh, err := pki.NewCA("front-proxy-ca-2")
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.WriteFrontProxyCA(old, fresh); err != nil {
		t.Fatal(err)
	}
	expectFrontProxy(t, "the new CA is believed", namespace, fresh, http.StatusOK)
	l.settle()
	loads := aggregatorLoads(t)
	if err := cluster.WriteFrontProxyClient(fresh); err != nil {
		t.Fatal(err)
	}
	cluster.FrontProxyCA = fresh
	eventually(t, "the aggregator has its new certificate", func(context.Context) error {
		if aggregatorLoads(t) == loads {
			return errors.New("not loaded")
		}
		return nil
	})
	l.settle()
	if err := cluster.WriteFrontProxyCA(fresh); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old CA is forgotten", func(ctx context.Context) error {
		// kube-apiserver merges what it has into what is published, so retiring a CA includes removing it there.
		if err := publishFrontProxyCA(ctx, fresh); err != nil {
			return err
		}
		return frontProxy(t, namespace, old, http.StatusUnauthorized)
	})
	l.settle()
	l.finish()
}

// aggregatorLoads counts how often kube-apiserver loaded the aggregator's certificate.
func aggregatorLoads(t *testing.T) int {
	t.Helper()
	log := harness.ReadFile(t, cluster.APIServer.LogFile)
	return bytes.Count(log, []byte(`"Loaded a new cert/key pair" name="aggregator-proxy-cert::`))
}

// expectFrontProxy waits for what replicas say to the aggregator's name under a CA.
func expectFrontProxy(t *testing.T, what, namespace string, ca *pki.CA, want int) {
	t.Helper()
	eventually(t, what, func(context.Context) error { return frontProxy(t, namespace, ca, want) })
}

func frontProxy(t *testing.T, namespace string, ca *pki.CA, want int) error {
	t.Helper()
	certificate := mustClient(t, ca, controlplane.FrontProxyName)
	for _, replica := range server.Replicas {
		got, err := send(t, replica.URL+harness.Collection(namespace), server.CA, certificate, "", forged)
		if err != nil || got.code != want {
			return fmt.Errorf("%s: want %d, got %d %s: %w", replica.URL, want, got.code, got.message, errors.Join(err, errors.New("answered")))
		}
	}
	return nil
}

// publishFrontProxyCA makes this the only CA of the front proxy.
func publishFrontProxyCA(ctx context.Context, ca *pki.CA) error {
	body := fmt.Sprintf(`{"data":{"requestheader-client-ca-file":%q}}`, ca.PEM())
	_, err := cluster.Admin.CoreV1().ConfigMaps("kube-system").Patch(ctx, "extension-apiserver-authentication",
		types.MergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// TestEncryptionKeyRotation puts a new key first while clients work, then shows that old values are still there.
func TestEncryptionKeyRotation(t *testing.T) {
	namespace := newNamespace(t)
	before := create(t, namespace, "before")
	l := startLoad(t)
	if err := server.WriteKeys("second", "first"); err != nil {
		t.Fatal(err)
	}
	for number := range server.Replicas {
		client := secureValues(t, masters(t, number), namespace)
		eventually(t, fmt.Sprintf("replica %d seals with the new key", number), func(ctx context.Context) error {
			object, _ := newSecureValue("")
			object.GenerateName = "after-"
			created, err := client.Create(ctx, object, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			if !strings.HasSuffix(created.Status.Key, "/second") {
				return fmt.Errorf("status.key is %s", created.Status.Key)
			}
			return nil
		})
	}
	l.finish()
	kept, err := asAdmin(t, namespace).Get(t.Context(), "before", metav1.GetOptions{})
	if err != nil || kept.Status.Key != before.Status.Key {
		t.Errorf("the old value: %v (%v), want it under %s", kept, err, before.Status.Key)
	}
}

// masters is the configuration of a member of system:masters for one replica, past the aggregator.
func masters(t *testing.T, replica int) *restclient.Config {
	t.Helper()
	pair := mustClient(t, cluster.ClientCA, "root", "system:masters")
	config := direct("", replica)
	config.CertData, config.KeyData = pair.Certificate, pair.Key
	return config
}
