// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"

	"github.com/securevalue/secret-apiserver/pkg/decrypt"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
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
	// historyMax, quota and minFree are --etcd-history-max-bytes, --etcd-quota-backend-bytes and --data-dir-min-free.
	historyMax, quota resource.QuantityValue
	minFree           string
	// remote is the client of an etcd elsewhere once it was asked for.
	remote decrypt.Etcd
}

// autoMinFree is the default of --data-dir-min-free.
const autoMinFree = "auto"

// leastQuota is the smallest --etcd-quota-backend-bytes: an empty database has a few hundred kilobytes.
const leastQuota = 16 << 20

// NewStorageOptions returns the defaults. codec encodes the object part of a stored record.
func NewStorageOptions(codec runtime.Codec) *StorageOptions {
	upstream := genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig(EtcdPrefix, codec))
	return &StorageOptions{
		upstream: upstream, newRaw: sealed.Remote, minFree: autoMinFree,
		historyMax: resource.QuantityValue{Quantity: resource.MustParse("1Gi")},
		quota:      resource.QuantityValue{Quantity: *resource.NewQuantity(etcd.DefaultQuotaBytes, resource.BinarySI)},
	}
}

// AddFlags adds the flags of this concern.
func (o *StorageOptions) AddFlags(fs *pflag.FlagSet) {
	pick(fs, o.upstream.AddFlags, "etcd-servers", "etcd-prefix", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "watch-cache")
	fs.Lookup("etcd-servers").Usage = "etcd servers to use (scheme://host:port), comma separated. Without them a standalone server runs its own in --data-dir; in a cluster they are required."
	fs.Lookup("etcd-cafile").Usage = "CA file that the certificate of etcd is checked against."
	fs.Lookup("etcd-certfile").Usage = "Client certificate for etcd."
	fs.Lookup("etcd-keyfile").Usage = "Private key of --etcd-certfile."
	fs.Var(&o.historyMax, "etcd-history-max-bytes",
		"Maximum size of overwritten and deleted values that etcd keeps, as 1Gi or 512Mi. They are kept for five to ten minutes, "+
			"or above this size for 30 seconds; watches and continue tokens that are older then get 410. 0 sets no limit.")
	fs.Var(&o.quota, "etcd-quota-backend-bytes",
		"Size of the embedded etcd's database at which it refuses writes. Without effect with --etcd-servers.")
	fs.StringVar(&o.minFree, "data-dir-min-free", o.minFree,
		"Free space on the disk of the embedded etcd below which writes get 503, as 512Mi; reads, decrypts and deletes go on. "+
			"At least 64Mi. auto is 256Mi, or 5% of a smaller file system, but at least 64Mi. 0 turns the check off.")
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
	if o.historyMax.Sign() < 0 {
		errs = append(errs, fmt.Errorf("--etcd-history-max-bytes must not be negative, not %s", o.historyMax.String()))
	}
	if o.quota.CmpInt64(leastQuota) < 0 {
		errs = append(errs, fmt.Errorf("--etcd-quota-backend-bytes must be at least 16Mi, not %s", o.quota.String()))
	}
	if _, err := o.minFreeBytes(); err != nil {
		errs = append(errs, err)
	}
	if o.upstream.StorageConfig.Prefix == "" {
		errs = append(errs, errors.New("--etcd-prefix must not be empty"))
	}
	return errs
}

func (o *StorageOptions) minFreeBytes() (int64, error) {
	if o.minFree == autoMinFree {
		return etcd.AutoMinFree, nil
	}
	quantity, err := resource.ParseQuantity(o.minFree)
	if err != nil || !quantity.IsZero() && quantity.CmpInt64(etcd.LeastMinFree) < 0 {
		return 0, fmt.Errorf("--data-dir-min-free must be auto, 0 or a size of at least 64Mi, not %q", o.minFree)
	}
	return quantity.Value(), nil
}

// Embedded returns the configuration of an etcd in dir, in this process.
func (o *StorageOptions) Embedded(dir string) (etcd.Config, error) {
	minFree, err := o.minFreeBytes()
	return etcd.Config{
		Dir: dir, QuotaBytes: o.quota.Value(),
		Upkeep: &etcd.Upkeep{HistoryBytes: o.historyMax.Value(), MinFreeBytes: minFree},
	}, err
}

// boundHistory watches over an etcd that runs elsewhere. The embedded one looks after itself.
func (o *StorageOptions) boundHistory(config *genericapiserver.Config) error {
	if o.embedded != nil || o.historyMax.IsZero() {
		return nil
	}
	return config.AddPostStartHook("bound-etcd-history", func(hook genericapiserver.PostStartHookContext) error {
		client, err := etcd.New(o.upstream.StorageConfig.Transport)
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = client.Close() }() // reports only that its context ended
			etcd.NewHistory(client, o.historyMax.Value()).Run(hook)
		}()
		return nil
	})
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
	return getter, o.boundHistory(config)
}

// client returns the connection to etcd that everything but the store shares, which is made when it is first asked for. An
// embedded etcd is called in this process: a hop by its socket would cost more than opening a value. Close closes it.
func (o *StorageOptions) client() (decrypt.Etcd, error) {
	if o.embedded != nil {
		return o.embedded, nil
	}
	if o.remote == nil {
		client, err := etcd.New(o.upstream.StorageConfig.Transport)
		if err != nil {
			return nil, err
		}
		o.remote = client
	}
	return o.remote, nil
}

// Close closes the connection of client once nothing uses it any more.
func (o *StorageOptions) Close() {
	if o.remote != nil {
		_ = o.remote.Close() // reports only that its context ended
	}
}
