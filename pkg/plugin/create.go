// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/scheme"
)

const createExample = `  # Prompt for the value without showing it.
  kubectl securevalue create api-key -d "External API key" --decrypter synthetic-monitoring

  # From a password manager, without the newline that it prints.
  pass show api-key | kubectl securevalue create api-key -d "External API key" --decrypter k6-cloud \
    --from-stdin --trim-newline

  # From a file, for two services, with labels.
  kubectl securevalue create tls-key -d "TLS key" --decrypter k6-cloud --decrypter synthetic-monitoring -l team=web \
    --from-file tls.key

  # Generated and shown to nobody; generated with 40 hexadecimal digits and printed once.
  kubectl securevalue create session-key -d "Signs sessions" --decrypter k6-cloud --generate
  kubectl securevalue create db -d "Database login" --decrypter k6-cloud --generate --length 40 --alphabet hex \
    --show-once

  # As a manifest for Git, with the value sealed; nothing is created.
  kubectl securevalue create api-key -d "External API key" --decrypter k6-cloud --sealed --dry-run=client -o yaml \
    >api-key.yaml

  # Only check that the server accepts it.
  kubectl securevalue create api-key -d "External API key" --decrypter k6-cloud --from-env API_KEY \
    --dry-run=server -o yaml`

func newCreate(f *factory) *cobra.Command {
	w, sv := newWriter(f, "created"), &v1beta1.SecureValue{}
	c := f.oneName(&cobra.Command{
		Use:     "create NAME -d DESCRIPTION --decrypter SERVICE...",
		Short:   "Create a secure value",
		Long:    "Create a secure value.\n\n" + sourceHelp,
		Example: createExample,
	}, func(ctx context.Context, name string) error {
		sv.Name = name
		return w.create(ctx, sv)
	})
	c.ValidArgsFunction = cobra.NoFileCompletions
	fs := c.Flags()
	fs.StringVarP(&sv.Spec.Description, "description", "d", "",
		"Description of the value, 1 to 25 characters. Required.")
	fs.StringSliceVar(&sv.Spec.Decrypters, "decrypter", nil,
		"Name of a `service` that may open the value. May be repeated, up to 64 times.")
	fs.StringToStringVarP(&sv.Labels, "labels", "l", nil, "Labels, as `KEY=VALUE`. May be repeated.")
	w.addFlags(c)
	f.completeDecrypters(c)
	return c
}

func (w *writer) create(ctx context.Context, sv *v1beta1.SecureValue) error {
	printer, err := w.printer()
	if err != nil {
		return err
	}
	client, namespace, err := w.secureValues()
	if err != nil {
		return err
	}
	sv.Namespace = namespace
	if err := checkObject(sv); err != nil {
		return err
	}
	value, err := w.source.read(ctx, w.IOStreams)
	if err != nil {
		return err
	}
	if err := w.put(ctx, sv, value); err != nil {
		return err
	}
	created := sv
	if !w.dryRun.client() {
		created, err = client.Create(ctx, sv, w.dryRun.createOptions())
	}
	if err != nil {
		return apiError(fmt.Sprintf("creating %s/%s", namespace, sv.Name), err)
	}
	if len(sv.Spec.Decrypters) == 0 {
		const note = "note: without --decrypter nobody can open the value; adding a service later requires a new value"
		fmt.Fprintln(w.ErrOut, note) //nolint:errcheck // a note
	}
	return w.print(printer, created, value)
}

// put puts a value into an object, or with --sealed the text that it becomes.
func (w *writer) put(ctx context.Context, sv *v1beta1.SecureValue, value sensitive.Value) error {
	if !w.sealed {
		sv.Spec.Value = &value
		return nil
	}
	if w.sealer.key == nil {
		if err := w.sealer.prepare(ctx); err != nil {
			return err
		}
	}
	text, err := w.sealer.sealFor(sv.Namespace, sv.Name, sv.Spec.Decrypters, value)
	sv.Spec.SealedValue = text
	return err
}

// writer has what create and set share.
type writer struct {
	*factory
	source source
	sealed bool
	sealer sealer
	result *genericclioptions.PrintFlags
	dryRun dryRun
}

func newWriter(f *factory, done string) *writer {
	return &writer{factory: f, sealer: sealer{factory: f},
		result: genericclioptions.NewPrintFlags(done).WithTypeSetter(scheme.Scheme)}
}

