// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

const backupLong = `Write a snapshot of the database to a file: all values, sealed as they are stored, at one
revision. It contains everything that was acknowledged before. It needs no pause of the server, and works for a
stopped one too. Names, labels and descriptions are not sealed.

The keys are not in it. Keep the file of --encryption-provider-config (encryption.yaml in the folder of a standalone
server), or the KMS, apart from the backup: without it no value opens, and with both of them every value does.

The file has mode 0600 and the format of 'etcdctl snapshot save'. An existing one is never overwritten.`

const backupExample = `  # Of a standalone server, running or stopped.
  secret-apiserver backup --data-dir ./data --to backup.db

  # Of the etcd of a cluster.
  secret-apiserver backup --etcd-servers https://etcd:2379 --etcd-cafile ca.crt \
      --etcd-certfile tls.crt --etcd-keyfile tls.key --to backup.db

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
	command := cli.NewCommand("backup", "Write all values, sealed as they are, to a file", backupLong, backupExample,
		func(command *cobra.Command) error { return opts.run(ctx, command) })
	var flags cliflag.NamedFlagSets
	opts.source.AddFlags(flags.FlagSet("database"))
	addPrefix(flags.FlagSet("database"), &opts.prefix)
	flags.FlagSet("backup").StringVar(&opts.to, "to", "", "File to write. It must not exist. - writes to standard "+
		"output, unchecked: run `backup verify` on what arrived.")
	opts.verify.addFlags(flags.FlagSet("backup"), "Then open every value of the new backup, with the keys of "+
		"--encryption-provider-config.", "File with the keys for --verify.")
	cli.AddFlags(command, flags)
	command.AddCommand(newVerifyCommand(ctx))
	return command
}

func addPrefix(fs *pflag.FlagSet, prefix *string) {
	fs.StringVar(prefix, "etcd-prefix", options.EtcdPrefix, "--etcd-prefix of the server, to find the values.")
}

func checkPrefix(prefix string) error {
	if prefix == "" {
		return errors.New("--etcd-prefix must not be empty")
	}
	return nil
}

func (o *backupOptions) run(ctx context.Context, command *cobra.Command) error {
	errs := append(o.source.Validate(), o.verify.validate(), cli.Required("to", o.to))
	if o.to == standardOutput && o.verify.enabled {
		errs = append(errs, errors.New("--verify needs a file: it cannot read back what goes to standard output"))
	}
	if err := cli.UsageError(append(errs, checkPrefix(o.prefix))...); err != nil {
		return err
	}
	if o.to == standardOutput {
		return stream(ctx, &o.source, command.OutOrStdout(), command.ErrOrStderr())
	}
	opener, err := o.verify.open(ctx, o.prefix) // before the long part: a wrong file of keys shows immediately
	if err != nil {
		return err
	}
	saved, err := save(ctx, &o.source, o.to, sealed.Roots(o.prefix), command.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { _ = saved.close() }() // only read
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s: %s (%d bytes), revision %d, %s. The keys are not in it: keep "+
		"the file of --encryption-provider-config (encryption.yaml of a standalone server) apart from it; "+
		"without it no value opens\n",
		saved.path, cli.Size(saved.size), saved.size, saved.revision, saved.content())
	if err != nil || opener == nil {
		return err
	}
	return saved.verify(ctx, opener, command)
}

// errExists refuses a name that is taken.
var errExists = errors.New("exists already, and a backup never overwrites: name another file with --to")

// save writes a snapshot to target, which must not exist, and returns it opened. Until all of it is on the disk and
// checked it has another name, so that a file of the requested name is always complete.
func save(ctx context.Context, source *etcd.Source, target string, roots [2]string, out io.Writer) (*file,
	error) {
	_, err := os.Lstat(target) // before the long part
	if err == nil {
		return nil, fmt.Errorf("%s %w", target, errExists)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--to: %w", err)
	}
	client, stop, err := source.OpenMember(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	temp, err := atomicfile.Create(target)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // published by then, or useless
	err = fetch(ctx, client, temp, out)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return nil, fmt.Errorf("writing the backup: %w", err)
	}
	checked, err := openFile(ctx, temp.Name(), roots, nil)
	if err != nil {
		return nil, fmt.Errorf("checking the new backup: %w", err)
	}
	if err := atomicfile.Publish(temp.Name(), target); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s %w", target, errExists)
		} else {
			err = fmt.Errorf("--to: %w", err)
		}
		return nil, errors.Join(err, checked.close())
	}
	checked.path = target
	return checked, nil
}

// stream writes a snapshot to out as it arrives. The checksum at its end shows a reader whether it is complete.
func stream(ctx context.Context, source *etcd.Source, out, progress io.Writer) error {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("--to -: standard output is a terminal: redirect it to a file or pipe it to a program")
	}
	client, stop, err := source.OpenMember(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := fetch(ctx, client, out, progress); err != nil {
		return fmt.Errorf("writing the backup to standard output: %w", err)
	}
	return nil
}

// fetch copies a snapshot as etcd sends it: the database, then its checksum.
func fetch(ctx context.Context, client etcd.Snapshotter, to, out io.Writer) error {
	var total int64
	if endpoints := client.Endpoints(); len(endpoints) > 0 {
		if status, err := client.Status(ctx, endpoints[0]); err == nil { // only for the progress bar
			total = status.DbSize
		}
	}
	snapshot, err := client.SnapshotWithVersion(ctx)
	if err != nil {
		return fmt.Errorf("requesting a snapshot from etcd: %w", err)
	}
	bar := cli.New(out, cli.Bytes)
	_, err = io.Copy(to, watched(ctx, snapshot.Snapshot, bar, total))
	bar.End()
	return errors.Join(err, snapshot.Snapshot.Close())
}
