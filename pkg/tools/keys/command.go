// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// NewCommand returns the command `keys` with its subcommands. They stop when ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	command := &cobra.Command{
		Use:   "keys",
		Short: "Report which keys seal the stored values",
		Long:  "Report which keys seal the stored values. Nothing is opened, and no encryption key is needed.",
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newReportCommand(ctx), newCheckCommand(ctx))
	// Those of the parent print the parent's flags.
	command.SetUsageFunc((&cobra.Command{}).UsageFunc())
	command.SetHelpFunc((&cobra.Command{}).HelpFunc())
	return command
}

// source is where the records are: in a data folder or in an etcd.
type source struct {
	etcd.Source
	prefix string
}

func (s *source) addFlags(fs *pflag.FlagSet) {
	s.AddFlags(fs)
	fs.StringVar(&s.prefix, "etcd-prefix", options.EtcdPrefix, "--etcd-prefix of the server.")
}

func (s *source) validate() []error {
	errs := s.Validate()
	if s.prefix == "" {
		errs = append(errs, errors.New("--etcd-prefix must not be empty"))
	}
	return errs
}

// survey counts all records, with keys named by a configuration: see sealed.KeyName. It tries the secrets of local.
func (s *source) survey(
	ctx context.Context, bar *cli.Bar, names []string, local map[string]value.Transformer,
) (*survey, error) {
	client, stop, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	found := newSurvey()
	scanner := sealed.NewScanner(client, apiserver.NewStorageCodec(), s.prefix).Naming(names)
	found.total, err = scanner.Scan(ctx, found.revision, func(record sealed.Scanned, total int64) {
		found.add(record)
		bar.Add(1, total)
	})
	bar.End()
	if err != nil {
		return nil, err
	}
	if len(client.Endpoints()) > 0 { // else this tool has started the etcd of a server that is stopped
		if found.servers, err = sealed.LiveServers(ctx, client, s.prefix, found.revision); err != nil {
			return nil, err
		}
	}
	found.wrong, err = scanner.WrongSecrets(ctx, names, local, "", 0)
	return found, err
}

// readFile reads an encryption configuration and wipes it.
func readFile[T any](file string, parse func([]byte) (T, error)) (T, error) {
	var parsed T
	data, err := reload.ReadFile(file, reload.Credentials)
	if err != nil {
		return parsed, fmt.Errorf("reading --encryption-provider-config: %w", err)
	}
	defer clear(data)
	if parsed, err = parse(data); err != nil {
		return parsed, fmt.Errorf("--encryption-provider-config %s: %w", file, err)
	}
	return parsed, nil
}
