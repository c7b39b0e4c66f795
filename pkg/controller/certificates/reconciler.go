// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

const (
	// probeInterval is the time between probes of endpoints that do not serve by the new CA yet.
	probeInterval = 30 * time.Second
	// longestSleep limits the effect of a clock that was set back.
	longestSleep = time.Hour
	// mountTime is how long a kubelet takes, at most, to show a Pod a changed Secret.
	mountTime = 2 * time.Minute
)

// Prober checks what is served.
type Prober interface {
	// AllServe returns an error that names an endpoint of the Service without a certificate of ca for serverName.
	AllServe(ctx context.Context, namespace, service, serverName string, ca []byte) error
}

// Reconciler reconciles one authority. Each call takes every step that is possible now.
type Reconciler struct {
	Authority Authority
	Lifetimes Lifetimes
	// Client writes. Reader reads from kube-apiserver without a cache: a step must see the one before.
	Client client.Client
	Reader client.Reader
	Prober Prober
	Events events.EventRecorder
	Clock  clock.PassiveClock
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// objects are read and written by the reconciler. A missing object has no resourceVersion.
type objects struct {
	ca         *corev1.Secret
	leaves     []*corev1.Secret
	apiService *apiregistrationv1.APIService
}

// Reconcile ignores the request: there is one authority.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	ctx = withoutBodies(ctx)
	objs, err := r.load(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Clock.Now()
	s := read(objs.ca, objs.leaves, objs.apiService.Spec.CABundle, now)
	if s, err = r.ensureSigner(objs, s, now); err != nil {
		return reconcile.Result{}, err
	}
	overlap := r.dropOld(ctx, objs, &s, now)
	// The order matters: stored, published, only then used.
	if err := r.saveCA(ctx, objs, s); err != nil {
		return reconcile.Result{}, err
	}
	if s, err = r.publish(ctx, objs, s, now); err != nil {
		return reconcile.Result{}, err
	}
	issued, err := r.issueAll(ctx, objs, s, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.observe(s, now)
	return reconcile.Result{RequeueAfter: r.sleep(s, now, overlap || issued)}, nil
}

// ensureSigner creates a CA when there is none, or when two thirds of its life are over.
func (r *Reconciler) ensureSigner(objs *objects, s state, now time.Time) (state, error) {
	if s.signer.cert != nil && now.Before(renewAt(s.signer.cert)) {
		return s, nil
	}
	if !r.Authority.Rotates && s.signer.cert != nil {
		r.Events.Eventf(objs.ca, nil, corev1.EventTypeWarning, "CAEnds", "Check",
			"the CA expires on %s and is replaced by hand only; see docs/operations.md",
			s.signer.cert.NotAfter.Format(time.DateOnly))
		return s, nil
	}
	if !r.Authority.Rotates && s.anyServes(now) {
		const note = "the CA or its key is missing, and certificates that it signed are in use and cannot be " +
			"renewed: restore the Secret, or replace the CA as described in docs/operations.md"
		r.Events.Eventf(objs.leaves[0], nil, corev1.EventTypeWarning, "CALost", "Check", note)
		return s, fmt.Errorf("secret %s/%s: %s", r.Authority.Namespace, r.Authority.CASecret, note)
	}
	ca, err := newCA(r.Authority.Name, now, r.Authority.caLifetime(r.Lifetimes))
	if err != nil {
		return s, err
	}
	return s.withSigner(ca), nil
}

// dropOld removes CAs that were replaced ahead of time from the bundle once no endpoint serves by them, and reports
// whether they stay for now. A Pod that has mounted an old certificate and is not an endpoint yet has mountTime to see
// the new one.
func (r *Reconciler) dropOld(ctx context.Context, objs *objects, s *state, now time.Time) (overlap bool) {
	if len(s.trusted) == 1 || !s.dropOld || s.waits(now, r.Lifetimes.Propagation) {
		return false
	}
	if r.Authority.Service == "" || !s.settled(now) {
		return true
	}
	want := r.Authority.Certificates[0]
	if err := r.Prober.AllServe(ctx, r.Authority.Namespace, r.Authority.Service, want.DNSNames[0],
		pki.Encode(s.signer.cert)); err != nil {
		log.FromContext(ctx).Info("The old CA stays in the bundle", "reason", err.Error())
		return true
	}
	s.trusted = s.trusted[:1]
	r.Events.Eventf(objs.ca, nil, corev1.EventTypeNormal, "OldCADropped", "Rotate",
		"every endpoint serves by the CA with serial %x", s.signer.cert.SerialNumber)
	return false
}

func (r *Reconciler) saveCA(ctx context.Context, objs *objects, s state) error {
	before := parsePair(objs.ca.Data[corev1.TLSCertKey], objs.ca.Data[corev1.TLSPrivateKeyKey])
	changed, err := s.storeCA(objs.ca)
	if err != nil || !changed {
		return err
	}
	if err := r.save(ctx, objs.ca); err != nil {
		return err
	}
	if before.cert == nil || !before.cert.Equal(s.signer.cert) {
		log.FromContext(ctx).Info("Created a CA", "secret", objs.ca.Name,
			"serial", fmt.Sprintf("%x", s.signer.cert.SerialNumber), "expires", s.signer.cert.NotAfter)
		note := ""
		if len(s.trusted) > 1 {
			note = fmt.Sprintf("; it issues certificates after %s in the published bundle", r.Lifetimes.Propagation)
		}
		r.Events.Eventf(objs.ca, nil, corev1.EventTypeNormal, "CACreated", "Rotate", "serial %x, expires %s%s",
			s.signer.cert.SerialNumber, s.signer.cert.NotAfter.Format(time.RFC3339), note)
	}
	return nil
}

// publish gives the bundle to clients and records when it first contained the signer.
func (r *Reconciler) publish(ctx context.Context, objs *objects, s state, now time.Time) (state, error) {
	if err := r.publishAPIService(ctx, objs.apiService, pki.Encode(s.trusted...)); err != nil {
		return s, err
	}
	if !s.published.IsZero() {
		return s, nil
	}
	s.published = now
	return s, r.saveCA(ctx, objs, s)
}

func (r *Reconciler) publishAPIService(ctx context.Context, apiService *apiregistrationv1.APIService,
	bundle []byte) error {
	if r.Authority.APIService == "" || (bytes.Equal(apiService.Spec.CABundle, bundle) &&
		!apiService.Spec.InsecureSkipTLSVerify) {
		return nil
	}
	before := apiService.DeepCopy()
	apiService.Spec.CABundle, apiService.Spec.InsecureSkipTLSVerify = bundle, false
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, apiService, patch); err != nil {
		return fmt.Errorf("publishing the caBundle of APIService %s: %w", apiService.Name, err)
	}
	log.FromContext(ctx).Info("Published the caBundle", "apiService", apiService.Name, "certificates",
		len(parseBundle(bundle)))
	return nil
}

// issueAll issues certificates that are missing, due, for other names, or signed by an old CA.
func (r *Reconciler) issueAll(ctx context.Context, objs *objects, s state, now time.Time) (issued bool, err error) {
	bundle := pki.Encode(s.trusted...)
	for i, want := range r.Authority.Certificates {
		if !s.current(s.leaves[i], want, now) && s.mayIssue(s.leaves[i], now, r.Lifetimes.Propagation) {
			if s.leaves[i], err = s.signer.issue(want, now, r.Lifetimes.Certificate); err != nil {
				return issued, err
			}
			issued = true
		}
		if err := r.saveLeaf(ctx, objs.leaves[i], s.leaves[i], bundle); err != nil {
			return issued, err
		}
	}
	return issued, nil
}

func (r *Reconciler) saveLeaf(ctx context.Context, secret *corev1.Secret, leaf pair, bundle []byte) error {
	before := parsePair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	changed, err := storePair(secret, leaf, bundle)
	if err != nil || !changed {
		return err
	}
	if err := r.save(ctx, secret); err != nil {
		return err
	}
	if before.cert == nil || !before.cert.Equal(leaf.cert) {
		log.FromContext(ctx).Info("Issued a certificate", "secret", secret.Name,
			"serial", fmt.Sprintf("%x", leaf.cert.SerialNumber), "expires", leaf.cert.NotAfter)
		r.Events.Eventf(secret, nil, corev1.EventTypeNormal, "CertificateIssued", "Issue", "serial %x, expires %s",
			leaf.cert.SerialNumber, leaf.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// sleep returns the time until the next step is due.
func (r *Reconciler) sleep(s state, now time.Time, soon bool) time.Duration {
	next := now.Add(longestSleep)
	due := []time.Time{renewAt(s.signer.cert)}
	for _, old := range s.trusted[1:] {
		due = append(due, old.NotAfter)
	}
	end := s.published.Add(r.Lifetimes.Propagation)
	for _, leaf := range s.leaves {
		if now.Before(end) {
			due = append(due, end, leaf.cert.NotAfter) // neither a renewal nor the new CA comes earlier
		} else {
			due = append(due, renewAt(leaf.cert))
		}
	}
	if soon {
		due = append(due, now.Add(probeInterval))
	}
	for _, t := range due {
		if t.Before(next) {
			next = t
		}
	}
	return max(next.Sub(now), time.Second)
}
