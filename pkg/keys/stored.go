// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// Stored reads the stored values for a Provider; *sealed.Scanner implements it. names is from Configuration.Names.
type Stored interface {
	// WrongSecrets returns the keys that open none of the values stored under their name, with such a value. It reads
	// at most limit records (0: all) once the key must is known to open one.
	WrongSecrets(ctx context.Context, names []string, keys map[string]value.Transformer, must string,
		limit int64) (map[string]string, error)
	// CountKeys counts the stored values by key.
	CountKeys(ctx context.Context, names []string) (map[string]int64, error)
}

// countAgain is the interval between counts while values are stored under a missing key, or after a failed count.
const countAgain = time.Minute

// startLimit is the maximum number of records that a start reads to verify keys other than the write key, which may
// have no values after a rotation. The rest is verified while the server is running.
const startLimit = 10_000

// maxMissing bounds the keys in metric and log: clients with write access to etcd may write any number of names.
const maxMissing = 20

// errWrongSecret reports a key whose secret differs from the one its values were sealed with.
var errWrongSecret = errors.New("a key is its secret, not its name: restore the previous secret, or use a new key " +
	"name for this one")

// WrongSecretError returns an error about keys that open none of the values stored under their name, or nil without
// any. It names one such value for each key.
func WrongSecretError(wrong map[string]string) error {
	errs := make([]error, 0, len(wrong))
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		errs = append(errs,
			fmt.Errorf("the secret of %s opens none of the values that are stored under that name, %s among them: %w",
				secret.ShowKey(name), wrong[name], errWrongSecret))
	}
	return errors.Join(errs...)
}

// UseStored verifies the secrets of local keys with the stored values, now and for each new key of a reload, and lets
// Run count the values whose key is missing. It returns an error if a secret is wrong, or the values cannot be read. It
// calls no KMS. Call it before Run.
func (p *Provider) UseStored(ctx context.Context, stored Stored) error {
	p.stored = stored
	now := p.inForce.Load()
	p.showMissing(nil, "")
	return p.compareStored(ctx, now.Configuration, now.LocalKeys(), startLimit)
}

func (p *Provider) compareStored(ctx context.Context, config *Configuration, keys map[string]value.Transformer,
	limit int64) error {
	wrong, err := p.stored.WrongSecrets(ctx, config.Names(), keys, config.keys[0].String(), limit)
	if err != nil {
		return fmt.Errorf("comparing the keys with the stored values: %w", err)
	}
	return WrongSecretError(wrong)
}

// compareSecrets refuses a configuration that changes the secret of a key that was active before, or adds a key whose
// secret does not open the values stored under its name. A key that was active and is restored counts as known.
func (p *Provider) compareSecrets(ctx context.Context, next *Configuration) error {
	if changed := next.changed(p.digests); len(changed) > 0 {
		return fmt.Errorf("another secret for %s than the one that was in force: %w; if the one in force was "+
			"wrong, restart the server with the right one",
			strings.Join(changed, ", "), errWrongSecret)
	}
	if p.stored == nil {
		return nil
	}
	fresh := next.LocalKeys()
	maps.DeleteFunc(fresh, func(name string, _ value.Transformer) bool {
		_, known := p.digests[name]
		return known
	})
	if len(fresh) == 0 {
		return nil
	}
	err := p.compareStored(ctx, next, fresh, 0)
	if err != nil && !errors.Is(err, errWrongSecret) {
		return fmt.Errorf("%w: %w", err, reload.ErrRetry)
	}
	return err
}

// recount makes watchMissing count again.
func (p *Provider) recount() {
	select {
	case p.due <- struct{}{}:
	default: // already requested
	}
}

// census is the state of watchMissing.
type census struct {
	// wrong has the keys with a wrong secret that the limited check of the start did not find, once compared is set.
	wrong    map[string]string
	compared bool
	shown    string
}

// watchMissing counts the values that do not open because their key is missing from the file or has another secret:
// after start and each reload, and once a minute while there are any. It has its own goroutine, as a count reads every
// record.
func (p *Provider) watchMissing(ctx context.Context) {
	var seen census
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.due:
			seen.shown = ""
		case <-again:
		}
		again = nil
		err := p.count(ctx, &seen)
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Could not count the stored values by key; counting again", "after", countAgain)
		}
		if err != nil || seen.shown != "" {
			again = time.After(countAgain)
		}
	}
}

func (p *Provider) count(ctx context.Context, seen *census) error {
	config := p.inForce.Load().Configuration
	if !seen.compared {
		wrong, err := p.stored.WrongSecrets(ctx, config.Names(), config.LocalKeys(), "", 0)
		if err != nil {
			return err
		}
		if err := WrongSecretError(wrong); err != nil {
			klog.ErrorS(err, "Stored values do not open")
		}
		seen.wrong, seen.compared = wrong, true
	}
	counts, err := p.stored.CountKeys(ctx, config.Names())
	if err != nil {
		return err
	}
	maps.DeleteFunc(counts, func(stored string, _ int64) bool {
		_, wrong := seen.wrong[stored]
		return !wrong &&
			slices.ContainsFunc(config.Names(), func(name string) bool { return secret.CoversKey(name, stored) })
	})
	seen.shown = p.showMissing(counts, seen.shown)
	return nil
}

// showMissing publishes counts of missing keys, those with the most values first, and returns them as text, which it
// logs if it differs from shown. The keys of the file have a series too, so that the metric always exists.
func (p *Provider) showMissing(counts map[string]int64, shown string) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	var total int64
	texts := make([]string, 0, len(keys))
	missingValues.Reset()
	for _, name := range p.Names() {
		missingValues.WithLabelValues(secret.ShowKey(name)).Set(0)
	}
	for i, name := range keys {
		n := counts[name]
		total += n
		if i < maxMissing {
			texts = append(texts, fmt.Sprintf("%s (%d)", name, n))
		} else {
			name = "others"
		}
		missingValues.WithLabelValues(name).Add(float64(n))
	}
	text := strings.Join(texts, ", ")
	if text == "" {
		if p.missing.Swap(nil) != nil {
			klog.InfoS("All stored values have a key in the file again")
		}
		return ""
	}
	err := errors.New(text)
	p.missing.Store(&err)
	if text != shown {
		klog.ErrorS(nil, "Stored values do not open: their keys are missing from the file", "flag", Flag, "values",
			total, "keys", text)
	}
	return text
}
