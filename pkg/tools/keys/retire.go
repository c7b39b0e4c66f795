// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

const retireLong = `Retire a key: from now on no server seals a value under it, whatever file that server has read. A
write that would is refused with 503. Values that are under the key stay readable and keep accepting labels, while the
key is in the file.

Retire a key after another one is first on every server, and before the key is removed. The record of the retired key is
written to the database first, then all values are read. The exit code is 0 only when none is under the key. Otherwise
the key stays retired: run the command again once the rest was re-encrypted.

Refused for a key that nothing knows, that is first on a running server or in the file, or that is the only one. With
--etcd-servers, --servers must be the number of running servers: one of a version that does not know retired keys is not
announced and not bound.`

const retireExample = `  # After the new key is first everywhere:
  secret-apiserver keys retire aesgcm/key-20250101-3f9c2e71 --data-dir ./data

  # In a cluster of three servers:
  secret-apiserver keys retire aesgcm/key-20250101-3f9c2e71 --servers 3 --etcd-servers https://etcd:2379 \
      --etcd-cafile ca.crt --etcd-certfile tls.crt --etcd-keyfile tls.key

  # Let servers seal under it again:
  secret-apiserver keys retire aesgcm/key-20250101-3f9c2e71 --data-dir ./data --undo`

// noServers is --servers when it is not given.
const noServers = -1

// retireOptions are the argument and the flags of keys retire.
type retireOptions struct {
	source  source
	key     string
	file    string
	servers int
	undo    bool
}

func newRetireCommand(ctx context.Context) *cobra.Command {
	var opts retireOptions
	command := cli.NewCommand("retire PROVIDER/NAME", "Let no server seal under a key any more", retireLong,
		retireExample, func(command *cobra.Command) error {
			opts.key = strings.Join(command.Flags().Args(), " ")
			return opts.run(ctx, command)
		})
	command.Args = cobra.ArbitraryArgs
	var flags cliflag.NamedFlagSets
	opts.source.addFlags(flags.FlagSet("database"))
	fs := flags.FlagSet("retire")
	fs.StringVar(&opts.file, keys.Flag, "", "File that still has the key, if no server is running. Only names are "+
		"read. Default with --data-dir: encryption.yaml in that folder, if it exists.")
	fs.IntVar(&opts.servers, "servers", noServers, "Number of running servers. Required with --etcd-servers.")
	fs.BoolVar(&opts.undo, "undo", false, "Let servers seal under the key again.")
	cli.AddFlags(command, flags)
	return command
}

func (o *retireOptions) validate() error {
	errs := append(o.source.validate(), checkKey("key", o.key))
	switch {
	case o.source.DataDir != "" && o.servers != noServers:
		errs = append(errs, errors.New("--servers is for --etcd-servers only"))
	case len(o.source.Remote.ServerList) > 0 && !o.undo && o.servers < 0:
		errs = append(errs, errors.New("--servers is required with --etcd-servers: the number of running servers"))
	}
	return cli.UsageError(errs...)
}

func (o *retireOptions) run(ctx context.Context, command *cobra.Command) error {
	if err := o.validate(); err != nil {
		return err
	}
	configured, err := o.source.keyNames(o.file)
	if err != nil {
		return err
	}
	client, stop, err := o.source.Open(ctx)
	if err != nil {
		return err
	}
	defer stop()
	servers, err := o.source.liveServers(ctx, client, 0)
	if err != nil {
		return err
	}
	if o.undo {
		return o.undoRetire(ctx, command, client, configured, servers)
	}
	if err := errors.Join(checkServers(servers, o.key, o.servers), o.checkFile(configured),
		o.checkKnown(ctx, client, configured, servers)); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	if err := sealed.Retire(ctx, client, o.source.prefix, o.key); err != nil {
		return fmt.Errorf("%w; it may have been written: run the command again", err)
	}
	found, err := o.source.read(ctx, client, cli.New(command.ErrOrStderr(), cli.Values),
		longestFirst(configured, o.key), nil)
	if err != nil {
		return fmt.Errorf("%w; %s is retired, but it is not known what is under it: run the command again", err, o.key)
	}
	return o.result(command, found)
}

// result prints what was found after the key was retired, and returns an error if that is no proof.
func (o *retireOptions) result(command *cobra.Command, found *survey) error {
	record := found.retired.Covering(o.key)
	if record == nil {
		return fmt.Errorf("%s is not retired at revision %d: another operator has undone it", o.key, found.revision)
	}
	out := command.OutOrStdout()
	if _, err := fmt.Fprintf(out, "%s is retired since revision %d: no server seals under it any more\n", o.key,
		record.Revision); err != nil {
		return err
	}
	err := errors.Join(found.incomplete(), found.fenced(o.key, o.source.retireCommand(o.file)))
	if used := found.under(o.key); used.count > 0 {
		err = errors.Join(err, fmt.Errorf("%s are still under %s: %s; it stays retired and is needed to open "+
			"them: run the command again once they are re-encrypted (metric secret_values_stale)", used.text(), o.key,
			listNames(used)))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "No value is under it at revision %d (%s)\n"+
		"Backups of a revision before %[1]d may need it: keep it as long as them\n"+
		"Next, check the file without it: %[3]s\n", found.revision,
		cli.NumberOfSealed(found.values(), found.sealingKeys),
		o.source.command("keys check --"+keys.Flag+" FILE"))
	return err
}

