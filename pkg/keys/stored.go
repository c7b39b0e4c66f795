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

// Stored answers what a Provider asks about the stored values; *sealed.Scanner is one. names is what
// Configuration.Names returns.
type Stored interface {
	// WrongSecrets returns the keys that open none of the values stored under their name, with such a value. It reads no more
	// than limit records (0 is all) once the key must is known to open one.
	WrongSecrets(ctx context.Context, names []string, keys map[string]value.Transformer, must string, limit int64) (map[string]string, error)
	// CountKeys counts the stored values by key.
	CountKeys(ctx context.Context, names []string) (map[string]int64, error)
}

// countAgain is the time between two counts while values are stored under a missing key, or a count failed.
const countAgain = time.Minute

// startLimit is how many records a start reads to compare the secrets of keys that only open. What is left is compared once
// the server serves: a key that was kept after a rotation has no values at all.
const startLimit = 10_000

// maxMissing bounds the keys that metric and log name: whoever writes to etcd may write any number of names.
const maxMissing = 20

// errWrongSecret says that a key has another secret than the one its values were sealed with.
var errWrongSecret = errors.New("a key is its secret, not its name: bring the former secret back, or give this one a name that was never used")

// WrongSecretError returns an error about keys that open none of the values stored under their name, or nil without any.
// It has one such value for each key.
func WrongSecretError(wrong map[string]string) error {
	errs := make([]error, 0, len(wrong))
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		errs = append(errs, fmt.Errorf("the secret of %s opens none of the values that are stored under that name, %s among them: %w",
			secret.ShowKey(name), wrong[name], errWrongSecret))
	}
	return errors.Join(errs...)
}

// UseStored compares the secrets of local keys with the stored values, now and for every key that a reload brings, and has
// Run count the values whose key is missing. It returns an error when a secret is wrong, or the values cannot be read. No
// KMS is asked. Call it before Run.
func (p *Provider) UseStored(ctx context.Context, stored Stored) error {
	p.stored = stored
	now := p.inForce.Load()
	p.showMissing(nil, "")
	return p.compareStored(ctx, now.Configuration, now.LocalKeys(), startLimit)
}

func (p *Provider) compareStored(ctx context.Context, config *Configuration, keys map[string]value.Transformer, limit int64) error {
	wrong, err := p.stored.WrongSecrets(ctx, config.Names(), keys, config.keys[0].String(), limit)
	if err != nil {
		return fmt.Errorf("comparing the keys with the stored values: %w", err)
	}
	return WrongSecretError(wrong)
}

// compareSecrets refuses a configuration that gives another secret to a key that was in force before, or that brings a key
// whose secret does not open what is stored under its name. A key that was in force and came back is the same key.
func (p *Provider) compareSecrets(ctx context.Context, next *Configuration) error {
	if changed := next.changed(p.digests); len(changed) > 0 {
		return fmt.Errorf("another secret for %s than the one that was in force: %w; if the one in force was wrong, restart the server with the right one",
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

// recount has watchMissing count again.
func (p *Provider) recount() {
	select {
	case p.due <- struct{}{}:
	default: // it will anyway
	}
}

// census is what watchMissing remembers.
type census struct {
	// wrong are the keys whose secret turned out to be wrong beyond the records that a start reads, once compared is set.
	wrong    map[string]string
	compared bool
	shown    string
}

// watchMissing counts the values that do not open because the file lacks their key, or has another secret for it: after the
// start and each reload, and once a minute while there are any. It is apart from Run's loop, for a count reads every record.
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
		return !wrong && slices.ContainsFunc(config.Names(), func(name string) bool { return secret.CoversKey(name, stored) })
	})
	seen.shown = p.showMissing(counts, seen.shown)
	return nil
}

// showMissing publishes counts of missing keys, those with the most values first, and returns the text of them. It logs a
// text that differs from shown. The keys of the file have a series too, so that the metric is there before something is wrong.
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
			klog.InfoS("Every stored value is again under a key of the file")
		}
		return ""
	}
	err := errors.New(text)
	p.missing.Store(&err)
	if text != shown {
		klog.ErrorS(nil, "Stored values do not open: the file lacks their keys", "flag", Flag, "values", total, "keys", text)
	}
	return text
}
