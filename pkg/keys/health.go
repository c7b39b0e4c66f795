// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
)

// FileFault returns why the file on disk is not the one in force, or nil.
func (p *Provider) FileFault() error { return p.file.Fault() }

// KMSFault returns why a KMS plugin cannot be used, or nil.
func (p *Provider) KMSFault() error { return valueOf(&p.kms) }

// MissingFault returns which keys of stored values the file lacks, or nil.
func (p *Provider) MissingFault() error { return valueOf(&p.missing) }

func valueOf(fault *atomic.Pointer[error]) error {
	if err := fault.Load(); err != nil {
		return *err
	}
	return nil
}

// StartupCheck keeps a server unready that has not reached its KMS since it started, so that a rollout with a wrong socket stops
// at its first Pod. It passes for ever once every plugin has answered, for which the one that seals must have wrapped a data
// key, and after grace: a node upgrade during an outage of the KMS must still end with servers that list and label. Without
// KMS it always passes.
func (p *Provider) StartupCheck(grace time.Duration) healthz.HealthChecker {
	return healthz.NamedCheck(StartupCheckName, func(*http.Request) error {
		if p.reached.Load() || time.Since(p.started) >= grace {
			return nil
		}
		return errors.New("no KMS plugin of --encryption-provider-config has answered since the start: see the log")
	})
}

// StartupCheckName is the name of StartupCheck below /readyz.
const StartupCheckName = "kms-startup"
