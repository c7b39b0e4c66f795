// SPDX-License-Identifier: Apache-2.0

// Command kubectl-securevalue is the kubectl plugin `kubectl securevalue`: it writes secure values without leaving them
// in the shell history, and shows who may open one.
package main

import (
	"os"

	"github.com/securevalue/secret-apiserver/pkg/plugin"
)

func main() { os.Exit(plugin.Main()) }
