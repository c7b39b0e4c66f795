// SPDX-License-Identifier: Apache-2.0

// Package auditlog is the command `audit verify`, which checks a decrypt audit log offline.
//
// It owns flags and output. It must never write to the log, and needs neither the server nor etcd.
package auditlog

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
)

const long = `Check that a decrypt audit log is as the server wrote it: no line edited, removed, repeated or put in another order, over
all files that are given, in any order; a folder stands for the files in it. It names the first line that is bad.

Lines cut off at the end do not show in the files alone. Pass a published head with --head: the server writes one to its
log and to etcd every few seconds, and the metrics secret_decrypt_audit_head_sequence and _head_mac48 hold it too.`

const example = `  secret-apiserver audit verify --key-file /etc/secret/decrypt-audit.key /var/log/secret-decrypt

  # Against the head that is published in etcd.
  secret-apiserver audit verify --key-file audit.key /var/log/secret-decrypt \
      --head "$(etcdctl get --print-value-only /registry/secret.grafana.app/decrypt-audit-heads/NAME | jq -r .head)"`

// New returns the command `audit`, for the command of the server to add.
func New() *cobra.Command {
	command := &cobra.Command{
		Use:   "audit",
		Short: "Work with decrypt audit logs",
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newVerify())
	return command
}

// flags are those of verify.
type flags struct {
	keyFile string
	heads   []string
	part    bool
	known   []int
}

func newVerify() *cobra.Command {
	var f flags
	command := &cobra.Command{
		Use:           "verify FILE|DIR...",
		Short:         "Check the chain of a decrypt audit log",
		Long:          long,
		Example:       example,
		Args:          cobra.MinimumNArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, args []string) error {
			return f.run(command.OutOrStdout(), args)
		},
	}
	set := command.Flags()
	set.StringVar(&f.keyFile, "key-file", "", "Key `file` of the log, that of the server's --decrypt-audit-key-file. Required.")
	set.StringArrayVar(&f.heads, "head", nil, "Published head, `SEQUENCE:MAC`, that the log must hold; the first 12 digits of the MAC do. May be given more than once.")
	set.BoolVar(&f.part, "part", false, "The files are a part of the log: do not miss the older ones.")
	set.IntSliceVar(&f.known, "known-fault", nil, "Sequence `numbers` of opening lines whose fault (cut-off, rewritten, damaged) has been looked into.")
	if err := command.MarkFlagRequired("key-file"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}

func (f flags) run(out io.Writer, paths []string) error {
	verification, err := f.verification()
	if err != nil {
		return err
	}
	report, err := verification.Verify(paths)
	if err != nil {
		return fmt.Errorf("the log does not verify: %w", err)
	}
	_, err = fmt.Fprintf(out, `The log verifies: %d lines in %d files.
  instance    %s, chain %s
  first line  %d at %s
  head        %s at %s
  records     %d allowed, %d denied, %d more denied and only counted
`, report.Lines, report.Files, report.Instance, report.Chain, report.FirstLine, report.FirstTime.Format(time.RFC3339),
		report.Head, report.LastTime.Format(time.RFC3339), report.Allowed, report.Denied, report.Suppressed)
	if err == nil && len(f.heads) == 0 {
		_, err = fmt.Fprintln(out, "No --head was given: lines cut off behind the last one would not show.")
	}
	return err
}

func (f flags) verification() (audit.Verification, error) {
	keys, err := audit.LoadKeys(f.keyFile)
	if err != nil {
		return audit.Verification{}, fmt.Errorf("--key-file: %w", err)
	}
	v := audit.Verification{Keys: keys, Part: f.part, Known: map[uint64]bool{}}
	for _, text := range f.heads {
		witness, err := audit.ParseWitness(text)
		if err != nil {
			return audit.Verification{}, fmt.Errorf("--head: %w", err)
		}
		v.Heads = append(v.Heads, witness)
	}
	for _, number := range f.known {
		if number < 1 {
			return audit.Verification{}, fmt.Errorf("--known-fault: %d is no number of a line", number)
		}
		v.Known[uint64(number)] = true
	}
	return v, nil
}
