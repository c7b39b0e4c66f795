// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// source says where the records are: in a data folder or in an etcd.
type source struct {
	etcd.Source
	prefix string
}

func (s *source) addFlags(fs *pflag.FlagSet) {
	s.AddFlags(fs)
	fs.StringVar(&s.prefix, "etcd-prefix", options.EtcdPrefix, "The --etcd-prefix of the server.")
}

func (s *source) validate() []error {
	errs := s.Validate()
	if s.prefix == "" {
		errs = append(errs, errors.New("--etcd-prefix must not be empty"))
	}
	return errs
}

// survey counts everything, with keys named by a configuration: see sealed.KeyName. It tries the secrets of local.
func (s *source) survey(ctx context.Context, bar *cli.Bar, names []string, local map[string]value.Transformer) (*survey, error) {
	client, stop, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	found := newSurvey()
	scanner := sealed.NewScanner(client, apiserver.NewStorageCodec(), s.prefix).Naming(names)
	revision, total, err := scanner.Scan(ctx, func(record sealed.Scanned, total int64) {
		found.add(record)
		bar.Add(1, total)
	})
	bar.End()
	if err != nil {
		return nil, err
	}
	found.revision, found.total = revision, total
	found.wrong, err = scanner.WrongSecrets(ctx, names, local, "", 0)
	return found, err
}
