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

const long = `Check that a decrypt audit log is as the server wrote it: no line edited, removed, repeated or
reordered, over all given files, in any order; a folder stands for the files in it. It reports the first bad line.

The files alone do not show lines that were cut off at the end. Pass a published head with --head: the server writes
one to its log and to etcd every few seconds, and the metrics secret_decrypt_audit_head_sequence and _head_mac48 have
it too.`

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

// options are the flags of verify.
type options struct {
	keyFile string
	heads   []string
	part    bool
	known   []int
}

func newVerify() *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:           "verify FILE|DIR...",
		Short:         "Check the chain of a decrypt audit log",
		Long:          long,
		Example:       example,
		Args:          cobra.MinimumNArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.OutOrStdout(), args)
		},
	}
	fs := command.Flags()
	fs.StringVar(&o.keyFile, "key-file", "", "Key `file` of the log: --decrypt-audit-key-file of the server. Required.")
	fs.StringArrayVar(&o.heads, "head", nil, "Published head, `SEQUENCE:MAC`, that the log must have. "+
		"The first 12 digits of the MAC are enough. May be repeated.")
	fs.BoolVar(&o.part, "part", false, "Accept that older files are missing: these are a part of the log.")
	fs.IntSliceVar(&o.known, "known-fault", nil, "Sequence `numbers` of opening lines with a known fault "+
		"(cut-off, rewritten, damaged).")
	if err := command.MarkFlagRequired("key-file"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}

func (o options) run(out io.Writer, paths []string) error {
	verification, err := o.verification()
	if err != nil {
		return err
	}
	report, err := verification.Verify(paths)
	if err != nil {
		return fmt.Errorf("the log does not verify: %w", err)
	}
	text := fmt.Sprintf(`The log verifies: %d lines in %d files.
  instance    %s, chain %s
  first line  %d at %s
  head        %s at %s
  records     %d allowed, %d denied, %d more denied and only counted
`, report.Lines, report.Files, report.Instance, report.Chain, report.FirstLine, report.FirstTime.Format(time.RFC3339),
		report.Head, report.LastTime.Format(time.RFC3339), report.Allowed, report.Denied, report.Suppressed)
	if len(o.heads) == 0 {
		text += "No --head was given: lines cut off at the end would not show.\n"
	}
	_, err = fmt.Fprint(out, text)
	return err
}

func (o options) verification() (audit.Verification, error) {
	keys, err := audit.LoadKeys(o.keyFile)
	if err != nil {
		return audit.Verification{}, fmt.Errorf("--key-file: %w", err)
	}
	v := audit.Verification{Keys: keys, Part: o.part, Known: map[uint64]bool{}}
	for _, text := range o.heads {
		witness, err := audit.ParseWitness(text)
		if err != nil {
			return audit.Verification{}, fmt.Errorf("--head: %w", err)
		}
		v.Heads = append(v.Heads, witness)
	}
	for _, number := range o.known {
		if number < 1 {
			return audit.Verification{}, fmt.Errorf("invalid --known-fault %d: lines are numbered from 1", number)
		}
		v.Known[uint64(number)] = true
	}
	return v, nil
}
