// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

// audience is what tokens for the decrypt port are issued for.
const audience = "secret.grafana.app"

// thisPod is the Pod that connects, where it is that of the caller too.
const thisPod = "this Pod"

// caller is whose call has failed.
type caller struct {
	claims
	token     string // where it is
	pod       string // that connects to the server
	namespace string // of the secure values
}

// explain adds to an error of the client what to do about it, if anything.
func (o *options) explain(err error) error {
	c := caller{readClaims(o.tokenFile), "the token in " + o.tokenFile, thisPod, o.namespace}
	return o.explainTo(c, err)
}

func (o *options) explainTo(c caller, err error) error {
	var hints []string
	if errors.Is(err, client.ErrNotAuthorized) {
		hints = append(hints, "to give this caller permission, run: "+c.grantCommand())
	}
	if errors.Is(err, client.ErrNotFound) {
		hints = append(hints, fmt.Sprintf("a name that is not found does not exist in namespace %s, or none of its "+
			"spec.decrypters is granted to the caller: kubectl securevalue who-can-decrypt NAME -n %[1]s", c.namespace))
	}
	if errors.Is(err, client.ErrUnauthenticated) {
		hints = append(hints, c.tokenHint())
	}
	if errors.Is(err, client.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		hints = append(hints, o.networkHint(err, c))
	}
	return &explained{err, hints}
}

// explained is an error with hints.
type explained struct {
	error
	hints []string
}

func (e *explained) Unwrap() error { return e.error }

// maxNames is how many names an error lists.
const maxNames = 10

// Error returns one line. When a whole call failed, that is said once instead of for each name.
func (e *explained) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	others := slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return strings.HasPrefix(line, "secure value ") && strings.HasSuffix(line, ": "+client.ErrUnavailable.Error())
	})
	if len(others) > 0 {
		lines = others
	}
	if more := len(lines) - maxNames; more > 0 {
		lines = append(lines[:maxNames], fmt.Sprintf("and %d more", more))
	}
	text := strings.Join(lines, "; ")
	if len(e.hints) > 0 {
		text += " (" + strings.Join(e.hints, "; ") + ")"
	}
	return text
}

func (c caller) grantCommand() string {
	account := c.account()
	if account == "" { // not a ServiceAccount: a standalone server
		return fmt.Sprintf("secret-apiserver grant SERVICE --decrypter DECRYPTER --namespace %s", c.namespace)
	}
	return fmt.Sprintf("kubectl securevalue grant %s --decrypter DECRYPTER -n %s", account, c.namespace)
}

func (c caller) tokenHint() string {
	expired := time.Unix(c.Expiry, 0)
	switch {
	case c.Expiry > 0 && !slices.Contains(c.Audience, audience):
		return fmt.Sprintf("%s is issued for audience %q; a projected serviceAccountToken needs audience "+
			audience, c.token, c.Audience)
	case c.Expiry > 0 && expired.Before(time.Now()):
		return fmt.Sprintf("%s expired at %s and nothing renewed it: use a projected serviceAccountToken",
			c.token, expired.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("the server does not know %s: revoked, or of another server", c.token)
}

// networkHint explains why the server cannot be reached.
func (o *options) networkHint(err error, c caller) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var dns *net.DNSError
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("%s does not have the CA of %s: mount ConfigMap secret-ca (key ca.crt) there",
			o.caFile, o.server)
	case errors.As(err, &host):
		return "--server must have a name of the certificate"
	case errors.As(err, &dns):
		return "the host of --server is unknown"
	}
	namespace, _, ok := strings.Cut(c.account(), ":")
	if !ok || c.pod != thisPod { // the Pod that connects is not of the account
		namespace = "NAMESPACE"
	}
	return fmt.Sprintf("is the server running, and do %s and its namespace have the label of its NetworkPolicy? "+
		"kubectl label namespace %s %s/decrypt=allowed", c.pod, namespace, audience)
}
