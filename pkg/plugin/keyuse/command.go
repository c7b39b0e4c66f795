// SPDX-License-Identifier: Apache-2.0

package keyuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

const long = `Count the values of a namespace by the key that seals them, and say how many are left to move in a rotation.

The key that the server seals with now is learnt by a dry run of a rewrap, which changes nothing and takes the right to create
securevalues/rewrap. With --watch the command follows a rotation, with a bar on a terminal, and ends when every value is under that key.

It counts what you may list. "secret-apiserver keys report --fail-on KEY" is the proof before a key is destroyed.`

const example = `  kubectl securevalue keys
  kubectl securevalue keys --all-namespaces

  # Wait for the end of a rotation.
  kubectl securevalue keys --all-namespaces --watch

  kubectl securevalue keys -o json`

// options are the flags of keys.
type options struct {
	factory    *cluster.Factory
	everywhere bool
	follow     bool
	output     string
}

// New returns the command keys.
func New(factory *cluster.Factory) *cobra.Command {
	o := &options{factory: factory}
	command := &cobra.Command{
		Use:               "keys",
		Short:             "Count the values by key, and follow a rotation",
		Long:              long,
		Example:           example,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context()) },
	}
	fs := command.Flags()
	fs.BoolVarP(&o.everywhere, "all-namespaces", "A", false, "Count the values of all namespaces.")
	fs.BoolVarP(&o.follow, "watch", "w", false, "Follow a rotation until every value is under the key that the server seals with.")
	fs.StringVarP(&o.output, "output", "o", "table", "Form of the counts: table or json.")
	return command
}

func (o *options) run(ctx context.Context) error {
	if o.output != "table" && o.output != "json" {
		return errors.New("-o must be table or json")
	}
	client, err := o.factory.Typed()
	if err != nil {
		return err
	}
	s := &survey{client: client}
	if !o.everywhere {
		if s.namespace, err = o.factory.Namespace(); err != nil {
			return err
		}
	}
	found, err := o.count(ctx, s)
	if err != nil {
		return err
	}
	if o.output == "json" {
		encoder := json.NewEncoder(o.factory.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(found.report())
	}
	return printTable(o.factory.Out, found.report())
}

func (o *options) count(ctx context.Context, s *survey) (*tally, error) {
	if o.follow {
		f := &follower{survey: s, out: o.factory.ErrOut, bar: cli.New(o.factory.ErrOut, cli.Count("values under the new key"))}
		return f.run(ctx)
	}
	found, _, err := s.list(ctx, cli.New(o.factory.ErrOut, cli.Values))
	if err != nil {
		return nil, hint.API("listing the values", err)
	}
	if err := s.probe(ctx, found); err != nil {
		fmt.Fprintln(o.factory.ErrOut, "note:", err) //nolint:errcheck // a note
	}
	return found, nil
}

func printTable(out io.Writer, r report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "KEY\tVALUES\tSHARE") // Flush returns the error
	for _, key := range r.Keys {
		mark := ""
		if key.Key == r.WriteKey {
			mark = "\tseals now"
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%.1f%%%s\n", key.Key, key.Values, 100*float64(key.Values)/float64(r.Values), mark)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var err error
	switch {
	case r.Stale == nil:
		_, err = fmt.Fprintf(out, "%s\n", cli.NumberOfValues(r.Values))
	case *r.Stale == 0:
		_, err = fmt.Fprintf(out, "%s, all under %s, which seals now\n", cli.NumberOfValues(r.Values), r.WriteKey)
	default:
		_, err = fmt.Fprintf(out, "%s, %d still to move to %s, which seals now\n", cli.NumberOfValues(r.Values), *r.Stale, r.WriteKey)
	}
	return err
}
