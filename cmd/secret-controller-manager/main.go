// SPDX-License-Identifier: Apache-2.0

// Command secret-controller-manager runs the controllers of SecureValue in a cluster.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/securevalue/secret-apiserver/pkg/controller/manager"
	"github.com/securevalue/secret-apiserver/pkg/logging"
)

func main() {
	command := manager.NewCommand(ctrl.SetupSignalHandler())
	if err := cli.RunNoErrOutput(command); err != nil {
		logging.WriteError(os.Stderr, command, err)
		os.Exit(1)
	}
}
