// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

const setLong = `Write a new value to an existing secure value. Its description, decrypters, labels and everything else
stay unchanged, even when they are edited concurrently.

If another user has listed decrypters since you last wrote a value, the command shows the list and who changed it, and
asks for confirmation: a service added there would get the new value. Without a terminal it requires --keep-decrypters.

A value that a manifest brings in spec.sealedValue is written with --sealed or --force only: the next apply of the
manifest would bring the old value back.

`

const setExample = `  # Prompt for the new value without showing it.
  kubectl securevalue set api-key

  # In a CI job, for exactly this list of decrypters.
  kubectl securevalue set api-key --from-env API_KEY --keep-decrypters=k6-cloud

  # Seal a new value, and print what the manifest in Git must have.
  kubectl securevalue set api-key --sealed -o jsonpath='{.spec.sealedValue}'

  # Generate a new value and store it in a shell variable.
  PASSWORD=$(kubectl securevalue set db --generate --show-once)`

// keepAny is --keep-decrypters without a list. No decrypter has this name.
const keepAny = "*"

// setter writes a new value to an object.
type setter struct {
	*writer
	keep  string
	force bool
	// confirmed is the list of decrypters that was checked; nil before that.
	confirmed       sets.Set[string]
	client          typedv1beta1.SecureValueInterface
	namespace, name string
	// mayGet is false when the user may patch the object but not read it.
	mayGet bool
}

func newSet(f *factory) *cobra.Command {
	s := &setter{writer: newWriter(f, "set")}
	c := f.oneName(&cobra.Command{
		Use:     "set NAME",
		Short:   "Write a new value to a secure value",
		Long:    setLong + sourceHelp,
		Example: setExample,
	}, s.run)
	s.addFlags(c)
	c.Flags().StringVar(&s.keep, "keep-decrypters", "",
		"Write the value without confirmation when other users listed decrypters. "+
			"With `SERVICE,...`, only if the list is exactly that.")
	c.Flags().Lookup("keep-decrypters").NoOptDefVal = keepAny
	c.Flags().BoolVar(&s.force, "force", false,
		"Write the value even if the object has a sealed one, which is removed.")
	return c
}

func (s *setter) run(ctx context.Context, name string) (err error) {
	printer, err := s.printer()
	if err != nil {
		return err
	}
	s.name = name
	if s.client, s.namespace, err = s.secureValues(); err != nil {
		return err
	}
	updated, value, err := s.set(ctx)
	if err != nil {
		return err
	}
	return s.print(printer, updated, value)
}

// set reads the object and the value and writes it. After a conflict it does so again, and checks the list of
// decrypters again.
func (s *setter) set(ctx context.Context) (updated *v1beta1.SecureValue, value sensitive.Value, err error) {
	sv, err := s.get(ctx)
	if err != nil {
		return nil, "", err
	}
	if value, err = s.source.read(ctx, s.IOStreams); err != nil {
		return nil, "", err
	}
	err = retry.OnError(retry.DefaultBackoff, retriable, func() error {
		if sv == nil {
			if sv, err = s.get(ctx); err != nil {
				return err
			}
		}
		updated, err = s.write(ctx, sv, value)
		sv = nil
		return s.apiError(err)
	})
	return updated, value, err
}

// retriable reports a conflict. One with a deleted object is permanent.
func retriable(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.HasStatusCause(err, secret.CauseDeleted)
}

// get returns the object once its list of decrypters is confirmed.
func (s *setter) get(ctx context.Context) (*v1beta1.SecureValue, error) {
	sv, err := s.client.Get(ctx, s.name, metav1.GetOptions{})
	s.mayGet = !apierrors.IsForbidden(err)
	if !s.mayGet { // an empty patch shows the object to a user who may only patch it
		sv, err = s.patch(ctx, []byte("{}"), []string{metav1.DryRunAll})
	}
	if err != nil {
		return nil, s.apiError(err)
	}
	if sv.Spec.SealedValue != "" && !s.sealed && !s.force {
		return nil, fmt.Errorf("%s/%s has a spec.sealedValue, applied by %s: the next apply would bring its value "+
			"back; seal the new value with --sealed and change the manifest too, or write it with --force; "+
			"nothing was written",
			s.namespace, s.name, sealedBy(sv))
	}
	if s.dryRun.server() && s.keep == "" {
		return sv, nil // the server warns on a dry run as well
	}
	return sv, s.confirm(ctx, sv)
}

