// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"

	"github.com/securevalue/secret-apiserver/pkg/decrypt"
	"github.com/securevalue/secret-apiserver/pkg/storage/sealed"
)

// EtcdPrefix is the default of --etcd-prefix.
const EtcdPrefix = "/registry/secret.grafana.app"

// StorageOptions say where values are kept and under which keys.
type StorageOptions struct {
	upstream *genericoptions.EtcdOptions
	// embedded calls an etcd in this process without its socket; nil when etcd is elsewhere.
	embedded decrypt.Etcd
	// newRaw builds the store below the sealing one.
	newRaw sealed.NewRawFunc
}

// NewStorageOptions returns the defaults. codec encodes the object part of a stored record.
func NewStorageOptions(codec runtime.Codec) *StorageOptions {
	upstream := genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig(EtcdPrefix, codec))
	return &StorageOptions{upstream: upstream, newRaw: sealed.Remote}
}

// AddFlags adds the flags of this concern.
func (o *StorageOptions) AddFlags(fs *pflag.FlagSet) {
	pick(fs, o.upstream.AddFlags, "etcd-servers", "etcd-prefix", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "watch-cache")
	fs.Lookup("etcd-servers").Usage = "etcd servers to use (scheme://host:port), comma separated. Without them a standalone server runs its own in --data-dir; in a cluster they are required."
	fs.Lookup("etcd-cafile").Usage = "CA file that the certificate of etcd is checked against."
	fs.Lookup("etcd-certfile").Usage = "Client certificate for etcd."
	fs.Lookup("etcd-keyfile").Usage = "Private key of --etcd-certfile."
	fs.Lookup("watch-cache").Usage = "Answer lists and watches from memory. The cache never holds a value or a ciphertext."
}

func (o *StorageOptions) validate() []error {
	var errs []error
	for _, server := range o.upstream.StorageConfig.Transport.ServerList {
		if u, err := url.Parse(server); err != nil || !slices.Contains([]string{"http", "https", "unix", "unixs"}, u.Scheme) || u.Host+u.Path == "" {
			errs = append(errs, fmt.Errorf("--etcd-servers: %q is no address of etcd: write scheme://host:port", server))
		}
	}
	if transport := o.upstream.StorageConfig.Transport; (transport.CertFile == "") != (transport.KeyFile == "") {
		errs = append(errs, errors.New("--etcd-certfile and --etcd-keyfile go together"))
	}
	if o.upstream.StorageConfig.Prefix == "" {
		errs = append(errs, errors.New("--etcd-prefix must not be empty"))
	}
	return errs
}

// HasServers reports whether the operator brings etcd.
func (o *StorageOptions) HasServers() bool {
	return len(o.upstream.StorageConfig.Transport.ServerList) > 0
}

// ServerNames lists the etcd servers for a message.
func (o *StorageOptions) ServerNames() string {
	return strings.Join(o.upstream.StorageConfig.Transport.ServerList, ",")
}

// UseEmbedded sets the etcd of a server that was given none: its endpoints, a client in this process, which the caller
// closes, and a store on it.
func (o *StorageOptions) UseEmbedded(endpoints []string, client decrypt.Etcd, newRaw sealed.NewRawFunc) {
	o.upstream.StorageConfig.Transport.ServerList, o.embedded, o.newRaw = endpoints, client, newRaw
}

// applyTo puts the sealing store over etcd.
func (o *StorageOptions) applyTo(config *genericapiserver.Config, sealer *sealed.Sealer) (*sealed.RESTOptionsGetter, error) {
	if err := o.upstream.ApplyTo(config); err != nil {
		return nil, fmt.Errorf("setting up --etcd-servers: %w", err)
	}
	// A restart does not heal etcd: it is for readiness only.
	config.LivezChecks = slices.DeleteFunc(config.LivezChecks, func(check healthz.HealthChecker) bool { return check.Name() == "etcd" })
	getter := sealed.NewRESTOptionsGetter(config.RESTOptionsGetter, sealer, o.upstream.EnableWatchCache, o.newRaw)
	config.RESTOptionsGetter = getter
	return getter, nil
}