// checkServers refuses servers that are not bound by the record of a retired key, that write under the key, or that are
// not as many as want, unless that is noServers.
func checkServers(servers []sealed.Server, key string, want int) error {
	var errs []error
	names := make([]string, 0, len(servers))
	for _, server := range servers {
		names = append(names, server.Instance)
		switch {
		case server.Fault != "" || server.Fence != sealed.Fence:
			errs = append(errs, fmt.Errorf("server %s has a version that does not know retired keys as this program "+
				"does: upgrade it first", server.Instance))
		case secret.CoversKey(key, server.WriteKey):
			errs = append(errs, fmt.Errorf("server %s writes under %s: put the new key first in its file, and wait "+
				"until keys report shows that", server.Instance, server.WriteKey))
		}
	}
	if want != noServers && len(servers) != want {
		errs = append(
			errs,
			fmt.Errorf("--servers is %d, but %d running servers are announced (%s): wait until all are, "+
				"stop or upgrade those that are too old to be, or correct the number", want, len(servers),
				strings.Join(names, ", ")),
		)
	}
	return errors.Join(errs...)
}

// checkFile refuses the first key of the file, and its only one.
func (o *retireOptions) checkFile(configured []string) error {
	file := o.source.keyFile(o.file)
	if file == "" {
		return nil
	}
	if len(configured) == 1 && configured[0] == o.key {
		return fmt.Errorf("%s is the only key in %s: add a new one first", o.key, file)
	}
	config, err := readFile(file, keys.Parse)
	if err != nil {
		return err
	}
	if provider, name, _, _ := config.WriteKey(); provider+"/"+name == o.key {
		return fmt.Errorf("%s is the first key in %s: put the new one first", o.key, file)
	}
	return nil
}

// checkKnown refuses a key that neither the file, nor a running server, nor a stored value has.
func (o *retireOptions) checkKnown(ctx context.Context, client database, configured []string,
	servers []sealed.Server) error {
	if o.has(configured, servers) {
		return nil
	}
	found, err := o.source.read(ctx, client, nil, longestFirst(configured, o.key), nil)
	if err != nil {
		return err
	}
	if found.under(o.key).count == 0 && found.retired.Covering(o.key) == nil {
		return fmt.Errorf(
			"no stored value, no running server and no key of --%s is named %q: correct the name, or give "+
				"the file that still has the key",
			keys.Flag,
			o.key,
		)
	}
	return nil
}

// has reports whether the file or a running server has the key.
func (o *retireOptions) has(configured []string, servers []sealed.Server) bool {
	return slices.Contains(configured, o.key) || slices.ContainsFunc(servers, func(server sealed.Server) bool {
		return slices.Contains(server.Keys, o.key) || server.WriteKey == o.key
	})
}

func (o *retireOptions) undoRetire(ctx context.Context, command *cobra.Command, client database,
	configured []string, servers []sealed.Server) error {
	if !o.has(configured, servers) {
		return fmt.Errorf("no running server and no key of --%s is named %q: what is sealed under it could not be "+
			"opened; nothing was changed", keys.Flag, o.key)
	}
	done, err := sealed.Unretire(ctx, client, o.source.prefix, o.key)
	if err != nil {
		return fmt.Errorf("%w; it may have been deleted: run the command again", err)
	}
	if !done {
		return fmt.Errorf("%s is not retired", o.key)
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s is not retired any more: servers that have it first seal under it "+
		"again. What keys report and keys check proved before does not hold\n", o.key)
	return err
}

// retireCommand returns the command that retires a key in this database, with N for the number of servers. file is
// --encryption-provider-config.
func (s *source) retireCommand(file string) func(key string) string {
	return func(key string) string {
		text := "keys retire " + cli.Quote(key)
		if file != "" {
			text += " --" + keys.Flag + " " + cli.Quote(file)
		}
		if s.DataDir == "" {
			text += " --servers N"
		}
		return s.command(text)
	}
}

// command returns a command of this program with the flags of the database.
func (s *source) command(text string) string {
	for _, flag := range []struct{ name, value, byDefault string }{
		{"data-dir", s.DataDir, ""}, {"etcd-servers", strings.Join(s.Remote.ServerList, ","), ""},
		{"etcd-cafile", s.Remote.TrustedCAFile, ""}, {"etcd-certfile", s.Remote.CertFile, ""},
		{"etcd-keyfile", s.Remote.KeyFile, ""}, {"etcd-prefix", s.prefix, options.EtcdPrefix},
	} {
		if flag.value != flag.byDefault {
			text += " --" + flag.name + " " + cli.Quote(flag.value)
		}
	}
	return "secret-apiserver " + text
}