func (s *setter) write(
	ctx context.Context, sv *v1beta1.SecureValue, value sensitive.Value,
) (*v1beta1.SecureValue, error) {
	if err := s.put(ctx, sv, value); err != nil {
		return nil, err
	}
	if s.dryRun.client() {
		return sv, nil
	}
	if s.mayGet {
		return s.client.Update(ctx, sv, metav1.UpdateOptions{
			DryRun: s.dryRun.options(), FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict,
		})
	}
	spec := map[string]any{"value": sv.Spec.Value}
	if s.sealed {
		spec = map[string]any{"sealedValue": sv.Spec.SealedValue}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": sv.ResourceVersion}, "spec": spec,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	return s.patch(ctx, body, s.dryRun.options())
}

func (s *setter) patch(ctx context.Context, body []byte, dryRun []string) (*v1beta1.SecureValue, error) {
	return s.client.Patch(ctx, s.name, types.MergePatchType, body, metav1.PatchOptions{
		DryRun: dryRun, FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
}

func (s *setter) apiError(err error) error {
	if apierrors.IsNotFound(err) {
		const text = `%s/%s does not exist, create it with "kubectl securevalue create"`
		return apiError(fmt.Sprintf(text, s.namespace, s.name), err)
	}
	return apiError(fmt.Sprintf("setting the value of %s/%s", s.namespace, s.name), err)
}

// confirm returns an error unless the new value may go to the decrypters of an object: the flag allows the list, the
// user knows it, or confirms it on the terminal. Another user may have added a decrypter with a junk value, to get the
// value that repairs it.
func (s *setter) confirm(ctx context.Context, sv *v1beta1.SecureValue) error {
	list := sets.New(sv.Spec.Decrypters...)
	switch {
	case s.keep == keepAny || s.confirmed != nil && s.confirmed.Equal(list):
		return nil
	case s.keep != "" && list.Equal(sets.New(strings.Split(s.keep, ",")...)):
		return nil
	case s.keep != "":
		return fmt.Errorf("--keep-decrypters: %s has other decrypters, %s; nothing was written",
			sv.Name, describeDecrypters(sv))
	}
	user := "" // every decrypter is unseen when the server does not report the user
	if who, err := s.whoami(ctx); err == nil {
		user = who.GetName()
	}
	history := secret.HistoryOf(sv.Annotations)
	if unseen := history.Unseen(sv.Spec.Decrypters, user); len(unseen) > 0 {
		if err := s.askToKeep(ctx, sv, history.Describe(unseen)); err != nil {
			return err
		}
	}
	s.confirmed = list
	return nil
}

func (s *setter) askToKeep(ctx context.Context, sv *v1beta1.SecureValue, unseen string) error {
	const text = "%s can be opened by %s.\nListed by other users since you last wrote a value: %s.\n"
	fmt.Fprintf(s.ErrOut, text, sv.Name, describeDecrypters(sv), unseen) //nolint:errcheck // the answer is what matters
	yes, err := confirm(ctx, s.IOStreams, "Write the new value for these decrypters? (yes/no): ")
	switch {
	case errors.Is(err, errNoTerminal):
		return fmt.Errorf("other users listed decrypters of %s since you last wrote a value; "+
			"write it for them with --keep-decrypters=%s, or remove some from the list first; nothing was written",
			sv.Name, strings.Join(sv.Spec.Decrypters, ","))
	case err != nil:
		return err
	case !yes:
		return errors.New("nothing was written")
	}
	return nil
}

// sealedBy names the managers of spec.sealedValue.
func sealedBy(sv *v1beta1.SecureValue) string {
	var managers []string
	for _, entry := range sv.ManagedFields {
		if entry.FieldsV1 != nil && bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:sealedValue"`)) {
			managers = append(managers, strconv.Quote(entry.Manager))
		}
	}
	if managers == nil {
		return "another client"
	}
	return strings.Join(managers, ", ")
}

// describeDecrypters returns the list of an object and who changed it last.
func describeDecrypters(sv *v1beta1.SecureValue) string {
	text := "no service"
	if len(sv.Spec.Decrypters) > 0 {
		text = strings.Join(slices.Sorted(slices.Values(sv.Spec.Decrypters)), ", ")
	}
	if by := sv.Annotations[secret.AnnotationDecryptersChangedBy]; by != "" {
		return fmt.Sprintf("%s (list last changed by %q)", text, by)
	}
	return fmt.Sprintf("%s (list created by %q)", text, sv.Annotations[secret.AnnotationCreatedBy])
}
