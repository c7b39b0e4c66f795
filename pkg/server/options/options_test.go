// SPDX-License-Identifier: Apache-2.0

package options

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
)

// parse returns the options that a command line gives.
func parse(t *testing.T, args ...string) CompletedOptions {
	t.Helper()
	opts := NewOptions()
	command := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		command.AddFlagSet(set)
	}
	if err := command.Parse(args); err != nil {
		t.Fatal(err)
	}
	return opts.Complete()
}

var clusterArgs = []string{
	"--etcd-servers=https://etcd:2379", "--encryption-provider-config=keys.yaml", "--tls-cert-file=tls.crt", "--tls-private-key-file=tls.key",
	"--decrypt-audit-log-path=decrypt.log", "--decrypt-audit-key-file=decrypt-audit.key",
}

// A server in a cluster leaves slowly, so that no request meets a closed port; the flag has the last word.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args  []string
		delay time.Duration
		retry bool
	}{
		"standalone":                {[]string{"--standalone"}, 0, false},
		"cluster":                   {clusterArgs, clusterShutdownDelay, true},
		"cluster, told not to wait": {append([]string{"--shutdown-delay-duration=0s"}, clusterArgs...), 0, true},
		"cluster, told how long":    {append([]string{"--shutdown-delay-duration=20s"}, clusterArgs...), 20 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := parse(t, test.args...)
			if errs := opts.Validate(); len(errs) > 0 {
				t.Fatal(errs)
			}
			config := genericapiserver.NewConfig(apiserver.Codecs)
			if err := opts.Requests.ApplyTo(config); err != nil {
				t.Fatal(err)
			}
			if config.ShutdownDelayDuration != test.delay || config.ShutdownSendRetryAfter != test.retry {
				t.Errorf("delay %s, Retry-After %t, want %s and %t", config.ShutdownDelayDuration, config.ShutdownSendRetryAfter, test.delay, test.retry)
			}
		})
	}
}

// Options that no command line filled can be validated too.
func TestOptionsWithoutFlags(t *testing.T) {
	t.Parallel()
	opts := NewOptions()
	opts.Standalone.Enabled = true
	if errs := opts.Complete().Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}
