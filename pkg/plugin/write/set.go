// SPDX-License-Identifier: Apache-2.0

package write

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

const setLong = `Write a new value to a secure value that exists. Its description, decrypters, labels and everything else stay as they are, even
when somebody changes them at the same time.

`

const setExample = `  # Asks for the new value twice and shows nothing.
  kubectl securevalue set api-key

  # In a CI job.
  kubectl securevalue set api-key --from-env API_KEY

  # A new random value, printed to a variable of the shell.
  PASSWORD=$(kubectl securevalue set db --generate --show-once)`

// NewSet returns the command set.
func NewSet(factory *cluster.Factory) *cobra.Command {
	o := newOptions(factory, "set")
	command := &cobra.Command{
		Use:               "set NAME",
		Short:             "Write a new value to a secure value",
		Long:              setLong + sourcesHelp,
		Example:           setExample,
		Args:              hint.Name,
		ValidArgsFunction: factory.CompleteNames,
		RunE:              func(command *cobra.Command, args []string) error { return o.runSet(command.Context(), args[0]) },
	}
	o.addFlags(command)
	return command
}

func (o *options) runSet(ctx context.Context, name string) error {
	printer, err := o.validate()
	if err != nil {
		return err
	}
	client, namespace, err := o.factory.SecureValues()
	if err != nil {
		return err
	}
	value, err := o.source.Read(ctx, o.factory.IOStreams)
	if err != nil {
		return err
	}
	updated, err := o.update(ctx, client, name, value)
	switch {
	case apierrors.IsNotFound(err):
		return hint.API(fmt.Sprintf(`%s/%s has to exist, "kubectl securevalue create" makes it`, namespace, name), err)
	case err != nil:
		return hint.API(fmt.Sprintf("setting the value of %s/%s", namespace, name), err)
	}
	return o.report(printer, updated, value)
}

// update reads the object, gives it the value, and writes it back, anew when somebody else was faster. Who may not read it can still
// patch it.
func (o *options) update(ctx context.Context, client typedv1beta1.SecureValueInterface, name string, value sensitive.Value) (*v1beta1.SecureValue, error) {
	var updated *v1beta1.SecureValue
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		sv, err := client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsForbidden(err) {
			updated, err = o.patch(ctx, client, name, value)
			return err
		}
		if err != nil {
			return err
		}
		sv.Spec.Value = &value
		updated, err = client.Update(ctx, sv, metav1.UpdateOptions{
			DryRun: DryRunOption(o.dryRun), FieldManager: cluster.FieldManager, FieldValidation: metav1.FieldValidationStrict,
		})
		return err
	})
	return updated, err
}

func (o *options) patch(ctx context.Context, client typedv1beta1.SecureValueInterface, name string, value sensitive.Value) (*v1beta1.SecureValue, error) {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"value": value}})
	if err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	return client.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{
		DryRun: DryRunOption(o.dryRun), FieldManager: cluster.FieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
}
