// SPDX-License-Identifier: Apache-2.0

// Package manual has the hidden command `man`, which writes the manual pages of all commands.
package manual

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/securevalue/secret-apiserver/pkg/version"
)

// New returns the command man.
func New() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages to a folder",
		Long:   "Write the manual pages of all commands to a folder, which is made when it is missing. SOURCE_DATE_EPOCH sets their date.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(command *cobra.Command, args []string) error { return write(command.Root(), args[0]) },
	}
}

func write(root *cobra.Command, dir string) error {
	date, err := dateOf(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manual pages are for everybody
		return fmt.Errorf("making the folder of the manual: %w", err)
	}
	root.DisableAutoGenTag = true // it would have the date of the day
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "kubectl-securevalue " + version.Get(), Manual: "kubectl securevalue"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("writing the manual: %w", err)
	}
	return nil
}

// dateOf is the date that SOURCE_DATE_EPOCH gives, in seconds since 1970, else now.
func dateOf(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Now(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is no number of seconds: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
