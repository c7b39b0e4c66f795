// SPDX-License-Identifier: Apache-2.0

// Command secret-apiserver serves SecureValue of secret.grafana.app/v1beta1.
package main

import (
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/server"
)

func main() {
	command := server.NewCommand(genericapiserver.SetupSignalContext())
	if err := cli.RunNoErrOutput(command); err != nil {
		logging.WriteError(os.Stderr, command, err)
		os.Exit(1)
	}
}
