// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// operatorFile is a file of the operator that something else reads: upstream's code, or a part of this server only later.
type operatorFile struct {
	flag, path string
	holds      reload.Content
}

// operatorFiles lists those files. What pkg/reload and pkg/access/rbac read they check each time.
func (o CompletedOptions) operatorFiles() []operatorFile {
	etcd := o.Storage.upstream.StorageConfig.Transport
	return []operatorFile{
		{"tls-private-key-file", o.Serving.upstream.ServerCert.CertKey.KeyFile, reload.Credentials},
		{"etcd-keyfile", etcd.KeyFile, reload.Credentials},
		{"etcd-cafile", etcd.TrustedCAFile, reload.Rights},
		{"kubeconfig", o.Core.Kubeconfig, reload.Credentials},
		{"authentication-kubeconfig", o.Core.AuthenticationKubeconfig, reload.Credentials},
		{"authorization-kubeconfig", o.Core.AuthorizationKubeconfig, reload.Credentials},
		{"audit-policy-file", o.Audit.PolicyFile, reload.Rights},
		{"tracing-config-file", o.Tracing.ConfigFile, reload.Rights},
	}
}

// checkFiles returns an error for each file to which other users have more access than its content allows.
func (o CompletedOptions) checkFiles() error {
	var errs []error
	for _, file := range o.operatorFiles() {
		if file.path == "" {
			continue
		}
		err := reload.CheckFile(file.path, file.holds)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // what reads the file says so better
			errs = append(errs, fmt.Errorf("--%s: %w", file.flag, err))
		}
	}
	return errors.Join(errs...)
}
