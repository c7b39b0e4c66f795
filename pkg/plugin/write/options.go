// SPDX-License-Identifier: Apache-2.0

package write

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/scheme"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/input"
)

// sourcesHelp is the part of the help that both commands share.
const sourcesHelp = `The value is asked for twice on the terminal, and nothing of it is shown. --from-file, --from-stdin, --from-env or --generate give
it in another way; --from-file and --from-stdin keep every byte, a newline at the end too, unless --trim-newline is given. It is
never an argument.

A value has 1 to 24576 bytes of UTF-8. No output of this command holds it, but for that of --generate --show-once.`

// options are those that create and set share.
type options struct {
	factory *cluster.Factory
	source  input.Source
	result  *genericclioptions.PrintFlags
	dryRun  string
}

func newOptions(factory *cluster.Factory, done string) *options {
	return &options{factory: factory, result: genericclioptions.NewPrintFlags(done).WithTypeSetter(scheme.Scheme), dryRun: DryRunNone}
}

func (o *options) addFlags(command *cobra.Command) {
	o.source.AddFlags(command.Flags())
	o.result.AddFlags(command)
	AddDryRun(command.Flags(), &o.dryRun)
}

// validate checks the flags and returns what prints the result.
func (o *options) validate() (printers.ResourcePrinter, error) {
	if err := errors.Join(o.source.Validate(), ValidateDryRun(o.dryRun)); err != nil {
		return nil, err
	}
	if o.source.ShowOnce() {
		switch {
		case o.dryRun != DryRunNone:
			return nil, errors.New("--show-once would show a value that --dry-run does not store; leave one of them out")
		case o.result.OutputFlagSpecified():
			return nil, errors.New("--show-once prints the value to standard output, and the result to standard error; leave -o out")
		}
	}
	if o.dryRun == DryRunServer {
		if err := o.result.Complete("%s (server dry run)"); err != nil {
			return nil, err
		}
	}
	printer, err := o.result.ToPrinter()
	if err != nil {
		return nil, fmt.Errorf("-o: %w", err)
	}
	return printer, nil
}

// report prints what came of it: the object on standard output, or, with --show-once, the value there and the object on standard
// error. The value is printed even when the object could not be: it cannot be had again.
func (o *options) report(printer printers.ResourcePrinter, sv *v1beta1.SecureValue, value sensitive.Value) error {
	sv = sv.DeepCopy()
	sv.Spec.Value = nil // the server sends none
	if !o.source.ShowOnce() {
		return printer.PrintObj(sv, o.factory.Out)
	}
	_, err := fmt.Fprintln(o.factory.Out, value.Expose())
	return errors.Join(err, printer.PrintObj(sv, o.factory.ErrOut))
}
