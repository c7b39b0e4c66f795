// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// Source says which database a tool reads: that of a data folder, or an etcd that somebody else runs.
type Source struct {
	// DataDir is the folder of a standalone server, running or stopped.
	DataDir string
	// Remote is used when DataDir is empty.
	Remote Remote
}

// AddFlags adds the flags that name the database.
func (s *Source) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.DataDir, "data-dir", "", "Folder of a standalone server, running or stopped.")
	fs.StringSliceVar(&s.Remote.Endpoints, "etcd-servers", nil, "etcd servers to read (scheme://host:port), comma separated, instead of --data-dir.")
	fs.StringVar(&s.Remote.CAFile, "etcd-cafile", "", "CA file that the certificate of etcd is checked against.")
	fs.StringVar(&s.Remote.CertFile, "etcd-certfile", "", "Client certificate for etcd.")
	fs.StringVar(&s.Remote.KeyFile, "etcd-keyfile", "", "Private key of --etcd-certfile.")
}

// Validate returns every fault of the flags.
func (s *Source) Validate() []error {
	var errs []error
	if (s.DataDir == "") == (len(s.Remote.Endpoints) == 0) {
		errs = append(errs, errors.New("name one of --data-dir and --etcd-servers"))
	}
	if (s.Remote.CertFile == "") != (s.Remote.KeyFile == "") {
		errs = append(errs, errors.New("--etcd-certfile and --etcd-keyfile go together"))
	}
	if len(s.Remote.Endpoints) == 0 && s.Remote.CAFile+s.Remote.CertFile+s.Remote.KeyFile != "" {
		errs = append(errs, errors.New("--etcd-cafile, --etcd-certfile and --etcd-keyfile need --etcd-servers"))
	}
	return errs
}

// Open returns a client of the database that has answered once. stop ends what it needed. It is for tools.
func (s *Source) Open(ctx context.Context) (client *clientv3.Client, stop func(), err error) {
	if s.DataDir == "" {
		if s.Remote.KeyFile != "" {
			if err := reload.CheckFile(s.Remote.KeyFile, reload.Credentials); err != nil {
				return nil, nil, fmt.Errorf("--etcd-keyfile: %w", err)
			}
		}
		client, stop, err = Dial(ctx, s.Remote)
		if err != nil {
			return nil, nil, fmt.Errorf("--etcd-servers: %w", err)
		}
		return client, stop, nil
	}
	client, stop, err = Open(ctx, filepath.Join(s.DataDir, "etcd"))
	if err != nil {
		return nil, nil, fmt.Errorf("--data-dir: %w", err)
	}
	return client, stop, nil
}

// Snapshotter is what a backup needs of a client.
type Snapshotter interface {
	Endpoints() []string
	clientv3.Maintenance
}

// OpenMember returns a client of one member, the first of --etcd-servers that answers: a snapshot is of one member. Its
// answer was a linearizable read, so that this member has every write that was acknowledged before the call.
func (s *Source) OpenMember(ctx context.Context) (client *clientv3.Client, stop func(), err error) {
	if s.DataDir != "" {
		return s.Open(ctx)
	}
	var errs []error
	for _, endpoint := range s.Remote.Endpoints {
		one := Source{Remote: s.Remote}
		one.Remote.Endpoints = []string{endpoint}
		client, stop, err = one.Open(ctx)
		if err == nil {
			return client, stop, nil
		}
		errs = append(errs, err)
	}
	return nil, nil, errors.Join(errs...)
}
