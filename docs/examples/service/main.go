// SPDX-License-Identifier: Apache-2.0

// Service is an example of a service that opens its secure value and takes a new one without a restart. README.md
// describes how to run it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

func main() {
	decrypt := flag.String("decrypt", "https://127.0.0.1:8444", "address of the decrypt port")
	ca := flag.String("ca", "data/pki/ca.crt", "file with the CA of the decrypt port")
	token := flag.String("token-file", "", "file with the token of this service for the decrypt port")
	namespace := flag.String("namespace", "default", "namespace of the value")
	name := flag.String("name", "", "name of the value")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	values := client.Config{URL: *decrypt, CAFile: *ca, TokenFile: *token}
	if err := run(ctx, values, *namespace, *name); err != nil {
		log.Fatal(err)
	}
}

// run connects with the value, and again with each new one, until ctx ends.
func run(ctx context.Context, values client.Config, namespace, name string) error {
	decrypt, err := client.New(values)
	if err != nil {
		return fmt.Errorf("making the decrypt client: %w", err)
	}
	defer decrypt.Close()
	cache, err := client.NewCache(decrypt, client.NewCacheConfig(namespace)) //nolint:contextcheck // until Close
	if err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	defer cache.Close()
	for value, err := range cache.Watch(ctx, name) {
		if err != nil {
			log.Printf("%s: %v", name, err) // gone, withdrawn or unavailable: the loop continues
			continue
		}
		connect(name, value)
	}
	return nil
}

// connect is a placeholder for what a service does with its password. It prints the length, never the value.
func connect(name string, password client.Value) {
	log.Printf("%s: connected with a password of %d bytes", name, len(password.Expose()))
}
