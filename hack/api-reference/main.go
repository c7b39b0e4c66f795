// SPDX-License-Identifier: Apache-2.0

// Api-reference prints docs/reference.md: every type of this API with its fields, from the definitions of the OpenAPI
// document.
package main

import (
	"fmt"
	"os"

	"github.com/securevalue/secret-apiserver/hack/internal/schema"
)

func main() {
	page, err := render(schema.Document().Definitions)
	if err == nil {
		_, err = os.Stdout.WriteString(page)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
