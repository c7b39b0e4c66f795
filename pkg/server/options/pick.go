// SPDX-License-Identifier: Apache-2.0

package options

import "github.com/spf13/pflag"

// pick adds to fs the named flags out of those that add would add. It panics when upstream has no such flag any more,
// which the first start of a new version shows.
func pick(fs *pflag.FlagSet, add func(*pflag.FlagSet), names ...string) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	add(all)
	for _, name := range names {
		flag := all.Lookup(name)
		if flag == nil {
			panic("upstream has no flag --" + name)
		}
		fs.AddFlag(flag)
	}
}
