// SPDX-License-Identifier: Apache-2.0

package write

import (
	"errors"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What --dry-run takes.
const (
	// DryRunNone does what is asked.
	DryRunNone = "none"
	// DryRunServer has the server do everything but store.
	DryRunServer = "server"
)

// AddDryRun adds the flag. --dry-run alone is server.
func AddDryRun(fs *pflag.FlagSet, mode *string) {
	fs.StringVar(mode, "dry-run", DryRunNone, "none, or server: the server checks the request, and stores nothing.")
	fs.Lookup("dry-run").NoOptDefVal = DryRunServer
}

// ValidateDryRun checks the flag.
func ValidateDryRun(mode string) error {
	switch mode {
	case DryRunNone, DryRunServer:
		return nil
	case "client":
		return errors.New("--dry-run=client is not offered: all it could show is the object, and the value must not be shown; use server")
	default:
		return errors.New("--dry-run must be none or server")
	}
}

// DryRunOption is the flag for the options of a request.
func DryRunOption(mode string) []string {
	if mode == DryRunServer {
		return []string{metav1.DryRunAll}
	}
	return nil
}
