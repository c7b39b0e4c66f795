// SPDX-License-Identifier: Apache-2.0

package sealing_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// A client has the public key of a server, and writes the text to spec.sealedValue of the object it was sealed for.
func ExamplePublicKey_Seal() {
	server, err := sealing.GenerateKey()
	if err != nil {
		log.Fatal(err)
	}
	public, err := sealing.ParsePublicKey(server.Public().Bytes())
	if err != nil {
		log.Fatal(err)
	}
	text, err := public.Seal([]byte("s3cr3t"), sealing.Binding{
		Namespace: "production", Name: "database", Decrypters: []string{"billing"},
		NotAfter: time.Now().AddDate(0, 0, 90).Truncate(time.Second),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(text), "characters")
	// Output: 1894 characters
}

// A server opens the text for the object that it came with. It compares the date with its own clock.
func ExamplePrivateKey_Open() {
	key, err := sealing.GenerateKey()
	if err != nil {
		log.Fatal(err)
	}
	binding := sealing.Binding{Namespace: "production", Name: "database", Decrypters: []string{"a", "b"}}
	sealed, err := key.Public().Seal([]byte("s3cr3t"), binding)
	if err != nil {
		log.Fatal(err)
	}
	text, err := sealing.Parse(sealed)
	if err != nil {
		log.Fatal(err)
	}
	value, err := key.Open(text, sealing.Binding{
		Namespace: "production", Name: "database", Decrypters: []string{"b", "a"}, NotAfter: text.NotAfter(),
	})
	fmt.Println(string(value), err)

	binding.Name = "another"
	_, err = key.Open(text, binding)
	fmt.Println(errors.Is(err, sealing.ErrNotForThis))
	// Output:
	// s3cr3t <nil>
	// true
}
