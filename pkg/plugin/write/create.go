// SPDX-License-Identifier: Apache-2.0

package write

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

const createExample = `  # Asks for the value twice and shows nothing.
  kubectl securevalue create api-key -d "External API key" --decrypter synthetic-monitoring

  # From a password manager, without the newline that it prints.
  pass show api-key | kubectl securevalue create api-key -d "External API key" --decrypter k6-cloud --from-stdin --trim-newline

  # A file, two services, labels.
  kubectl securevalue create tls-key -d "TLS key" --decrypter k6-cloud --decrypter synthetic-monitoring -l team=web --from-file tls.key

  # Made here and known to nobody; then one of 40 hexadecimal digits that you need once.
  kubectl securevalue create session-key -d "Signs sessions" --decrypter k6-cloud --generate
  kubectl securevalue create db -d "Database login" --decrypter k6-cloud --generate --length 40 --alphabet hex --show-once

  # Would the server take it?
  kubectl securevalue create api-key -d "External API key" --decrypter k6-cloud --from-env API_KEY --dry-run=server -o yaml`

// createOptions are the flags of create.
type createOptions struct {
	*options
	description string
	decrypters  []string
	labels      map[string]string
}

// NewCreate returns the command create.
func NewCreate(factory *cluster.Factory) *cobra.Command {
	o := &createOptions{options: newOptions(factory, "created")}
	command := &cobra.Command{
		Use:               "create NAME -d DESCRIPTION --decrypter SERVICE...",
		Short:             "Create a secure value",
		Long:              "Create a secure value.\n\n" + sourcesHelp,
		Example:           createExample,
		Args:              hint.Name,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, args []string) error { return o.run(command.Context(), args[0]) },
	}
	fs := command.Flags()
	fs.StringVarP(&o.description, "description", "d", "", "What the value is for: 1 to 25 characters. Required.")
	fs.StringSliceVar(&o.decrypters, "decrypter", nil, "A `service` that may open the value. May be repeated, up to 64 times.")
	fs.StringToStringVarP(&o.labels, "labels", "l", nil, "Labels, as `KEY=VALUE`. May be repeated.")
	o.addFlags(command)
	_ = command.RegisterFlagCompletionFunc("decrypter", factory.CompleteDecrypters) // the flag is defined above
	return command
}

func (o *createOptions) run(ctx context.Context, name string) error {
	printer, err := o.validate()
	if err != nil {
		return err
	}
	client, namespace, err := o.factory.SecureValues()
	if err != nil {
		return err
	}
	sv := &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: o.labels},
		Spec:       v1beta1.SecureValueSpec{Description: o.description, Decrypters: o.decrypters},
	}
	if err := Faults(sv); err != nil {
		return err
	}
	value, err := o.source.Read(ctx, o.factory.IOStreams)
	if err != nil {
		return err
	}
	sv.Spec.Value = &value
	created, err := client.Create(ctx, sv, metav1.CreateOptions{
		DryRun: DryRunOption(o.dryRun), FieldManager: cluster.FieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return hint.API(fmt.Sprintf("creating %s/%s", namespace, name), err)
	}
	if len(o.decrypters) == 0 {
		fmt.Fprintln(o.factory.ErrOut, "note: without --decrypter nobody can open the value; a service joins the list later only together with a new value") //nolint:errcheck // a note
	}
	return o.report(printer, created, value)
}

// flagOf names the flag behind a field.
var flagOf = strings.NewReplacer("spec.description", "--description", "spec.decrypters", "--decrypter",
	"metadata.namespace", "--namespace", "metadata.name", "NAME", "metadata.labels", "--labels") // the longer of two first

// Faults checks all that a server would check of a new object, but the value and whether it allows the decrypters. Every fault is
// named.
func Faults(sv *v1beta1.SecureValue) error {
	object := &secret.SecureValue{ObjectMeta: sv.ObjectMeta, Spec: secret.SecureValueSpec{
		Description: sv.Spec.Description, Decrypters: sv.Spec.Decrypters, Value: sensitive.New("checked elsewhere"),
	}}
	var errs []error
	for _, fault := range validation.New([]string{validation.AnyDecrypter}).Create(object) {
		errs = append(errs, errors.New(flagOf.Replace(fault.Error())))
	}
	return errors.Join(errs...)
}
