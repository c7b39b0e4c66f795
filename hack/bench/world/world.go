// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
)

// startTimeout bounds a start on a busy machine; it makes no claim about speed.
const startTimeout = 3 * time.Minute

// The names of the sides.
const (
	Core     = "core"     // Secrets on kube-apiserver with a separate etcd
	Ours     = "ours"     // SecureValues on secret-apiserver with a separate etcd
	Embedded = "embedded" // SecureValues on secret-apiserver with its embedded etcd
)

// User is the name in the certificate of the clients that are measured: nobody special.
const User = "bench"

// Config says what to start.
type Config struct {
	// Dir gets data, certificates and logs. It should be on the disk that is to be measured.
	Dir string
	// Binaries is the folder with etcd and kube-apiserver, Server the binary of secret-apiserver.
	Binaries, Server string
	// Stock leaves kube-apiserver's admission plugins and its priority and fairness on.
	Stock bool
	// ServerArgs are further flags of secret-apiserver.
	ServerArgs []string
}

// World is a folder with a CA, and the sides that were started in it.
type World struct {
	Sides []*Side

	config        Config
	ca            *pki.CA
	client, admin *tls.Config
}

// New makes the certificates of a world in which nothing runs yet.
func New(config Config) (*World, error) {
	w := &World{config: config}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if w.ca, err = pki.NewCA("bench-ca"); err != nil {
		return nil, err
	}
	if w.client, err = w.clientTLS(User); err != nil {
		return nil, err
	}
	if w.admin, err = w.clientTLS("admin", "system:masters"); err != nil {
		return nil, err
	}
	serving, err := w.ca.Serving("server")
	if err != nil {
		return nil, err
	}
	private, public, err := pki.SigningKey()
	return w, errors.Join(err,
		pki.WriteFile(w.file("ca.crt"), w.ca.PEM()), serving.Write(w.file("tls.crt"), w.file("tls.key")),
		pki.WriteFile(w.file("sa.key"), private), pki.WriteFile(w.file("sa.pub"), public),
	)
}

// Start runs a side and returns it when it is ready. What was started is stopped by Stop, also after an error.
func (w *World) Start(ctx context.Context, name string) (*Side, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s, err := w.newSide(name)
	if err != nil {
		return nil, err
	}
	w.Sides = append(w.Sides, s)
	if name != Embedded {
		if err := s.startEtcd(ctx); err != nil {
			return s, fmt.Errorf("etcd of %s: %w", name, err)
		}
	}
	if err := s.prepare(); err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	if err := s.Restart(ctx, false); err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Stop ends everything at once; nothing of it is needed any more.
func (w *World) Stop() {
	for _, s := range w.Sides {
		s.stop()
	}
}

func (w *World) newSide(name string) (*Side, error) {
	port, err := controlplane.FreePort()
	if err != nil {
		return nil, err
	}
	s := &Side{
		Name: name, Dir: w.file(name), Address: fmt.Sprintf("127.0.0.1:%d", port), Client: w.client, Admin: w.admin, world: w, port: port,
	}
	return s, os.MkdirAll(s.Dir, 0o700)
}

func (w *World) clientTLS(user string, groups ...string) (*tls.Config, error) {
	pair, err := w.ca.Client(user, groups...)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca.PEM())
	return &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{certificate}, ServerName: "localhost", MinVersion: tls.VersionTLS13,
	}, nil
}

func (w *World) file(name string) string { return filepath.Join(w.config.Dir, name) }
