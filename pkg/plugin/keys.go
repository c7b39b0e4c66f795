// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

const keysLong = `Count the values of a namespace by encryption key, and show how many a rotation still has to
re-encrypt.

The active key is found by a dry run of a rewrap, which changes nothing and requires permission to create
securevalues/rewrap. With --watch the command follows a rotation, with a progress bar on a terminal, and ends when every
value is under that key.

It counts what you may list, and lists the running servers with the key that each seals with. A server that is paused is
not among them: "secret-apiserver keys retire KEY" is the proof before a key is destroyed.`

const keysExample = `  kubectl securevalue keys
  kubectl securevalue keys --all-namespaces

  # Wait for the end of a rotation.
  kubectl securevalue keys --all-namespaces --watch

  kubectl securevalue keys -o json`

// probeTries is the number of values that a probe tries: some may be deleted concurrently.
const probeTries = 3

var errNoRewrap = errors.New(
	"the active key is unknown: a dry run that finds it requires permission to create securevalues/rewrap")

// survey counts the values of a namespace, or of all namespaces for "".
type survey struct {
	client    *typedv1beta1.SecretV1beta1Client
	namespace string
}

func newKeys(f *factory) *cobra.Command {
	var everywhere, follow bool
	var output cli.Output
	c := noArgs(&cobra.Command{
		Use:     "keys",
		Short:   "Count the values by key, and follow a rotation",
		Long:    keysLong,
		Example: keysExample,
	}, func(ctx context.Context) (err error) {
		if err := output.Validate(); err != nil {
			return err
		}
		s := survey{}
		if s.client, err = newClient(f, typedv1beta1.NewForConfig); err != nil {
			return err
		}
		if !everywhere {
			if s.namespace, err = f.currentNamespace(); err != nil {
				return err
			}
		}
		count := s.count
		if follow {
			count = s.follow
		}
		t, err := count(ctx, f.ErrOut)
		if err != nil {
			return err
		}
		report := t.report()
		return output.Print(f.Out, report, report.table)
	})
	fs := c.Flags()
	fs.BoolVarP(&everywhere, "all-namespaces", "A", false, "Count the values of all namespaces.")
	fs.BoolVarP(&follow, "watch", "w", false, "Follow a rotation until every value is under the active key.")
	output.AddFlag(fs, "table", "json")
	return c
}

func (s *survey) count(ctx context.Context, errOut io.Writer) (*tally, error) {
	t, _, err := s.list(ctx, cli.New(errOut, cli.Values))
	if err != nil {
		return nil, err
	}
	if err := s.probe(ctx, t); err != nil {
		fmt.Fprintln(errOut, "note:", err) //nolint:errcheck // a note
	}
	return t, nil
}

// list counts all values and returns the resourceVersion of the list.
func (s *survey) list(ctx context.Context, bar *cli.Bar) (*tally, string, error) {
	t := &tally{keys: map[types.NamespacedName]string{}, counts: map[string]int64{}}
	defer bar.End()
	page := s.client.SecureValues(s.namespace).List
	version, err := each(ctx, page, metav1.ListOptions{}, func(sv *v1beta1.SecureValue, total int64) {
		t.put(sv)
		bar.Set(t.total(), total)
	})
	return t, version, apiError("listing the values", err)
}

