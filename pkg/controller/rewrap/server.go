// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// callTimeout bounds one request. A KMS plugin may take seconds.
const callTimeout = 30 * time.Second

// server is the subresource securevalues/rewrap.
type server struct {
	client typed.SecureValuesGetter
}

// rewrap asks the server to seal a value under the key that it seals with now.
func (s *server) rewrap(ctx context.Context, name types.NamespacedName) (v1beta1.SecureValueRewrapStatus, error) {
	return s.post(ctx, name, metav1.CreateOptions{})
}

// probe asks which key the server seals with, and changes nothing. A value that does not open is an answer too.
func (s *server) probe(ctx context.Context, name types.NamespacedName) (v1beta1.SecureValueRewrapStatus, error) {
	status, err := s.post(ctx, name, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if cause, ok := apierrors.StatusCause(err, secret.CauseWriteKey); ok {
		return v1beta1.SecureValueRewrapStatus{WriteKey: secret.ShowKey(cause.Message)}, nil
	}
	return status, err
}

func (s *server) post(ctx context.Context, name types.NamespacedName, options metav1.CreateOptions) (v1beta1.SecureValueRewrapStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.client.SecureValues(name.Namespace).CreateRewrap(ctx, name.Name, &v1beta1.SecureValueRewrap{}, options)
	if err != nil {
		return v1beta1.SecureValueRewrapStatus{}, err
	}
	answer.Status.Key, answer.Status.WriteKey = secret.ShowKey(answer.Status.Key), secret.ShowKey(answer.Status.WriteKey)
	return answer.Status, nil
}
