// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// load reads every object of the authority. A missing Secret is empty; the APIService must exist. The CA Secret is read
// last: a deposed leader that was paused after it would publish the old bundle (models/certificates.pml).
func (r *Reconciler) load(ctx context.Context) (*objects, error) {
	var objs objects
	for _, c := range r.Authority.Certificates {
		leaf, err := r.loadSecret(ctx, c.Secret)
		if err != nil {
			return nil, err
		}
		objs.leaves = append(objs.leaves, leaf)
	}
	objs.apiService = &apiregistrationv1.APIService{}
	if name := r.Authority.APIService; name != "" {
		if err := r.Reader.Get(ctx, client.ObjectKey{Name: name}, objs.apiService); err != nil {
			return nil, fmt.Errorf("reading APIService %s: %w", name, err)
		}
	}
	var err error
	objs.ca, err = r.loadSecret(ctx, r.Authority.CASecret)
	return &objs, err
}

func (r *Reconciler) loadSecret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: r.Authority.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: r.Authority.Namespace, Name: name,
				Labels: map[string]string{managedByLabel: managedBy},
			},
			Type: corev1.SecretTypeTLS,
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading secret %s/%s: %w", r.Authority.Namespace, name, err)
	}
	if secret.Type != corev1.SecretTypeTLS {
		return nil, fmt.Errorf("secret %s/%s is not of type kubernetes.io/tls; delete it to have it created again",
			r.Authority.Namespace, name)
	}
	return secret, nil
}

// save creates a Secret, or updates it if it was not changed since it was read.
func (r *Reconciler) save(ctx context.Context, secret *corev1.Secret) error {
	var err error
	if secret.ResourceVersion == "" {
		err = r.Client.Create(ctx, secret)
	} else {
		err = r.Client.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("writing secret %s/%s: %w", secret.Namespace, secret.Name, scrub(err))
	}
	return nil
}

// scrub keeps the reason of an error and drops its text: admission may quote the object, which contains a key.
func scrub(err error) error {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return errors.New(string(reason))
	}
	return errors.New("no answer from kube-apiserver")
}

// bodyLevel is the verbosity at which client-go logs whole requests and responses, including private keys.
const bodyLevel = 8

// withoutBodies returns a context whose requests do not log their bodies, at any verbosity.
func withoutBodies(ctx context.Context) context.Context {
	logger := klog.FromContext(ctx)
	if logger.GetSink() == nil {
		return ctx // logs nothing
	}
	return klog.NewContext(ctx, logger.WithSink(quietSink{logger.GetSink()}))
}

// quietSink drops what is as verbose as bodies.
type quietSink struct{ logr.LogSink }

// Enabled implements logr.LogSink.
func (s quietSink) Enabled(level int) bool { return level < bodyLevel && s.LogSink.Enabled(level) }

// WithValues implements logr.LogSink.
func (s quietSink) WithValues(keysAndValues ...any) logr.LogSink {
	return quietSink{s.LogSink.WithValues(keysAndValues...)}
}

// WithName implements logr.LogSink.
func (s quietSink) WithName(name string) logr.LogSink { return quietSink{s.LogSink.WithName(name)} }
