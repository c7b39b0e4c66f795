// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

const resealLong = `Encrypt the sealed values of manifests to the server's active key, without their values.

The server opens each text and seals it again for the same namespace, name, decrypters and expiry. It refuses texts that
expired. Texts of the active key stay as they are. It requires permission to create securevalues/reseal, and changes
nothing on the server: apply the manifests afterwards, which writes a new version of each value.

After a leak of a sealing key this is not enough: change the values.`

const resealExample = `  # Change files in place.
  kubectl securevalue reseal -f api-key.yaml -f db.yaml --write`

// resealer moves texts to the active key.
type resealer struct {
	*factory
	files  files
	client *typedv1beta1.SecretV1beta1Client
	active *sealing.PublicKey
	moved  int
}

func newReseal(f *factory) *cobra.Command {
	r := &resealer{factory: f}
	c := noArgs(&cobra.Command{
		Use:     "reseal -f FILE...",
		Short:   "Encrypt sealed values to the active key of the server",
		Long:    resealLong,
		Example: resealExample,
	}, r.run)
	r.files.addFlags(c, true)
	return c
}

func (r *resealer) run(ctx context.Context) (err error) {
	if err := r.files.validate(); err != nil {
		return err
	}
	if r.client, err = newClient(r.factory, typedv1beta1.NewForConfig); err != nil {
		return err
	}
	if r.active, err = activeKey(ctx, r.client); err != nil {
		return err
	}
	err = r.files.edit(r.In, r.Out, func(m *manifest) error { return r.reseal(ctx, m) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.ErrOut, "sealing key %s, %s\nvalues sealed again: %d\n",
		r.active.ID(), r.active.Fingerprint(), r.moved)
	return err
}

func (r *resealer) reseal(ctx context.Context, m *manifest) error {
	if m.Spec.SealedValue == nil {
		return nil
	}
	before, err := sealing.Parse(*m.Spec.SealedValue)
	if err != nil {
		return fmt.Errorf("spec.sealedValue: %w", err)
	}
	if before.KeyID() == r.active.ID() {
		return nil
	}
	if err := r.setNamespace(m); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return err
	}
	answer, err := r.client.SecureValues(m.Metadata.Namespace).CreateReseal(ctx, m.Metadata.Name,
		&v1beta1.SecureValueReseal{Spec: v1beta1.SecureValueResealSpec{
			SealedValue: before.String(), Decrypters: m.Spec.Decrypters,
		}}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		return apiError("sealing the value again", err)
	}
	after, err := sealing.Parse(answer.Status.SealedValue)
	if err != nil || after.KeyID() != r.active.ID() || !after.NotAfter().Equal(before.NotAfter()) {
		return errors.New("the server did not return a text of its active key with the same expiry; try again")
	}
	_, spec := fieldOf(m.node, "spec")
	r.moved++
	return m.text.replace(spec, "sealedValue", "sealedValue", after.String())
}

// activeKey returns the key that the server wants values sealed to.
func activeKey(ctx context.Context, client *typedv1beta1.SecretV1beta1Client) (*sealing.PublicKey, error) {
	list, err := client.SealingKeys().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, apiError("reading the sealing keys of the server", err)
	}
	var active []v1beta1.SealingKey
	for i := range list.Items {
		if list.Items[i].Status.Active {
			active = append(active, list.Items[i])
		}
	}
	if len(active) != 1 {
		return nil, fmt.Errorf("the server has %d active sealing keys, expected one: "+
			"see \"kubectl get sealingkeys\", and name one with --public-key", len(active))
	}
	if suite := active[0].Spec.Suite; suite != sealing.Suite {
		return nil, fmt.Errorf("the active sealing key has suite %q, this plugin knows %s only: update it", suite,
			sealing.Suite)
	}
	key, err := sealing.ParsePublicKey(active[0].Spec.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("the active sealing key: %w", err)
	}
	if key.ID() != active[0].Name {
		return nil, fmt.Errorf("sealing key %q is not named after its public key: do not seal to it; "+
			"something may have replaced the key on its way from the server", active[0].Name)
	}
	return key, nil
}
