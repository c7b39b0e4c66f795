// SPDX-License-Identifier: Apache-2.0

// Command secret-apiserver serves SecureValue of secret.grafana.app/v1beta1.
package main

import (
	"fmt"
	"os"
	"strings"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"github.com/securevalue/secret-apiserver/pkg/server"
)

func main() {
	if err := cli.RunNoErrOutput(server.NewCommand(genericapiserver.SetupSignalContext())); err != nil {
		// One line, for whoever reads it and for whatever collects it.
		fmt.Fprintln(os.Stderr, "error:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}
