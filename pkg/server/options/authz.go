// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
)

// AuthorizationOptions say what callers of a standalone server may do.
type AuthorizationOptions struct {
	// RBACDir is --rbac-dir.
	RBACDir string
}

// AddFlags adds the flags of this concern.
func (o *AuthorizationOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.RBACDir, "rbac-dir", o.RBACDir,
		"Folder of Role, ClusterRole, RoleBinding and ClusterRoleBinding manifests. Reloaded when it changes; a broken edit keeps the last good set. Without it only the group system:masters may do anything.")
}

func (o *AuthorizationOptions) load() (*rbac.Store, error) {
	snapshot, err := rbac.Load(o.RBACDir)
	if err != nil {
		return nil, fmt.Errorf("reading --rbac-dir: %w", err)
	}
	return rbac.NewStore(snapshot), nil
}

func (o *Options) applyAuthorization(config *genericapiserver.Config, store *rbac.Store) error {
	standalone := rbac.NewStandalone(store)
	config.Authorization.Authorizer = standalone
	config.RuleResolver = standalone
	if o.Authorization.RBACDir == "" {
		return nil
	}
	watcher := rbac.NewWatcher(o.Authorization.RBACDir, store)
	o.addFault("rbac-dir", refused, watcher.Healthy)
	return config.AddPostStartHook("reload-rbac", func(hook genericapiserver.PostStartHookContext) error {
		go watcher.Run(hook)
		return nil
	})
}
