// SPDX-License-Identifier: Apache-2.0

package write

import (
	"errors"

	"github.com/spf13/pflag"
)

// What --dry-run takes.
const (
	dryRunNone = "none"
	// DryRunServer has the server do everything but store.
	DryRunServer = "server"
)

func addDryRun(fs *pflag.FlagSet, mode *string) {
	fs.StringVar(mode, "dry-run", dryRunNone, "none, or server: the server checks the request, and stores nothing.")
}

func validateDryRun(mode string) error {
	switch mode {
	case dryRunNone, DryRunServer:
		return nil
	case "client":
		return errors.New("--dry-run=client is not offered: all it could show is the object, and the value must not be shown; use server")
	default:
		return errors.New("--dry-run must be none or server")
	}
}
