// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

// podDir is where the Pods that `kubectl securevalue grant` describes have the token and the CA.
const podDir = "/var/run/secrets/secret.grafana.app/"

// namespaceFile is where the kubelet writes the namespace of a Pod.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// options are the settings of all commands. Each is a flag, a variable and a key of the configuration file: see settle.
type options struct {
	configFile                           string
	server, caFile, tokenFile, namespace string
	timeout                              time.Duration

	dir, envFile string
	files, env   []string
	mode         mode

	log *log.Logger
}

func newOptions() *options {
	return &options{mode: 0o440, log: log.New(os.Stderr, "", log.LstdFlags|log.LUTC)}
}

// addFlags adds groups of flags, in this order.
func (*options) addFlags(c *cobra.Command, groups ...func(*pflag.FlagSet)) {
	c.Flags().SortFlags = false
	for _, add := range groups {
		add(c.Flags())
	}
}

// plan settles and checks the options.
func (o *options) plan(c *cobra.Command) (plan, error) {
	if err := settle(c.Flags()); err != nil {
		return plan{}, err
	}
	p, err := newPlan(o)
	switch {
	case err != nil:
		return plan{}, err
	case len(p.names()) == 0:
		return plan{}, errors.New("nothing to do: name secure values by --file or --env; see --help")
	case c.Flags().Lookup("env-file") != nil && (o.envFile == "") != (len(o.env) == 0):
		return plan{}, errors.New("--env and --env-file go together")
	}
	return p, nil
}

func (o *options) addConnectionFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.configFile, "config", "", "YAML `file` with values of these flags, by their names.")
	fs.StringVar(&o.server, "server", "https://secret-decrypt.secret-system.svc:8444", "`URL` of the decrypt port.")
	fs.StringVar(&o.caFile, "ca-file", podDir+"ca.crt", "CA bundle used to verify the server.")
	fs.StringVar(&o.tokenFile, "token-file", podDir+"token",
		"File with a token for audience secret.grafana.app. It is read again when it changes.")
	fs.StringVarP(&o.namespace, "namespace", "n", "", "Namespace of the secure values. (default that of the Pod)")
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "How long to retry at start while the server is unavailable.")
}

func (o *options) addFileFlags(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&o.files, "file", "f", nil,
		"Write the value of a secure value to a file in --dir, as `PATH=NAME`. May be repeated.")
	fs.StringVar(&o.dir, "dir", "/secrets", "Directory for the files: an emptyDir volume with medium Memory.")
	fs.Var(&o.mode, "mode", "Mode of the files. Containers with another uid read them by the fsGroup of the Pod.")
}

func (o *options) addEnvFlag(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&o.env, "env", "e", nil,
		"Set a variable to the value of a secure value, as `VAR=NAME`. May be repeated.")
}

func (o *options) addEnvFileFlag(fs *pflag.FlagSet) {
	fs.StringVar(&o.envFile, "env-file", "",
		"`PATH` in --dir for the variables of --env, in the format of fileKeyRef in a Pod.")
}

// mode is the mode of a file. Its bits are limited so that a decimal number in a configuration file is refused.
type mode fs.FileMode

// String implements pflag.Value.
func (m *mode) String() string { return fmt.Sprintf("%#04o", uint32(*m)) }

// Set implements pflag.Value.
func (m *mode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n&^0o644 != 0 || n&0o400 == 0 || text[0] != '0' {
		return errors.New(`expected 0400, 0440, 0444, or these with 0200, in quotes in YAML`)
	}
	*m = mode(n)
	return nil
}

// Type implements pflag.Value.
func (*mode) Type() string { return "octal" }

// connect completes the options of the connection and returns a client.
func (o *options) connect() (*client.Client, error) {
	const volume = "`kubectl securevalue grant` prints the volume that a Pod mounts"
	if _, err := os.Stat(o.caFile); err != nil {
		return nil, fmt.Errorf("--ca-file: %w; %s", err, volume)
	}
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w; %s", err, volume)
	}
	if len(strings.Fields(string(token))) != 1 {
		return nil, fmt.Errorf("--token-file: %s does not contain a token and nothing else; %s", o.tokenFile, volume)
	}
	if o.namespace == "" {
		data, err := os.ReadFile(namespaceFile)
		if o.namespace = strings.TrimSpace(string(data)); err != nil {
			o.namespace = readClaims(o.tokenFile).Kubernetes.Namespace
		}
	}
	if o.namespace == "" {
		return nil, errors.New("--namespace is required: neither the Pod nor the token has one")
	}
	return client.New(client.Config{
		URL: o.server, CAFile: o.caFile, TokenFile: o.tokenFile, UserAgent: "secret-agent/" + version,
	})
}
