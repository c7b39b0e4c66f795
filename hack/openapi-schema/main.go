// SPDX-License-Identifier: Apache-2.0

// Openapi-schema prints the definitions of this API's types as a Swagger 2.0 document, which applyconfiguration-gen
// needs to know how fields are owned. Upstream has the same step in k8s.io/kubernetes,
// pkg/generated/openapi/cmd/models-schema.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/securevalue/secret-apiserver/hack/internal/schema"
)

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(schema.Document()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
