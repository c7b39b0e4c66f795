// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/securevalue/secret-apiserver/pkg/access/local"
	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// Inputs is the content of the files that flags name. It can only come from Load.
type Inputs struct {
	authn *local.Authenticator // standalone
	rbac  *rbac.Store          // standalone
	// cluster is nil in a standalone server.
	cluster *inCluster
	audit   *auditLog
	// tracing is nil when nothing is to be traced.
	tracing tracing.Provider
}

// Load reads every file that a flag names. It is called before the data folder is touched, so that a faulty file
// changes nothing. ctx must live as long as the server. admin knows a standalone server's own token; it is not asked here.
func (o CompletedOptions) Load(ctx context.Context, admin authenticator.Token) (*Inputs, error) {
	if err := o.checkFiles(); err != nil {
		return nil, err
	}
	if err := o.Serving.check(); err != nil {
		return nil, err
	}
	if err := o.Encryption.check(); err != nil {
		return nil, err
	}
	var inputs Inputs
	var err error
	if inputs.tracing, err = o.Tracing.Open(ctx, serviceName); err != nil {
		return nil, err
	}
	if o.Standalone.Enabled {
		err = inputs.loadStandalone(ctx, o, admin)
	} else {
		inputs.cluster, err = o.loadCluster(ctx, inputs.tracing)
	}
	if err != nil {
		return nil, err
	}
	if inputs.audit, err = o.Audit.load(ctx); err != nil {
		return nil, err
	}
	return &inputs, nil
}

func (i *Inputs) loadStandalone(ctx context.Context, o CompletedOptions, admin authenticator.Token) error {
	var err error
	if i.authn, err = o.Authentication.load(ctx, admin); err != nil {
		return err
	}
	i.rbac, err = o.Authorization.load()
	return err
}

// decryptAccess is who may call the decrypt port: by RBAC alone in a standalone server, without system:masters, and by
// SubjectAccessReviews in a cluster. Answers are kept by the decrypt service itself.
func (i *Inputs) decryptAccess() (decryptAccess, error) {
	if i.cluster != nil {
		return i.cluster.decryptAccess()
	}
	return decryptAccess{authenticator: i.authn.Credentials(), authorizer: rbac.New(i.rbac), clientCA: i.authn.ClientCA()}, nil
}
