// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Output is the flag --output of a command that prints one result.
type Output struct {
	form  string
	forms []string
}

// AddFlag adds the flag. The forms are some of table, json and yaml; the first one is the default.
func (o *Output) AddFlag(fs *pflag.FlagSet, forms ...string) {
	o.forms = forms
	fs.StringVarP(&o.form, "output", "o", forms[0], "Output format: "+orList(forms)+".")
}

// Validate checks the flag. An empty one is a table.
func (o *Output) Validate() error {
	if o.form != "" && !slices.Contains(o.forms, o.form) {
		return fmt.Errorf("-o must be %s", orList(o.forms))
	}
	return nil
}

// Print writes a result as JSON, as YAML or by table.
func (o *Output) Print(out io.Writer, result any, table func(io.Writer) error) error {
	switch o.form {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	case "yaml":
		data, err := yaml.Marshal(result)
		if err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		_, err = out.Write(data)
		return err
	default:
		return table(out)
	}
}

// NewTable aligns tab-separated columns. Its Flush returns the errors of all writes.
func NewTable(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 0, 3, ' ', 0) }

// orList joins words as in "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
