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

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

const setLong = `Write a new value to a secure value that exists. Its description, decrypters, labels and everything else stay as they are, even
when somebody changes them at the same time.

When another user has listed decrypters since you last wrote a value, the command shows the list and who changed it, and asks: a service that was
put there would get the new value. Without a terminal it needs --keep-decrypters.

`

const setExample = `  # Asks for the new value twice and shows nothing.
  kubectl securevalue set api-key

  # In a CI job, for this list of decrypters and no other.
  kubectl securevalue set api-key --from-env API_KEY --keep-decrypters=k6-cloud

  # A new random value, printed to a variable of the shell.
  PASSWORD=$(kubectl securevalue set db --generate --show-once)`

// setOptions are the flags of set.
type setOptions struct {
	*options
	keeping keeping
}

// NewSet returns the command set.
func NewSet(factory *cluster.Factory) *cobra.Command {
	o := &setOptions{options: newOptions(factory, "set")}
	command := &cobra.Command{
		Use:               "set NAME",
		Short:             "Write a new value to a secure value",
		Long:              setLong + sourcesHelp,
		Example:           setExample,
		Args:              hint.Name,
		ValidArgsFunction: factory.CompleteNames,
		RunE:              func(command *cobra.Command, args []string) error { return o.run(command.Context(), args[0]) },
	}
	o.addFlags(command)
	o.keeping.addFlag(command.Flags())
	return command
}

func (o *setOptions) run(ctx context.Context, name string) error {
	printer, err := o.validate()
	if err != nil {
		return err
	}
	client, namespace, err := o.factory.SecureValues()
	if err != nil {
		return err
	}
	target := &target{setOptions: o, client: client, namespace: namespace, name: name}
	updated, value, err := target.set(ctx)
	if err != nil {
		return err
	}
	return o.report(printer, updated, value)
}

// target is the object that gets the value.
type target struct {
	*setOptions
	client          typedv1beta1.SecureValueInterface
	namespace, name string
	// mayGet is false when the user may patch the object but not read it.
	mayGet bool
}

// set looks at the object, reads the value, and writes it, again when somebody else was faster: then the list of
// decrypters is looked at again, too.
func (t *target) set(ctx context.Context) (updated *v1beta1.SecureValue, value sensitive.Value, err error) {
	sv, err := t.look(ctx)
	if err != nil {
		return nil, "", err
	}
	if value, err = t.source.Read(ctx, t.factory.IOStreams); err != nil {
		return nil, "", err
	}
	err = retry.OnError(retry.DefaultBackoff, overtaken, func() error {
		if sv == nil {
			if sv, err = t.look(ctx); err != nil {
				return err
			}
		}
		updated, err = t.write(ctx, sv, value)
		sv = nil
		return t.refused(err)
	})
	return updated, value, err
}

// overtaken reports whether somebody else was faster. A deleted object takes no value, however often that is tried.
func overtaken(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.HasStatusCause(err, secret.CauseDeleted)
}

// look returns the object, once its list of decrypters may be kept.
func (t *target) look(ctx context.Context) (*v1beta1.SecureValue, error) {
	sv, err := t.client.Get(ctx, t.name, metav1.GetOptions{})
	t.mayGet = !apierrors.IsForbidden(err)
	if !t.mayGet { // an empty patch shows the object to a user who may only patch it
		sv, err = t.client.Patch(ctx, t.name, types.MergePatchType, []byte("{}"), t.patchOptions(DryRunServer))
	}
	if err != nil {
		return nil, t.refused(err)
	}
	if t.dryRun == DryRunServer && t.keeping.flag == "" {
		return sv, nil // the server warns on a dry run, too
	}
	return sv, t.keeping.agree(ctx, t.factory, sv)
}

func (t *target) write(ctx context.Context, sv *v1beta1.SecureValue, value sensitive.Value) (*v1beta1.SecureValue, error) {
	if t.mayGet {
		sv.Spec.Value = &value
		return t.client.Update(ctx, sv, metav1.UpdateOptions{
			DryRun: DryRunOption(t.dryRun), FieldManager: cluster.FieldManager, FieldValidation: metav1.FieldValidationStrict,
		})
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": sv.ResourceVersion}, "spec": map[string]any{"value": value},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	return t.client.Patch(ctx, t.name, types.MergePatchType, body, t.patchOptions(t.dryRun))
}

// refused says what was done when the API returned an error.
func (t *target) refused(err error) error {
	if apierrors.IsNotFound(err) {
		return hint.API(fmt.Sprintf(`%s/%s has to exist, "kubectl securevalue create" makes it`, t.namespace, t.name), err)
	}
	return hint.API(fmt.Sprintf("setting the value of %s/%s", t.namespace, t.name), err)
}

func (*target) patchOptions(dryRun string) metav1.PatchOptions {
	return metav1.PatchOptions{
		DryRun: DryRunOption(dryRun), FieldManager: cluster.FieldManager, FieldValidation: metav1.FieldValidationStrict,
	}
}
