// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/deployment"
)

// replicas is how many servers run.
const replicas = 2

// The one cluster of this run.
var (
	cluster *controlplane.ControlPlane
	server  *deployment.Deployment
	// root is the folder of this repository.
	root = filepath.Join("..", "..")
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run keeps the logs when anything fails.
func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "secret-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if code != 0 {
			fmt.Fprintf(os.Stderr, "the logs of the control plane and of the servers are in %s\n", dir)
			return
		}
		_ = os.RemoveAll(dir)
	}()
	started := time.Now()
	defer stop()
	if err := start(context.Background(), dir); err != nil {
		fmt.Fprintf(os.Stderr, "starting the cluster: %v\n", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "the cluster was ready after %s\n", time.Since(started).Round(time.Second))
	return m.Run()
}

func start(ctx context.Context, dir string) (err error) {
	if err := build(ctx); err != nil {
		return err
	}
	binaries := filepath.Join(root, "bin", "e2e")
	if binaries, err = filepath.Abs(binaries); err != nil {
		return err
	}
	if cluster, err = controlplane.Start(ctx, filepath.Join(dir, "cluster"), binaries); err != nil {
		return err
	}
	if output, err := command(ctx, "bin/kubectl", "--kubeconfig="+cluster.Kubeconfig, "apply", "--server-side", "-k", "deploy/base"); err != nil {
		return fmt.Errorf("applying deploy/base: %w\n%s", err, output)
	}
	server, err = deployment.Start(ctx, deployment.Config{
		ControlPlane: cluster, Dir: filepath.Join(dir, "server"), Replicas: replicas,
		Binary: filepath.Join(binaries, "secret-apiserver"), Binaries: binaries,
	})
	return err
}

func stop() {
	if server != nil {
		server.Stop()
	}
	if cluster != nil {
		cluster.Stop()
	}
}

// build makes what is missing of the control plane, and the server from this tree.
func build(ctx context.Context) error {
	for _, args := range [][]string{
		{"hack/build-controlplane.sh"}, {"hack/build-kubectl.sh"},
		{"bash", "-c", `CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(hack/version-ldflags.sh)" -o bin/e2e/ ./cmd/secret-apiserver ./cmd/secret-controller-manager`},
	} {
		if output, err := command(ctx, args[0], args[1:]...); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, output)
		}
	}
	return nil
}

// command runs a program in the folder of this repository.
func command(ctx context.Context, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = root
	return c.CombinedOutput()
}
