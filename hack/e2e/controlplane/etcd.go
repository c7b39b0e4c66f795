// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"

	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

// StartEtcd runs one member in dir and returns it and its client URL once it is healthy. The process is returned with
// an error too, for the caller to stop. Of args, which come last, a flag that is there twice counts as given last.
func StartEtcd(ctx context.Context, binaries, dir, logFile string, args ...string) (*process.Process, string, error) {
	clientPort, err := FreePort()
	if err != nil {
		return nil, "", err
	}
	peerPort, err := FreePort()
	if err != nil {
		return nil, "", err
	}
	url, peer := fmt.Sprintf("http://127.0.0.1:%d", clientPort), fmt.Sprintf("http://127.0.0.1:%d", peerPort)
	etcd := process.New(logFile, binaries+"/etcd", append([]string{
		"--name=test", "--data-dir=" + dir, "--listen-client-urls=" + url, "--advertise-client-urls=" + url,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=test=" + peer,
		"--watch-progress-notify-interval=5s", "--unsafe-no-fsync", // nothing outlives the test
	}, args...)...)
	if err := etcd.Start(); err != nil {
		return nil, "", err
	}
	return etcd, url, AwaitEtcd(ctx, etcd, url)
}

// AwaitEtcd waits until a member that was started answers.
func AwaitEtcd(ctx context.Context, etcd *process.Process, url string) error {
	return etcd.Await(ctx, func(ctx context.Context) error { return get(ctx, http.DefaultClient, url+"/health") })
}

// get is nil when the URL answers with 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}

// The ports lie below those that the system hands out by itself, so that one stays free while its process restarts.
const firstPort, lastPort = 10000, 30000

// drawn holds the ports that were returned: two programs of one test must not get the same before either listens.
var drawn sync.Map

// FreePort returns a loopback port that nobody listens on, for a program that cannot choose one. It returns none twice.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)                     //nolint:gosec // a port, not a secret
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, err
		}
		if _, taken := drawn.LoadOrStore(port, true); !taken {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
