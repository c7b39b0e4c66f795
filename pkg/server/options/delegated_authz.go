// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/access/cluster"
)

// DelegatedAuthorizationOptions say for how long a server in a cluster relies on what kube-apiserver said of a caller.
type DelegatedAuthorizationOptions struct {
	// AllowTTL is --authorization-webhook-cache-authorized-ttl.
	AllowTTL time.Duration
	// DenyTTL is --authorization-webhook-cache-unauthorized-ttl.
	DenyTTL time.Duration
}

// NewDelegatedAuthorizationOptions returns upstream's defaults.
func NewDelegatedAuthorizationOptions() *DelegatedAuthorizationOptions {
	return &DelegatedAuthorizationOptions{AllowTTL: 10 * time.Second, DenyTTL: 10 * time.Second}
}

// AddFlags adds the flags of this concern.
func (o *DelegatedAuthorizationOptions) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.AllowTTL, "authorization-webhook-cache-authorized-ttl", o.AllowTTL,
		"How long a SubjectAccessReview that allowed is kept. A right that is taken away works for at most that long.")
	fs.DurationVar(&o.DenyTTL, "authorization-webhook-cache-unauthorized-ttl", o.DenyTTL,
		"How long a SubjectAccessReview that did not allow is kept. A right that is granted may take that long to work.")
}

func (o *DelegatedAuthorizationOptions) validate() []error {
	if o.AllowTTL < 0 || o.DenyTTL < 0 {
		return []error{errors.New("--authorization-webhook-cache-authorized-ttl and --authorization-webhook-cache-unauthorized-ttl must not be negative")}
	}
	return nil
}

func (o *DelegatedAuthorizationOptions) load(client kubernetes.Interface) (authorizer.Authorizer, error) {
	return cluster.NewAuthorizer(cluster.AuthorizationConfig{Client: client, AllowTTL: o.AllowTTL, DenyTTL: o.DenyTTL})
}
