// SPDX-License-Identifier: Apache-2.0

// Command secret-apiserver serves SecureValue of secret.grafana.app/v1beta1.
package main

import (
	"fmt"
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"github.com/securevalue/secret-apiserver/pkg/server"
)

func main() {
	if err := cli.RunNoErrOutput(server.NewCommand(genericapiserver.SetupSignalContext())); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
