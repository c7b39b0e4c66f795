// SPDX-License-Identifier: Apache-2.0

package keyuse

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
)

// probeTries is how many values a probe asks about: some may be gone meanwhile.
const probeTries = 3

// errNoRight says that the write key is unknown for want of a right.
var errNoRight = errors.New(`which key the server seals with now is not known: telling takes the right to create securevalues/rewrap, of which a dry run is made`)

// survey counts the values of a namespace, or of all when it is "".
type survey struct {
	client    typedv1beta1.SecretV1beta1Interface
	namespace string
}

// list counts all values and returns the resourceVersion of the list.
func (s *survey) list(ctx context.Context, bar *cli.Bar) (*tally, string, error) {
	t := newTally()
	defer bar.End()
	version, err := cluster.Each(ctx, s.client.SecureValues(s.namespace), metav1.ListOptions{}, func(sv *v1beta1.SecureValue, total int64) {
		t.put(sv)
		bar.Set(t.total(), total)
	})
	return t, version, err
}

// probe asks for the write key by a dry run of a rewrap, which changes nothing. Without values there is nothing to ask about, and the key
// stays unknown.
func (s *survey) probe(ctx context.Context, t *tally) error {
	tries := 0
	var err error
	for name := range t.keys {
		if tries++; tries > probeTries {
			break
		}
		var answer *v1beta1.SecureValueRewrap
		answer, err = s.client.SecureValues(name.Namespace).CreateRewrap(ctx, name.Name, &v1beta1.SecureValueRewrap{},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		cause, named := apierrors.StatusCause(err, secret.CauseWriteKey) // of a value that does not open
		switch {
		case err == nil:
			t.writeKey = secret.ShowKey(answer.Status.WriteKey)
			return nil
		case named:
			t.writeKey = secret.ShowKey(cause.Message)
			return nil
		case apierrors.IsForbidden(err):
			return errNoRight
		case !apierrors.IsNotFound(err):
			return err
		}
	}
	return err
}
