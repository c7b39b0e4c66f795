// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
)

// authorities are the possible values of --own-ca.
var authorities = map[string]func(namespace string) Authority{
	"etcd": EtcdAuthority, "serving": ServingAuthority,
}

// Options select the certificates to issue and whether the CA is published, by default neither: it takes permissions,
// and APIs of kube-apiserver, that not everything this controller manager runs against has.
type Options struct {
	// Authorities is --own-ca.
	Authorities []string
	// Namespace is --own-ca-namespace.
	Namespace string
	Lifetimes Lifetimes
	// Publish is --publish-ca.
	Publish bool
}

// NewOptions returns the defaults.
func NewOptions() Options {
	return Options{Namespace: "secret-system", Lifetimes: DefaultLifetimes()}
}

// AddFlags adds the flags of this concern.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.Authorities, "own-ca", o.Authorities,
		"Certificates to issue and renew instead of another CA, comma separated: serving (the server's, with the "+
			"caBundle of its APIService), etcd (those of the etcd deployed with it).")
	fs.StringVar(&o.Namespace, "own-ca-namespace", o.Namespace,
		"Namespace of the server, its etcd and the Secrets with their certificates.")
	fs.DurationVar(&o.Lifetimes.Certificate, "own-ca-certificate-lifetime", o.Lifetimes.Certificate,
		"Lifetime of a certificate. It is renewed when a third is left.")
	fs.DurationVar(&o.Lifetimes.CA, "own-ca-lifetime", o.Lifetimes.CA,
		"Lifetime of the server's CA. It is replaced when a third is left. The CA of etcd is valid for ten years "+
			"and is replaced by hand only.")
	fs.DurationVar(&o.Lifetimes.Propagation, "own-ca-propagation-time", o.Lifetimes.Propagation,
		"How long a new CA is in the published bundle before it issues certificates.")
	fs.BoolVar(&o.Publish, "publish-ca", o.Publish,
		"Publish the caBundle of the APIService as ConfigMap "+bundleConfigMap+" in every namespace with the label "+
			namespaceLabel+"="+namespaceAllowed+", and as a ClusterTrustBundle where kube-apiserver serves that API.")
}

// Validate returns every fault, each naming its flag.
func (o Options) Validate() []error {
	var errs []error
	for i, name := range o.Authorities {
		if authorities[name] == nil {
			errs = append(errs, fmt.Errorf("--own-ca: invalid value %q: expected etcd or serving", name))
		} else if slices.Contains(o.Authorities[:i], name) {
			errs = append(errs, fmt.Errorf("--own-ca names %q twice", name))
		}
	}
	if len(validation.IsDNS1123Label(o.Namespace)) != 0 {
		errs = append(errs, fmt.Errorf("--own-ca-namespace: invalid namespace %q", o.Namespace))
	}
	l := o.Lifetimes
	if l.Propagation <= 0 {
		errs = append(errs, errors.New("--own-ca-propagation-time must be positive"))
	}
	if l.Certificate/4 < l.Propagation { // the last third, without a CA that could renew it, is longer
		errs = append(errs, fmt.Errorf("--own-ca-certificate-lifetime must be at least four times "+
			"--own-ca-propagation-time, not %s", l.Certificate))
	}
	if l.CA < 2*l.Certificate {
		errs = append(errs, fmt.Errorf("--own-ca-lifetime must be at least twice --own-ca-certificate-lifetime, not %s",
			l.CA))
	}
	return errs
}
