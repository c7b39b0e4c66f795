// SPDX-License-Identifier: Apache-2.0

// Command kms-plugin runs the KMS v2 plugin of the tests, to try a server with a KMS by hand. It is not shipped: its
// keys lie in a file in clear.
//
//	go run ./hack/kms-plugin --socket /tmp/kms.sock --keys /tmp/kms-keys.json --key 2026-01
//
// SIGHUP rotates: a new key wraps from then on, and the ones before still unwrap.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/kmsplugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kms-plugin", flag.ExitOnError)
	socket := flags.String("socket", "kms.sock", "unix socket to listen on")
	file := flags.String("keys", "kms-keys.json", "file that keeps the keys, created when absent")
	key := flags.String("key", "key-1", "id of the key that wraps, made when absent")
	delay := flags.Duration("delay", 0, "how long each call takes")
	every := flags.Duration("report-every", 10*time.Second, "how often the counts of calls are printed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	keys, err := kmsplugin.OpenKeyring(*file, *key)
	if err != nil {
		return err
	}
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // before it listens, so that who found it there can rotate at once
	plugin := kmsplugin.New(*socket, keys)
	plugin.SetDelay(*delay)
	if err := plugin.Listen(ctx); err != nil {
		return err
	}
	defer plugin.Stop()
	fmt.Fprintf(os.Stderr, "listening on %s with key %s\n", plugin.Endpoint(), keys.Current())
	ticker := time.NewTicker(*every)
	defer ticker.Stop()
	for n := 1; ; {
		select {
		case <-hangUps:
			if err := keys.Use(fmt.Sprintf("%s-%d", *key, n)); err != nil {
				return err
			}
			n++
			fmt.Fprintf(os.Stderr, "rotated to key %s\n", keys.Current())
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			fmt.Fprintf(os.Stderr, "%+v\n", plugin.Calls())
		}
	}
}
