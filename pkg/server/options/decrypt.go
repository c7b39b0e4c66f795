// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// DefaultDecryptPort is the port of the decrypt service.
const DefaultDecryptPort = 8444

// autoPort lets the system choose: 0, which elsewhere means that, turns the decrypt port off.
const autoPort = "auto"

// DecryptOptions say where and how values are handed out.
type DecryptOptions struct {
	// Port is --decrypt-port: a number, 0 for none, or "auto".
	Port string
	// AuthzCacheTTL is --decrypt-authz-cache-ttl.
	AuthzCacheTTL time.Duration
	// MaxInFlight is --decrypt-max-requests-inflight.
	MaxInFlight int
	// Audit is the log of what was handed out.
	Audit *DecryptAuditOptions

	running decryptPort
}

// NewDecryptOptions returns the defaults.
func NewDecryptOptions() *DecryptOptions {
	return &DecryptOptions{
		Port: strconv.Itoa(DefaultDecryptPort), AuthzCacheTTL: 500 * time.Millisecond, MaxInFlight: 400, Audit: newDecryptAuditOptions(),
	}
}

// AddFlags adds the flags of this concern.
func (o *DecryptOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Port, "decrypt-port", o.Port,
		"Port of the decrypt service, on --bind-address and with the certificate of --secure-port. 0 turns it off, auto picks a free one.")
	fs.DurationVar(&o.AuthzCacheTTL, "decrypt-authz-cache-ttl", o.AuthzCacheTTL,
		"How old the answer to a question about a caller's rights may be. A right that is taken away works for at most that long. 0 asks every time.")
	fs.IntVar(&o.MaxInFlight, "decrypt-max-requests-inflight", o.MaxInFlight,
		"Maximum number of concurrent decrypt requests; excess requests get 429. "+
			"One caller gets at most a quarter of them. 0 sets no limit.")
	o.Audit.addFlags(fs)
}

func (o *DecryptOptions) validate() []error {
	var errs []error
	if port, err := strconv.Atoi(o.Port); o.Port != autoPort && (err != nil || port < 0 || port > 65535) {
		errs = append(errs, fmt.Errorf("--decrypt-port must be a number between 0 and 65535, or auto, not %q", o.Port))
	}
	if o.AuthzCacheTTL < 0 || o.AuthzCacheTTL > time.Minute {
		errs = append(errs, fmt.Errorf("--decrypt-authz-cache-ttl must be between 0 and 1m, not %s", o.AuthzCacheTTL))
	}
	if o.MaxInFlight < 0 {
		errs = append(errs, errors.New("--decrypt-max-requests-inflight must not be negative"))
	}
	if !o.enabled() {
		return errs
	}
	return append(errs, o.Audit.validate()...)
}

func (o *DecryptOptions) enabled() bool { return o.Port != "0" }

// Listen opens the port, as ServingOptions.Listen does. Close closes it.
func (o *DecryptOptions) Listen(ctx context.Context, bind net.IP) error {
	if !o.enabled() {
		return nil
	}
	port := o.Port
	if port == autoPort {
		port = "0"
	}
	address := net.JoinHostPort(bind.String(), port)
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; choose another --decrypt-port, or 0 for none", address, err)
	}
	o.running.listener = httpguard.NewListener(listener)
	return nil
}

// Address is where the decrypt service listens; empty when it is off.
func (o *DecryptOptions) Address() string {
	if o.running.listener == nil {
		return ""
	}
	return o.running.listener.Addr().String()
}

// Close waits until the decrypt service has answered what it was asked, and closes what it holds. Etcd must still run.
func (o *DecryptOptions) Close() { o.running.close() }
