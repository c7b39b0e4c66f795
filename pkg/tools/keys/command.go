// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// NewCommand returns the command `keys` with its subcommands. They stop when ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	command := &cobra.Command{
		Use:   "keys",
		Short: "Report which keys seal the stored values, and retire old keys",
		Long: "Report which keys seal the stored values, and retire old keys. Nothing is opened, and no encryption " +
			"key is needed.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newReportCommand(ctx), newCheckCommand(ctx), newRetireCommand(ctx))
	// Those of the parent print the parent's flags.
	command.SetUsageFunc((&cobra.Command{}).UsageFunc())
	command.SetHelpFunc((&cobra.Command{}).HelpFunc())
	return command
}

// database is a client of etcd.
type database interface {
	sealed.Etcd
	Endpoints() []string
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
	return s.read(ctx, client, bar, names, local)
}

// read is survey with a client.
func (s *source) read(
	ctx context.Context, client database, bar *cli.Bar, names []string, local map[string]value.Transformer,
) (*survey, error) {
	retired, err := sealed.ListRetired(ctx, client, s.prefix)
	if err != nil {
		return nil, err
	}
	found := newSurvey(retired)
	scanner := sealed.NewScanner(client, apiserver.NewStorageCodec(), s.prefix).Naming(names)
	found.total, err = scanner.Scan(ctx, found.revision, func(record sealed.Scanned, total int64) {
		found.add(record)
		bar.Add(1, total)
	})
	bar.End()
	if err != nil {
		return nil, err
	}
	if found.servers, err = s.liveServers(ctx, client, found.revision); err != nil {
		return nil, err
	}
	found.wrong, err = scanner.WrongSecrets(ctx, names, local, "", 0)
	return found, err
}

// liveServers returns the servers that are announced at a revision, 0 for the current one.
func (s *source) liveServers(ctx context.Context, client database, revision int64) ([]sealed.Server, error) {
	if len(client.Endpoints()) == 0 { // this tool has started the etcd of a server that is stopped
		return nil, nil
	}
	return sealed.LiveServers(ctx, client, s.prefix, revision)
}

// keyNames returns the key names of a file, or else of encryption.yaml in the data folder; none without a file.
func (s *source) keyNames(file string) ([]string, error) {
	if file = s.keyFile(file); file == "" {
		return nil, nil
	}
	return readFile(file, keys.KeyNames)
}

func (s *source) keyFile(file string) string {
	if file != "" || s.DataDir == "" {
		return file
	}
	file = filepath.Join(s.DataDir, "encryption.yaml")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// longestFirst joins key names: a value's key is the first one that it starts with.
func longestFirst(configured []string, more ...string) []string {
	names := slices.Concat(configured, more)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return names
}

// providers are the first parts of key names.
var providers = []string{"aesgcm", "aescbc", "secretbox", "kms"}

// checkKey refuses what cannot be the name of a key.
func checkKey(flag, key string) error {
	if provider, name, _ := strings.Cut(key, "/"); !slices.Contains(providers, provider) || name == "" {
		return fmt.Errorf("invalid %s %q: expected PROVIDER/NAME with one of the providers %s", flag, key,
			strings.Join(providers, ", "))
	}
	return nil
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
