// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/keys"
)

// EtcdPrefix is the default of --etcd-prefix.
const EtcdPrefix = "/registry/secret.grafana.app"

const (
	autoMinFree = "auto"   // default of --data-dir-min-free
	leastQuota  = 16 << 20 // an empty database has a few hundred kilobytes
)

// StorageOptions configure etcd.
type StorageOptions struct {
	*genericoptions.EtcdOptions
	// HistoryMax is --etcd-history-max-bytes, Quota is --etcd-quota-backend-bytes.
	HistoryMax, Quota resource.QuantityValue

	minFree string // --data-dir-min-free
}

func newStorageOptions() *StorageOptions {
	return &StorageOptions{
		EtcdOptions: genericoptions.NewEtcdOptions(
			storagebackend.NewDefaultConfig(EtcdPrefix, apiserver.NewStorageCodec())),
		HistoryMax: resource.QuantityValue{Quantity: resource.MustParse("1Gi")},
		Quota:      resource.QuantityValue{Quantity: *resource.NewQuantity(etcd.DefaultQuotaBytes, resource.BinarySI)},
		minFree:    autoMinFree,
	}
}

func (o *StorageOptions) addFlags(fs *pflag.FlagSet) {
	pick(fs, o.AddFlags, map[string]string{
		"etcd-servers": "etcd servers to use (scheme://host:port), comma separated. Required in a cluster; " +
			"a standalone server runs its own in --data-dir by default.",
		"etcd-cafile":   "CA bundle used to verify etcd's serving certificate.",
		"etcd-certfile": "Client certificate for etcd.",
		"etcd-keyfile":  "Private key of --etcd-certfile.",
		"watch-cache":   "Serve lists and watches from memory. The cache never contains a value or a ciphertext.",
	}, "etcd-servers", "etcd-prefix", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "watch-cache")
	fs.Var(
		&o.HistoryMax,
		"etcd-history-max-bytes",
		"Maximum size of overwritten and deleted values that etcd keeps, as 1Gi or 512Mi. They are kept for five "+
			"to ten minutes, "+
			"or above this size for 30 seconds; older watches and continue tokens get 410. 0 sets no limit.",
	)
	fs.Var(&o.Quota, "etcd-quota-backend-bytes",
		"Size of the embedded etcd's database at which it refuses writes. Ignored with --etcd-servers.")
	fs.StringVar(&o.minFree, "data-dir-min-free", o.minFree,
		"Free space on the disk of the embedded etcd below which writes get 503, as 512Mi; reads, decrypts and "+
			"deletes continue. "+
			"At least 64Mi. auto is 256Mi, or 5% of a smaller file system, but at least 64Mi. 0 disables the check.")
}

func (o *StorageOptions) validate() []error {
	var errs []error
	transport := o.StorageConfig.Transport
	for _, server := range transport.ServerList {
		u, err := url.Parse(server)
		if err != nil || !slices.Contains([]string{"http", "https", "unix", "unixs"}, u.Scheme) || u.Host+u.Path == "" {
			errs = append(
				errs,
				fmt.Errorf("--etcd-servers: invalid etcd endpoint %q: expected scheme://host:port", server),
			)
		}
	}
	if (transport.CertFile == "") != (transport.KeyFile == "") {
		errs = append(errs, errors.New("--etcd-certfile and --etcd-keyfile go together"))
	}
	if o.HistoryMax.Sign() < 0 {
		errs = append(errs, fmt.Errorf("--etcd-history-max-bytes must not be negative, not %s", o.HistoryMax.String()))
	}
	if o.Quota.CmpInt64(leastQuota) < 0 {
		errs = append(errs, fmt.Errorf("--etcd-quota-backend-bytes must be at least 16Mi, not %s", o.Quota.String()))
	}
	if _, err := o.MinFree(); err != nil {
		errs = append(errs, err)
	}
	if o.StorageConfig.Prefix == "" {
		errs = append(errs, errors.New("--etcd-prefix must not be empty"))
	}
	return errs
}

// MinFree returns the bytes of --data-dir-min-free, or etcd.AutoMinFree.
func (o *StorageOptions) MinFree() (int64, error) {
	if o.minFree == autoMinFree {
		return etcd.AutoMinFree, nil
	}
	quantity, err := resource.ParseQuantity(o.minFree)
	if err != nil || !quantity.IsZero() && quantity.CmpInt64(etcd.LeastMinFree) < 0 {
		return 0, fmt.Errorf("--data-dir-min-free must be auto, 0 or a size of at least 64Mi, not %q", o.minFree)
	}
	return quantity.Value(), nil
}

// HasServers reports whether --etcd-servers is set.
func (o *StorageOptions) HasServers() bool { return len(o.StorageConfig.Transport.ServerList) > 0 }

// ServerNames returns the etcd servers for a message.
func (o *StorageOptions) ServerNames() string {
	return strings.Join(o.StorageConfig.Transport.ServerList, ",")
}

// EncryptionOptions configure the encryption keys.
type EncryptionOptions struct {
	// ConfigFile is --encryption-provider-config.
	ConfigFile string
	// AutomaticReload is --encryption-provider-config-automatic-reload.
	AutomaticReload bool
	// KMSStartupGrace is --kms-startup-grace.
	KMSStartupGrace time.Duration
	// SealingKeyMaxAge is --sealing-key-max-age.
	SealingKeyMaxAge time.Duration
}

func newEncryptionOptions() *EncryptionOptions {
	return &EncryptionOptions{KMSStartupGrace: 10 * time.Minute, SealingKeyMaxAge: 90 * 24 * time.Hour}
}

// addFlags uses the names of kube-apiserver.
func (o *EncryptionOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.ConfigFile, keys.Flag, o.ConfigFile,
		"File with the EncryptionConfiguration for securevalues.secret.grafana.app. Required in a cluster; "+
			"a standalone server generates one in --data-dir by default.")
	fs.BoolVar(&o.AutomaticReload, keys.Flag+"-automatic-reload", o.AutomaticReload,
		"Reload --encryption-provider-config when it changes; an invalid change keeps the last valid one. Always on "+
			"for a generated file.")
	fs.DurationVar(&o.SealingKeyMaxAge, "sealing-key-max-age", o.SealingKeyMaxAge,
		"Age at which the key that manifests are sealed to (spec.sealedValue) is replaced. Older keys still open. 0 "+
			"keeps it until \"secret-apiserver sealing-keys replace\".")
	fs.DurationVar(&o.KMSStartupGrace, "kms-startup-grace", o.KMSStartupGrace,
		"How long a server that has not reached its KMS since its start stays unready. "+
			"Must exceed progressDeadlineSeconds of its Deployment. 0 does not wait.")
}

func (o *EncryptionOptions) validate() []error {
	if o.SealingKeyMaxAge < 0 {
		return []error{errors.New("--sealing-key-max-age must not be negative")}
	}
	if o.KMSStartupGrace < 0 {
		return []error{errors.New("--kms-startup-grace must not be negative")}
	}
	if o.ConfigFile == "" && o.AutomaticReload {
		return []error{errors.New("--encryption-provider-config-automatic-reload needs --encryption-provider-config")}
	}
	return nil
}
