// SPDX-License-Identifier: Apache-2.0

package cluster

import "github.com/spf13/pflag"

// AddSourceFlags adds the flags that name another cluster to read from.
func (f *Factory) AddSourceFlags(fs *pflag.FlagSet) {
	fs.StringVar(f.flags.KubeConfig, "source-kubeconfig", "", "Kubeconfig `file` of the cluster that has the Secrets, when it is another one.")
	fs.StringVar(f.flags.Context, "source-context", "", "Context of the cluster that has the Secrets, when it is another one.")
	fs.StringVar(f.flags.Namespace, "source-namespace", "", "Namespace of the Secrets, when it is another one.")
}

// Or is other with what its flags leave open taken from f. An other cluster without a namespace has that of its context.
func (f *Factory) Or(other *Factory) *Factory {
	switch {
	case *other.flags.KubeConfig != "":
		return other
	case *other.flags.Context != "":
		*other.flags.KubeConfig = *f.flags.KubeConfig
		return other
	case *other.flags.Namespace == "":
		return f
	}
	return &Factory{IOStreams: f.IOStreams, flags: f.flags, namespace: *other.flags.Namespace}
}