// probe finds the active key by a dry run of a rewrap, which changes nothing. Without values the key stays unknown.
func (s *survey) probe(ctx context.Context, t *tally) (err error) {
	tries := 0
	for name := range t.keys {
		if tries++; tries > probeTries {
			break
		}
		var answer *v1beta1.SecureValueRewrap
		answer, err = s.client.SecureValues(name.Namespace).CreateRewrap(ctx, name.Name, &v1beta1.SecureValueRewrap{},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		cause, named := apierrors.StatusCause(err, secret.CauseWriteKey) // of a value that cannot be decrypted
		switch {
		case err == nil:
			t.writeKey, t.servers = secret.ShowKey(answer.Status.WriteKey), answer.Status.Servers
			return nil
		case named:
			t.writeKey = secret.ShowKey(cause.Message)
			return nil
		case apierrors.IsForbidden(err):
			return errNoRewrap
		case !apierrors.IsNotFound(err):
			return err
		}
	}
	return err
}

// tally counts values by key. It remembers each value, since a watch may repeat an event.
type tally struct {
	keys   map[types.NamespacedName]string
	counts map[string]int64
	// writeKey is the active key, or "" if unknown, servers are those that run.
	writeKey string
	servers  []v1beta1.SecureValueServer
}

func nameOf(sv *v1beta1.SecureValue) types.NamespacedName {
	return types.NamespacedName{Namespace: sv.Namespace, Name: sv.Name}
}

// put counts an object unless it is deleted and waits for its finalizers: then it has no value.
func (t *tally) put(sv *v1beta1.SecureValue) {
	t.remove(sv)
	if sv.DeletionTimestamp != nil {
		return
	}
	key := secret.ShowKey(sv.Status.Key) // an older server may return anything that was in etcd
	t.keys[nameOf(sv)] = key
	t.counts[key]++
}

func (t *tally) remove(sv *v1beta1.SecureValue) {
	key, known := t.keys[nameOf(sv)]
	if !known {
		return
	}
	delete(t.keys, nameOf(sv))
	if t.counts[key]--; t.counts[key] == 0 {
		delete(t.counts, key)
	}
}

// total counts all values, fresh those under the active key.
func (t *tally) total() int64 { return int64(len(t.keys)) }
func (t *tally) fresh() int64 { return t.counts[t.writeKey] }

func (t *tally) done() bool { return t.fresh() == t.total() }

// keysReport is what keys prints.
type keysReport struct {
	// WriteKey is the active key; absent if unknown.
	WriteKey string `json:"writeKey,omitempty"`
	// Values counts the values, Stale those that are not under the active key.
	Values int64  `json:"values"`
	Stale  *int64 `json:"stale,omitempty"`
	// Keys has the most used key first.
	Keys []keyCount `json:"keys"`
	// Servers are the running servers, if the active key is known.
	Servers []v1beta1.SecureValueServer `json:"servers,omitempty"`
}

type keyCount struct {
	Key    string `json:"key"`
	Values int64  `json:"values"`
}

func (t *tally) report() keysReport {
	r := keysReport{WriteKey: t.writeKey, Values: t.total(), Keys: []keyCount{}, Servers: t.servers}
	if t.writeKey != "" {
		stale := t.total() - t.fresh()
		r.Stale = &stale
	}
	for _, key := range slices.Sorted(maps.Keys(t.counts)) {
		r.Keys = append(r.Keys, keyCount{key, t.counts[key]})
	}
	slices.SortStableFunc(r.Keys, func(a, b keyCount) int { return cmp.Compare(b.Values, a.Values) })
	return r
}

func (r *keysReport) table() string {
	rows := [][]string{{"KEY", "VALUES", "SHARE"}}
	for _, key := range r.Keys {
		share := fmt.Sprintf("%.1f%%", 100*float64(key.Values)/float64(r.Values))
		row := []string{key.Key, fmt.Sprint(key.Values), share}
		if key.Key == r.WriteKey {
			row = append(row, "active")
		}
		rows = append(rows, row)
	}
	text := cli.Table(rows) + cli.NumberOfValues(r.Values)
	if r.Stale != nil && *r.Stale == 0 {
		text += fmt.Sprintf(", all under the active key %s", r.WriteKey)
	} else if r.Stale != nil {
		text += fmt.Sprintf(", %d still to re-encrypt with the active key %s", *r.Stale, r.WriteKey)
	}
	if len(r.Servers) == 0 {
		return text + "\n"
	}
	rows = [][]string{{"SERVER", "VERSION", "WRITE KEY"}}
	for _, s := range r.Servers {
		rows = append(rows, []string{secret.ShowKey(s.Name), secret.ShowKey(cmp.Or(s.Version, "unknown")),
			secret.ShowKey(cmp.Or(s.WriteKey, "unknown"))})
	}
	return text + "\n\n" + cli.Table(rows)
}
