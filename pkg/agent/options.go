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

	// of run
	onChange string
	grace    time.Duration
	// of serve
	signal, process, pidFile, readyFile string
	// of csi
	provider, socketDir, metricsAddress string

	log *log.Logger
}

func newOptions() *options {
	return &options{mode: 0o440, log: log.New(os.Stderr, "", log.LstdFlags|log.LUTC)}
}

// plan checks the options. The variables of commands with --env-file go into a file.
func (o *options) plan(envFile bool) (plan, error) {
	p, err := newPlan(o)
	if err == nil && len(p.names()) == 0 {
		err = errors.New("nothing to do: name secure values by --file or --env; see --help")
	}
	if envFile && (o.envFile == "") != (len(o.env) == 0) {
		err = errors.Join(err, errors.New("--env and --env-file go together"))
	}
	if (o.signal == "") != (o.process == "" && o.pidFile == "") || o.process != "" && o.pidFile != "" {
		err = errors.Join(err, errors.New("--signal goes with --process or with --pid-file"))
	}
	for flag, signal := range map[string]string{"--signal": o.signal, "--on-change": o.onChange} {
		if signal != "" && signal != ignore && signal != restart {
			_, unknown := parseSignal(signal)
			err = errors.Join(err, wrap(flag, unknown))
		}
	}
	return p, err
}

func (o *options) addServerFlags(fs *pflag.FlagSet) {
	o.addConfigFlag(fs)
	fs.StringVar(&o.server, "server", "https://secret-decrypt.secret-system.svc:8444", "`URL` of the decrypt port.")
	fs.StringVar(&o.caFile, "ca-file", podDir+"ca.crt", "CA bundle used to verify the server.")
}

func (o *options) addConnectionFlags(fs *pflag.FlagSet) {
	o.addServerFlags(fs)
	fs.StringVar(&o.tokenFile, "token-file", podDir+"token",
		"File with a token for audience secret.grafana.app. It is read again when it changes.")
	fs.StringVarP(&o.namespace, "namespace", "n", "", "Namespace of the secure values. (default that of the Pod)")
}

func (o *options) addConfigFlag(fs *pflag.FlagSet) {
	fs.StringVar(&o.configFile, "config", "", "YAML `file` with values of these flags, by their names.")
}

func (o *options) addTimeoutFlag(fs *pflag.FlagSet) {
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "How long to retry at start while the server is unavailable.")
}

func (o *options) addRunFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.onChange, "on-change", ignore,
		"What a new value does to the command: ignore, restart, or a `SIGNAL` such as SIGHUP.")
	fs.DurationVar(&o.grace, "grace", 30*time.Second, "How long the command has to end before a restart kills it.")
}

func (o *options) addServeFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.signal, "signal", "", "`SIGNAL` for another process after the files have changed, such as SIGHUP.")
	fs.StringVar(&o.process, "process", "",
		"`NAME` of that process, for Pods with shareProcessNamespace. Of several with this name the parent gets it.")
	fs.StringVar(&o.pidFile, "pid-file", "", "File with the id of that process, instead of its name.")
}

func (o *options) addCSIFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.provider, "provider", "secret-agent",
		"`NAME` in spec.provider of SecretProviderClasses. The socket is NAME.sock.")
	fs.StringVar(&o.socketDir, "socket-dir", "/var/run/secrets-store-csi-providers",
		"Directory for the socket. Old drivers look into /etc/kubernetes/secrets-store-csi-providers.")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080",
		"Address of the HTTP server with /metrics and /healthz.")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second,
		"How long a mount may take while the server is unavailable. The kubelet tries again.")
}

func (o *options) addReadyFlag(fs *pflag.FlagSet) {
	fs.StringVar(&o.readyFile, "ready-file", "", "File that exists while serve runs and has written all files.")
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
		Timeout: min(attemptTimeout, o.timeout/2),
	})
}
