// SPDX-License-Identifier: Apache-2.0

package kmsplugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"
	"k8s.io/kms/pkg/service"
)

// Plugin is a Service on a unix socket.
type Plugin struct {
	*Service
	// Keys are the keys behind it.
	Keys *Keyring

	socket string
	mu     sync.Mutex
	server *grpc.Server // nil while it is stopped
}

// New returns a plugin that does not listen yet.
func New(socket string, keys *Keyring) *Plugin {
	return &Plugin{Service: NewService(keys), Keys: keys, socket: socket}
}

// Start runs a plugin with one key, "key-1", in this process until the test ends.
func Start(t *testing.T) *Plugin {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	p := New(filepath.Join(dir, "kms.sock"), NewKeyring("key-1"))
	if err := p.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		_ = os.RemoveAll(dir)
	})
	return p
}

// Endpoint is what belongs into the field endpoint of an EncryptionConfiguration.
func (p *Plugin) Endpoint() string { return "unix://" + p.socket }

// Listen starts answering on the socket, and is ready when it returns. It is also how a stopped plugin comes back.
func (p *Plugin) Listen(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return errors.New("the plugin listens already")
	}
	_ = os.Remove(p.socket) // of a plugin that was killed
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", p.socket)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", p.socket, err)
	}
	server := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(server, service.NewGRPCService("", 0, p.Service))
	go func() { _ = server.Serve(listener) }() // ends with Stop
	p.server = server
	return nil
}

// Stop is the death of a plugin: calls in flight are cut, and the socket is gone. It may be called more than once.
func (p *Plugin) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		p.server.Stop()
		p.server = nil
	}
}

// Provider is an entry under providers of an EncryptionConfiguration, indented for one resource entry.
func (p *Plugin) Provider(name string) string {
	return fmt.Sprintf("  - kms: {apiVersion: v2, name: %s, endpoint: %q, timeout: 3s}\n", name, p.Endpoint())
}
