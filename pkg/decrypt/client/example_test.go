// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

// A service reads its secrets at start. In a cluster the URL is https://secret-decrypt.secret-system.svc:8444, and the
// token file that of a projected ServiceAccount token with audience secret.grafana.app.
func Example() {
	service := startService(map[string]string{"api-key": "secret-api-key-12345", "database": "hunter2"})
	defer service.stop()

	decrypt, err := client.New(client.Config{URL: service.url, CAFile: service.caFile, TokenFile: service.tokenFile})
	if err != nil {
		log.Fatal(err)
	}
	defer decrypt.Close()

	values, err := decrypt.Get(context.Background(), "default", "api-key", "database")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("printed:", values["api-key"])
	fmt.Println("exposed:", values["api-key"].Expose())
	// Output:
	// printed: [REDACTED]
	// exposed: secret-api-key-12345
}

// What did not open is in the error, what did is in the values.
func ExampleClient_Get_errors() {
	service := startService(map[string]string{"api-key": "secret-api-key-12345"})
	defer service.stop()
	decrypt, err := client.New(client.Config{URL: service.url, CAFile: service.caFile, TokenFile: service.tokenFile})
	if err != nil {
		log.Fatal(err)
	}
	defer decrypt.Close()

	values, err := decrypt.Get(context.Background(), "default", "api-key", "typo")
	fmt.Println(len(values), "value")
	fmt.Println("not found:", errors.Is(err, client.ErrNotFound))
	if failed, ok := errors.AsType[*client.NameError](err); ok {
		fmt.Println("name:", failed.Name)
	}
	// Output:
	// 1 value
	// not found: true
	// name: typo
}

// A cache asks once, and again when the secure value was changed.
func ExampleCache() {
	service := startService(map[string]string{"api-key": "old"})
	defer service.stop()
	decrypt, err := client.New(client.Config{URL: service.url, CAFile: service.caFile, TokenFile: service.tokenFile})
	if err != nil {
		log.Fatal(err)
	}
	defer decrypt.Close()

	config := client.NewCacheConfig("default")
	config.MaxStale = time.Minute
	cache, err := client.NewCache(decrypt, config)
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	value, err := cache.Get(context.Background(), "api-key")
	fmt.Println(value.Expose(), err)
	// Output:
	// old <nil>
}

// A service that has to act on a new value, a connection pool say, loops over it.
func ExampleCache_Watch() {
	service := startService(map[string]string{"api-key": "old"})
	defer service.stop()
	decrypt, err := client.New(client.Config{URL: service.url, CAFile: service.caFile, TokenFile: service.tokenFile})
	if err != nil {
		log.Fatal(err)
	}
	defer decrypt.Close()
	cache, err := client.NewCache(decrypt, client.NewCacheConfig("default"))
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for value, err := range cache.Watch(context.Background(), "api-key") {
		if err != nil {
			log.Print(err) // deleted, or unavailable; the loop continues
			continue
		}
		fmt.Println("connecting with", value.Expose())
		if value.Expose() == "new" {
			break
		}
		service.write("api-key", "new") // somebody writes a new value
	}
	// Output:
	// connecting with old
	// connecting with new
}

// A service that needs several values at a time, user and password say, gets all of them when one changes.
func ExampleCache_WatchAll() {
	service := startService(map[string]string{"user": "shop", "password": "old"})
	defer service.stop()
	decrypt, err := client.New(client.Config{URL: service.url, CAFile: service.caFile, TokenFile: service.tokenFile})
	if err != nil {
		log.Fatal(err)
	}
	defer decrypt.Close()
	cache, err := client.NewCache(decrypt, client.NewCacheConfig("default"))
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for values, err := range cache.WatchAll(context.Background(), "user", "password") {
		if err != nil {
			log.Print(err) // names what did not open
			continue
		}
		fmt.Println(values["user"].Expose(), values["password"].Expose())
		if values["password"].Expose() == "new" {
			break
		}
		service.write("password", "new") // somebody writes a new value
	}
	// Output:
	// shop old
	// shop new
}
