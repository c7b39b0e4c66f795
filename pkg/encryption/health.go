// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"errors"
	"net/http"
	"path"
	"sync/atomic"

	"k8s.io/apiserver/pkg/server/healthz"
)

// HealthChecks tell whether the file on disk is the one in force, and whether its KMS plugins answer. Neither makes the
// server unready: lists, watches and label edits work without, and a fault that all replicas share must not take all of
// them out of service. So /readyz passes and its verbose text says what is wrong; the check's own path
// (/readyz/encryption-config, /readyz/kms-providers, /readyz/encryption-keys) fails, for whoever wants to alert on it.
func (p *Provider) HealthChecks() []healthz.HealthChecker {
	return []healthz.HealthChecker{
		&notice{name: "encryption-config", text: "the file on disk is refused, the last good one is in force: see the log", fault: &p.refused},
		&notice{name: "kms-providers", text: "a KMS plugin is out of reach, values cannot be sealed or opened for long: see the log", fault: &p.kms},
		&notice{name: "encryption-keys", text: "values are stored under keys that the file lacks: see the log", fault: &p.missing},
	}
}

// notice is a check that informs and never fails the whole. Its text is constant: everybody may read it.
type notice struct {
	name, text string
	fault      *atomic.Pointer[error]
}

// Name is what the verbose text shows.
func (n *notice) Name() string {
	if n.fault.Load() != nil {
		return n.name + " (" + n.text + ")"
	}
	return n.name
}

// Check fails on the path of this check alone.
func (n *notice) Check(r *http.Request) error {
	if n.fault.Load() != nil && path.Base(r.URL.Path) == n.name {
		return errors.New(n.text)
	}
	return nil
}
