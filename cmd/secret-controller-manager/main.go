// SPDX-License-Identifier: Apache-2.0

// Command secret-controller-manager runs the controllers of SecureValue in a cluster.
package main

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/component-base/cli"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/securevalue/secret-apiserver/pkg/controller/manager"
)

func main() {
	if err := cli.RunNoErrOutput(manager.NewCommand(ctrl.SetupSignalHandler())); err != nil {
		fmt.Fprintln(os.Stderr, "error:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}
