// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestOptions(t *testing.T) {
	for flags, want := range map[string]string{
		"":                                      "",
		"--own-ca=serving,etcd":                 "",
		"--own-ca=serving --own-ca=etcd":        "",
		"--own-ca=kubelet":                      `--own-ca: invalid value "kubelet"`,
		"--own-ca=etcd,etcd":                    "twice",
		"--own-ca-namespace=":                   "--own-ca-namespace",
		"--own-ca-namespace=*":                  "--own-ca-namespace",
		"--own-ca-propagation-time=0s":          "--own-ca-propagation-time",
		"--own-ca-propagation-time=-1s":         "--own-ca-propagation-time",
		"--own-ca-certificate-lifetime=19m":     "--own-ca-certificate-lifetime",
		"--own-ca-lifetime=4319h":               "--own-ca-lifetime",
		"--own-ca-certificate-lifetime=8760h1m": "--own-ca-lifetime",
	} {
		t.Run(flags, func(t *testing.T) {
			opts := NewOptions()
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			opts.AddFlags(fs)
			if err := fs.Parse(strings.Fields(flags)); err != nil {
				t.Fatal(err)
			}
			err := errors.Join(opts.Validate()...)
			if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
