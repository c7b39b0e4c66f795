// SPDX-License-Identifier: Apache-2.0

// Command secret-agent brings secure values to programs that know nothing of them: as files and environment variables.
package main

import (
	"os"

	"github.com/securevalue/secret-apiserver/pkg/agent"
)

func main() { os.Exit(agent.Main()) }
