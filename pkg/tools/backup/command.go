// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/term"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

const backupLong = `Write a snapshot of the database to a file: all values as they are stored, which is sealed, at one revision. Everything
that was acknowledged before is in it. The server goes on meanwhile; a stopped one is backed up too. Names, labels and
descriptions are not sealed.

The keys are not in it. Keep the file of --encryption-provider-config (encryption.yaml in the folder of a standalone
server), or the KMS, apart from the backup: without it no value opens, and with both of them every value does.

The file has mode 0600 and the form of 'etcdctl snapshot save'. An existing one is never overwritten.`

const backupExample = `  # Of a standalone server, running or stopped.
  secret-apiserver backup --data-dir ./data --to backup.db

  # Of the etcd of a cluster.
  secret-apiserver backup --etcd-servers https://etcd:2379 --etcd-cafile ca.crt --etcd-certfile tls.crt --etcd-keyfile tls.key --to backup.db

  # To another machine, without a copy on this one.
  secret-apiserver backup --data-dir ./data --to - | ssh backup-host 'cat > backup.db'

  # Open every value of it, to know that it can be restored with these keys.
  secret-apiserver backup verify --from backup.db --encryption-provider-config encryption.yaml`

// standardOutput is --to for a pipe.
const standardOutput = "-"

// backupOptions are the flags of backup.
type backupOptions struct {
	source etcd.Source
	prefix string
	to     string
	verify verifyOptions
}

// NewCommand returns the command `backup` with its subcommand. They stop when ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	var opts backupOptions
	command := &cobra.Command{
		Use:     "backup",
		Short:   "Write all values, sealed as they are, to a file",
		Long:    backupLong + "\n\nExamples:\n\n" + backupExample,
		Example: backupExample,
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return opts.run(ctx, command) },
	}
	var flags cliflag.NamedFlagSets
	opts.source.AddFlags(flags.FlagSet("database"))
	addPrefix(flags.FlagSet("database"), &opts.prefix)
	flags.FlagSet("backup").StringVar(&opts.to, "to", "", "File to write. It must not exist. - writes to standard output, unchecked: run `backup verify` on what arrived.")
	opts.verify.addFlags(flags.FlagSet("backup"), "Then open every value of the new backup, with the keys of --encryption-provider-config.")
	addFlags(command, flags)
	command.AddCommand(newVerifyCommand(ctx))
	return command
}

func (o *backupOptions) run(ctx context.Context, command *cobra.Command) error {
	errs := append(o.source.Validate(), o.verify.validate()...)
	if o.to == "" {
		errs = append(errs, errors.New("--to is required"))
	}
	if o.to == standardOutput && o.verify.asked {
		errs = append(errs, errors.New("--verify needs a file: it cannot read back what goes to standard output"))
	}
	if err := usage(append(errs, checkPrefix(o.prefix)...)); err != nil {
		return err
	}
	if o.to == standardOutput {
		return stream(ctx, &o.source, command.OutOrStdout(), command.ErrOrStderr())
	}
	opener, err := o.verify.open(ctx, o.prefix) // before the long part: a wrong file of keys shows at once
	if err != nil {
		return err
	}
	saved, err := save(ctx, &o.source, o.to, sealed.RecordRoot(o.prefix), command.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { _ = saved.close() }() // only read
	if err := announce(command.OutOrStdout(), saved); err != nil || opener == nil {
		return err
	}
	return saved.verify(ctx, opener, command)
}

// announce prints the closing line.
func announce(out io.Writer, f *file) error {
	_, err := fmt.Fprintf(out, "%s: %s (%d bytes), revision %d, %s. The keys are not in it: keep the file of "+
		"--encryption-provider-config (encryption.yaml of a standalone server) apart from it; without it no value opens\n",
		f.path, cli.Size(f.size), f.size, f.revision, cli.NumberOfValues(int64(len(f.records))))
	return err
}

func addPrefix(fs *pflag.FlagSet, prefix *string) {
	fs.StringVar(prefix, "etcd-prefix", options.EtcdPrefix, "The --etcd-prefix of the server, to know the values by.")
}

func checkPrefix(prefix string) []error {
	if prefix == "" {
		return []error{errors.New("--etcd-prefix must not be empty")}
	}
	return nil
}

// usage joins the faults of flags.
func usage(errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w; see --help", err)
	}
	return nil
}

// addFlags groups the flags of a command as --help prints them.
func addFlags(command *cobra.Command, flags cliflag.NamedFlagSets) {
	for _, name := range flags.Order {
		command.Flags().AddFlagSet(flags.FlagSets[name])
	}
	columns, _, _ := term.TerminalSize(command.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(command, flags, columns)
}
