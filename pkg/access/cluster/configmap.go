// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

const (
	namespace = metav1.NamespaceSystem
	configMap = "extension-apiserver-authentication"
)

// lookupEvery is how often the first lookup is repeated.
const lookupEvery = time.Second

// source holds the current trust and watches the ConfigMap.
type source struct {
	client  kubernetes.Interface
	current atomic.Pointer[trust]
	fault   atomic.Pointer[error] // why the last data is invalid

	mu        sync.Mutex
	applied   map[string]string // the data of current, or the invalid data that was last reported
	listeners []dynamiccertificates.Listener
}

// lookup reads the ConfigMap for the first time and rejects one that allows no front proxy. It retries until it has an
// answer or ctx ends.
func (s *source) lookup(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, lookupEvery, true, func(ctx context.Context) (bool, error) {
		object, err := s.client.CoreV1().ConfigMaps(namespace).Get(ctx, configMap, metav1.GetOptions{})
		if err != nil {
			if last == nil || last.Error() != err.Error() {
				klog.InfoS("Cannot read the ConfigMap yet", "configMap", klog.KRef(namespace, configMap), "err", err)
			}
			last = err
			return false, nil
		}
		return true, s.first(object.Data)
	})
	if errors.Is(ctx.Err(), context.Canceled) { // the server stops
		return ctx.Err()
	}
	if last != nil && ctx.Err() != nil {
		return fmt.Errorf("reading ConfigMap %s/%s: %w%s", namespace, configMap, last, hint(last))
	}
	return err
}

func hint(err error) string {
	if apierrors.IsForbidden(err) {
		return "; bind the Role extension-apiserver-authentication-reader in kube-system to this server"
	}
	return "; check --kubeconfig and --authentication-kubeconfig"
}

func (s *source) first(data map[string]string) error {
	t, err := parse(data)
	if err == nil {
		err = t.proxyFault
	}
	if err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %w", namespace, configMap, err)
	}
	s.applied = maps.Clone(data)
	s.current.Store(t)
	return nil
}

// run watches the ConfigMap until ctx ends. A deletion changes nothing: kube-apiserver creates it again.
func (s *source) run(ctx context.Context) {
	one := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, configMap).String()
	}
	informer := coreinformers.NewFilteredConfigMapInformer(s.client, namespace, 0, cache.Indexers{}, one)
	changed := func(obj any) {
		if object, ok := obj.(*corev1.ConfigMap); ok && object.Namespace == namespace && object.Name == configMap {
			s.apply(object.Data)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, obj any) { changed(obj) },
	}); err != nil {
		klog.ErrorS(err, "Cannot watch the ConfigMap", "configMap", klog.KRef(namespace, configMap))
		return
	}
	informer.RunWithContext(ctx)
}

// apply puts new data in force. Invalid data changes nothing; data that allows no front proxy takes effect immediately.
func (s *source) apply(data map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if maps.Equal(data, s.applied) {
		return
	}
	s.applied = maps.Clone(data)
	t, err := parse(data)
	if err != nil {
		s.fault.Store(&err)
		reload.Record(configMap, err)
		klog.ErrorS(err, "ConfigMap is invalid, its last good content stays in force", "configMap",
			klog.KRef(namespace, configMap))
		return
	}
	s.fault.Store(nil)
	s.current.Store(t)
	for _, listener := range s.listeners {
		listener.Enqueue()
	}
	reload.Record(configMap, t.proxyFault)
	if t.proxyFault != nil {
		klog.ErrorS(t.proxyFault, "Front-proxy headers are no longer accepted", "configMap",
			klog.KRef(namespace, configMap))
		return
	}
	klog.InfoS("ConfigMap reloaded", "configMap", klog.KRef(namespace, configMap))
}

func (s *source) addListener(listener dynamiccertificates.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, listener)
}

// errNoTrust is a bug: the first lookup fails or stores a trust.
var errNoTrust = errors.New("the ConfigMap was not read")

func (s *source) load() *trust {
	if t := s.current.Load(); t != nil {
		return t
	}
	return &trust{proxyFault: errNoTrust}
}
