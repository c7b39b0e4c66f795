// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// settle gives the flags that are not on the command line the values of variables, and those without a variable the
// values of the file of --config. Unknown variables are ignored: a Service named secret-agent makes some. Unknown keys
// of the file are errors.
func settle(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(flag *pflag.Flag) {
		text, ok := os.LookupEnv(variable(flag.Name))
		if !ok || flag.Changed || !setting(flag) {
			return
		}
		err := assign(flag, strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }), text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", variable(flag.Name), err))
		}
		flag.Changed = true
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	file := flags.Lookup("config").Value.String()
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var keys map[string]any
	if err := yaml.UnmarshalStrict(data, &keys); err != nil {
		return fmt.Errorf("--config %s: not a YAML mapping, or a key is repeated", file) // the error may quote the file
	}
	for key, value := range keys {
		if err := setKey(flags, key, value); err != nil {
			errs = append(errs, fmt.Errorf("--config %s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

// variable returns the name of the environment variable of a flag.
func variable(flag string) string {
	return "SECRET_AGENT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setting reports whether a flag is more than a question such as --help.
func setting(flag *pflag.Flag) bool { return flag.Value.Type() != "bool" }

// assign gives a flag a value: a list to one that may be repeated, a text to others.
func assign(flag *pflag.Flag, list []string, text string) error {
	if slice, ok := flag.Value.(pflag.SliceValue); ok {
		return slice.Replace(list)
	}
	return flag.Value.Set(text)
}

func setKey(flags *pflag.FlagSet, key string, value any) error {
	flag := flags.Lookup(key)
	if flag == nil || !setting(flag) || key == "config" {
		return fmt.Errorf("unknown key %q: keys are the names of flags, without dashes in front", key)
	}
	_, repeated := flag.Value.(pflag.SliceValue)
	items, isList := value.([]any)
	text, isText := value.(string)
	if repeated && !isList {
		return fmt.Errorf("%s: expected a list", key)
	}
	if !repeated && !isText {
		return fmt.Errorf("%s: expected a string; quote numbers", key)
	}
	list := make([]string, len(items))
	for i, item := range items {
		var ok bool
		if list[i], ok = item.(string); !ok {
			return fmt.Errorf("%s: item %d is not a string", key, i+1)
		}
	}
	if flag.Changed {
		return nil
	}
	if err := assign(flag, list, text); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}
