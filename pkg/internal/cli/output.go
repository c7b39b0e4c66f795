// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

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

// Print writes a result as JSON, as YAML or as what table returns.
func (o *Output) Print(out io.Writer, result any, table func() string) error {
	switch o.form {
	case "json":
		return PrintJSON(out, result)
	case "yaml":
		data, err := yaml.Marshal(result)
		if err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		_, err = out.Write(data)
		return err
	default:
		_, err := io.WriteString(out, table())
		return err
	}
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