func (w *writer) addFlags(c *cobra.Command) {
	w.source.addFlags(c.Flags())
	c.Flags().BoolVar(&w.sealed, "sealed", false,
		"Send the value sealed to a key of the server, as spec.sealedValue, which may stand in Git.")
	w.sealer.addFlags(c.Flags())
	w.result.AddFlags(c)
	w.dryRun.addFlag(c.Flags())
	c.Flags().Lookup("dry-run").Usage = "none; server: the server checks the request and stores nothing; " +
		"client, with --sealed: print the object and send nothing."
}

// printer checks the flags and returns the printer of the result.
func (w *writer) printer() (printers.ResourcePrinter, error) {
	if err := errors.Join(w.source.validate(), w.validateSealed()); err != nil {
		return nil, err
	}
	if w.source.showOnce {
		switch {
		case w.dryRun != "none":
			return nil, errors.New("--show-once would show a value that --dry-run does not store; omit one of them")
		case w.result.OutputFlagSpecified():
			return nil, errors.New("--show-once prints only the value to standard output; omit -o")
		}
	}
	if w.dryRun != "none" {
		if err := w.result.Complete("%s (" + string(w.dryRun) + " dry run)"); err != nil {
			return nil, err
		}
	}
	printer, err := w.result.ToPrinter()
	if err != nil {
		return nil, fmt.Errorf("-o: %w", err)
	}
	return printer, nil
}

func (w *writer) validateSealed() error {
	switch {
	case !w.sealed && (w.sealer.publicKey != "" || w.sealer.notAfter != ""):
		return errors.New("--public-key and --not-after require --sealed")
	case w.sealed && w.dryRun.client():
		return nil
	}
	return w.dryRun.validate()
}

// print writes the object to standard output. With --show-once the value goes there and the object to standard error;
// the value is printed even if the object cannot be, because it cannot be read again.
func (w *writer) print(printer printers.ResourcePrinter, sv *v1beta1.SecureValue, value sensitive.Value) error {
	sv = sv.DeepCopy()
	sv.Spec.Value = nil // the server sends none
	if !w.source.showOnce {
		return printer.PrintObj(sv, w.Out)
	}
	_, err := fmt.Fprintln(w.Out, value.Expose())
	return errors.Join(err, printer.PrintObj(sv, w.ErrOut))
}

// dryRun is the flag --dry-run: none or server.
type dryRun string

func (d *dryRun) addFlag(fs *pflag.FlagSet) {
	fs.StringVar((*string)(d), "dry-run", "none", "none, or server: the server checks the request and stores nothing.")
	fs.Lookup("dry-run").NoOptDefVal = "server"
}

func (d *dryRun) validate() error {
	switch *d {
	case "none", "server":
		return nil
	case "client":
		return errors.New("--dry-run=client is not supported: it would print the value; use server")
	default:
		return errors.New("--dry-run must be none or server")
	}
}

func (d *dryRun) server() bool { return *d == "server" }

func (d *dryRun) client() bool { return *d == "client" }

// options is the option of a request.
func (d *dryRun) options() []string {
	if d.server() {
		return []string{metav1.DryRunAll}
	}
	return nil
}

func (d *dryRun) createOptions() metav1.CreateOptions {
	return metav1.CreateOptions{
		DryRun: d.options(), FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict,
	}
}

// flagOf maps fields to flags, the longer of two names first.
var flagOf = strings.NewReplacer("spec.description", "--description", "spec.decrypters", "--decrypter",
	"metadata.namespace", "--namespace", "metadata.name", "NAME", "metadata.labels", "--labels")

// checkObject reports every violation that the server would report for a new object, except for the value and for
// decrypters that it does not allow.
func checkObject(sv *v1beta1.SecureValue) error {
	var errs []error
	for _, violation := range violations(sv) {
		errs = append(errs, errors.New(flagOf.Replace(violation.Error())))
	}
	return errors.Join(errs...)
}

func violations(sv *v1beta1.SecureValue) field.ErrorList {
	object := &secret.SecureValue{ObjectMeta: sv.ObjectMeta, Spec: secret.SecureValueSpec{
		Description: sv.Spec.Description, Decrypters: sv.Spec.Decrypters, Value: sensitive.New("checked elsewhere"),
	}}
	return validation.New([]string{validation.AnyDecrypter}).Create(object)
}
