// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/storage/sealed"
)

// source says where the records are: in a data folder or in an etcd.
type source struct {
	dataDir string
	remote  etcd.Remote
	prefix  string
}

func (s *source) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.dataDir, "data-dir", "", "Folder of a standalone server, running or stopped.")
	fs.StringSliceVar(&s.remote.Endpoints, "etcd-servers", nil, "etcd servers to read (scheme://host:port), comma separated, instead of --data-dir.")
	fs.StringVar(&s.remote.CAFile, "etcd-cafile", "", "CA file that the certificate of etcd is checked against.")
	fs.StringVar(&s.remote.CertFile, "etcd-certfile", "", "Client certificate for etcd.")
	fs.StringVar(&s.remote.KeyFile, "etcd-keyfile", "", "Private key of --etcd-certfile.")
	fs.StringVar(&s.prefix, "etcd-prefix", options.EtcdPrefix, "The --etcd-prefix of the server.")
}

func (s *source) validate() []error {
	var errs []error
	if (s.dataDir == "") == (len(s.remote.Endpoints) == 0) {
		errs = append(errs, errors.New("name one of --data-dir and --etcd-servers"))
	}
	if (s.remote.CertFile == "") != (s.remote.KeyFile == "") {
		errs = append(errs, errors.New("--etcd-certfile and --etcd-keyfile go together"))
	}
	if len(s.remote.Endpoints) == 0 && s.remote.CAFile+s.remote.CertFile+s.remote.KeyFile != "" {
		errs = append(errs, errors.New("--etcd-cafile, --etcd-certfile and --etcd-keyfile need --etcd-servers"))
	}
	if s.prefix == "" {
		errs = append(errs, errors.New("--etcd-prefix must not be empty"))
	}
	return errs
}

// open returns a scanner. stop ends what it needed.
func (s *source) open(ctx context.Context) (scanner *sealed.Scanner, stop func(), err error) {
	if s.dataDir == "" {
		client, stop, err := etcd.Dial(ctx, s.remote)
		if err != nil {
			return nil, nil, fmt.Errorf("--etcd-servers: %w", err)
		}
		return sealed.NewScanner(client, apiserver.NewStorageCodec(), s.prefix), stop, nil
	}
	client, stop, err := etcd.Open(ctx, filepath.Join(s.dataDir, "etcd"))
	if err != nil {
		return nil, nil, fmt.Errorf("--data-dir: %w", err)
	}
	return sealed.NewScanner(client, apiserver.NewStorageCodec(), s.prefix), stop, nil
}

// survey scans everything.
func (s *source) survey(ctx context.Context, progress *progress) (*survey, error) {
	scanner, stop, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	found := newSurvey()
	revision, total, err := scanner.Scan(ctx, func(record sealed.Scanned, total int64) {
		found.add(record)
		progress.step(total)
	})
	progress.end()
	if err != nil {
		return nil, err
	}
	found.revision, found.total = revision, total
	return found, nil
}
