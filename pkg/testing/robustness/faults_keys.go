// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// keyFaults concern the keys: the files that the servers reload, and the KMS that is first in it most of the time.
var keyFaults = []fault{
	{"reload the keys", func(t *testing.T, e *environment, random *mathrand.Rand) injection {
		e.addKey()
		e.writeKeys(t, random.IntN(2) == 0)
		return injection{effect: func() bool { return e.sealWithFirst(t.Context()) }}
	}},
	{"kill the KMS", func(t *testing.T, e *environment, random *mathrand.Rand) injection {
		effect := e.withoutKMS(t, random, e.kms.kill)
		return injection{effect: effect, heal: func() { e.kms.start(t) }}
	}},
	{"stop the KMS", func(t *testing.T, e *environment, random *mathrand.Rand) injection {
		effect := e.withoutKMS(t, random, func() { e.kms.signal(t, syscall.SIGSTOP) })
		return injection{effect: effect, heal: func() { e.kms.signal(t, syscall.SIGCONT) }}
	}},
	// A server that runs asks for the key's id each minute, so one is started again to know the new key at once.
	{"rotate the key of the KMS", func(t *testing.T, e *environment, random *mathrand.Rand) injection {
		e.useKMS(t)
		r := e.servers[random.IntN(replicas)]
		ctx := t.Context()
		old := writeKey(ctx, r.get())
		e.kms.rotate(t)
		r.get().Kill()
		r.start(t)
		return injection{effect: func() bool {
			now := writeKey(ctx, r.get())
			return strings.HasPrefix(now, kmsKey) && now != old
		}}
	}},
}

// kmsKey starts the name of every key of the KMS.
const kmsKey = "kms/vault"

// addKey makes a new local key.
func (e *environment) addKey() {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	e.keys = slices.Insert(e.keys, 0, fmt.Sprintf("      - {name: key-%d, secret: %s}\n", len(e.keys)+len(e.destroyed), base64.StdEncoding.EncodeToString(key)))
}

// newest is the name of the newest local key.
func (e *environment) newest() string {
	return fmt.Sprintf("aesgcm/key-%d", len(e.keys)+len(e.destroyed)-1)
}

// writeKeys writes the files of keys, with the KMS first or the newest of the local keys.
func (e *environment) writeKeys(t testing.TB, kmsFirst bool) {
	t.Helper()
	e.first = e.newest()
	if kmsFirst {
		e.first = kmsKey
	}
	for i, file := range e.keysFiles {
		if !e.late[i] {
			harness.WriteFile(t, file, e.configuration(kmsFirst, e.keys))
		}
	}
}

// configuration is a file of keys with some local keys, and the KMS before or after them.
func (e *environment) configuration(kmsFirst bool, local []string) string {
	providers := []string{"  - aesgcm:\n      keys:\n" + strings.Join(local, ""), e.kms.provider()}
	if kmsFirst {
		slices.Reverse(providers)
	}
	return `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
` + strings.Join(providers, "")
}

// useKMS puts the KMS first, and waits until both servers seal with it.
func (e *environment) useKMS(t testing.TB) {
	t.Helper()
	e.writeKeys(t, true)
	if !eventually(func() bool { return e.sealWithFirst(t.Context()) }) {
		t.Error("the servers do not seal with the KMS")
	}
}

// withoutKMS takes the KMS away and starts a server without it: it has no data key in memory, and must refuse to seal.
// The other one goes on with its own.
func (e *environment) withoutKMS(t *testing.T, random *mathrand.Rand, takeAway func()) (effect func() bool) {
	t.Helper()
	e.useKMS(t)
	takeAway()
	at := random.IntN(replicas)
	e.servers[at].get().Kill()
	e.servers[at].start(t)
	return func() bool {
		_, err := e.prober.fresh(t.Context(), at)
		return errors.Is(err, errKeyAway)
	}
}

// sealWithFirst says whether both servers seal with the key that is first in the file.
func (e *environment) sealWithFirst(ctx context.Context) bool {
	for _, r := range e.servers {
		key := writeKey(ctx, r.get())
		if strings.HasPrefix(key, kmsKey) {
			key = kmsKey
		}
		if key != e.first {
			return false
		}
	}
	return true
}

var writeKeyMetric = regexp.MustCompile(`(?m)^secret_encryption_write_key\{key="([^"]*)"\} 1$`)

// writeKey is the key that a server says it seals with; "" when it does not say.
func writeKey(ctx context.Context, s *harness.Server) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/metrics", http.NoBody)
	if err != nil {
		return ""
	}
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if found := writeKeyMetric.FindSubmatch(data); err == nil && found != nil {
		return string(found[1])
	}
	return ""
}
