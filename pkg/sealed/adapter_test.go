// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// podAnnotation carries what a Pod has and a SecureValue has not.
const podAnnotation = "suite/pod"

type podBody struct {
	Spec   example.PodSpec
	Status example.PodStatus
}

// toSecureValue turns a Pod of upstream's suite into a SecureValue without a value.
func toSecureValue(pod *example.Pod) *secret.SecureValue {
	body, err := json.Marshal(podBody{Spec: pod.Spec, Status: pod.Status})
	if err != nil {
		panic(err)
	}
	sv := &secret.SecureValue{ObjectMeta: *pod.ObjectMeta.DeepCopy()}
	if sv.Annotations == nil {
		sv.Annotations = map[string]string{}
	}
	sv.Annotations[podAnnotation] = string(body)
	sv.Spec.Description = "a pod"
	return sv
}

// toPod turns it back. It panics on a ciphertext or value, which must not come this far up.
func toPod(sv *secret.SecureValue) *example.Pod {
	if sv.Sealed != nil || sv.Spec.Value != nil {
		panic("a ciphertext or a value above the store")
	}
	return podOf(sv)
}

func podOf(sv *secret.SecureValue) *example.Pod {
	pod := &example.Pod{ObjectMeta: *sv.ObjectMeta.DeepCopy()}
	raw, ok := pod.Annotations[podAnnotation]
	if !ok {
		return pod
	}
	var body podBody
	if err := json.Unmarshal([]byte(raw), &body); err != nil {
		panic(err)
	}
	pod.Spec, pod.Status = body.Spec, body.Status
	if delete(pod.Annotations, podAnnotation); len(pod.Annotations) == 0 {
		pod.Annotations = nil
	}
	return pod
}

// podAdapter lets upstream's suite, which knows Pods only, work on a storage of SecureValue. The test that uses it
// sees what the storage below answers: errors, revisions and events pass as they are.
type podAdapter struct {
	storage.Interface
	lower   *swappable
	changes atomic.Int64
}

// UpdatePrefixTransformer implements storagetesting.InterfaceWithPrefixTransformer.
func (a *podAdapter) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	return a.lower.swap(modify(storagetesting.NewPrefixTransformer([]byte(suitePrefix), false)))
}

func (a *podAdapter) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	sv, result := toSecureValue(obj.(*example.Pod)), &secret.SecureValue{}
	sv.Spec.Value = sensitive.New(canary)
	if err := a.Interface.Create(ctx, key, sv, result, ttl); err != nil {
		return err
	}
	if out != nil {
		*out.(*example.Pod) = *toPod(result)
	}
	return nil
}

func (a *podAdapter) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	result := &secret.SecureValue{}
	if err := a.Interface.Get(ctx, key, opts, result); err != nil {
		return err
	}
	*out.(*example.Pod) = *toPod(result)
	return nil
}

func (a *podAdapter) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	opts.Predicate = adaptPredicate(opts.Predicate)
	list := &secret.SecureValueList{}
	err := a.Interface.GetList(ctx, key, opts, list)
	pods := out.(*example.PodList)
	pods.ListMeta = list.ListMeta
	if list.Items != nil {
		pods.Items = make([]example.Pod, len(list.Items))
	}
	for i := range list.Items {
		pods.Items[i] = *toPod(&list.Items[i])
	}
	return err
}

func (a *podAdapter) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions,
) error {
	result := &secret.SecureValue{}
	validateSealed := func(ctx context.Context, obj runtime.Object) error {
		if obj == nil { // a record that cannot be decoded
			return validate(ctx, nil)
		}
		return validate(ctx, toPod(obj.(*secret.SecureValue)))
	}
	if err := a.Interface.Delete(ctx, key, result, preconditions, validateSealed, suggestion(cached),
		opts); err != nil {
		return err
	}
	*out.(*example.Pod) = *toPod(result)
	return nil
}

// GuaranteedUpdate seals a new value when it creates and with every second change; the other changes carry the value.
func (a *podAdapter) GuaranteedUpdate(
	ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object,
) error {
	result := &secret.SecureValue{}
	updateSealed := func(in runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		existing := in.(*secret.SecureValue)
		before := toPod(existing)
		after, ttl, err := update(before.DeepCopy(), meta)
		if err != nil {
			return nil, nil, err
		}
		sv := toSecureValue(after.(*example.Pod))
		sv.SelfLink, sv.ResourceVersion = "", existing.ResourceVersion //nolint:staticcheck // neither is stored
		changed := !reflect.DeepEqual(toSecureValue(before), sv)
		if existing.ResourceVersion == "" || changed && a.changes.Add(1)%2 == 0 {
			sv.Spec.Value = sensitive.New(canary)
		}
		return sv, ttl, nil
	}
	if err := a.Interface.GuaranteedUpdate(ctx, key, result, ignoreNotFound, preconditions, updateSealed,
		suggestion(cached)); err != nil {
		return err
	}
	*out.(*example.Pod) = *toPod(result)
	return nil
}

func suggestion(cached runtime.Object) runtime.Object {
	if cached == nil {
		return nil
	}
	return toSecureValue(cached.(*example.Pod))
}

func (a *podAdapter) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	opts.Predicate = adaptPredicate(opts.Predicate)
	w, err := a.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(event watch.Event) (watch.Event, bool) {
		obj := event.Object
		if cached, ok := obj.(runtime.CacheableObject); ok {
			obj = cached.GetObject()
		}
		if sv, ok := obj.(*secret.SecureValue); ok {
			event.Object = toPod(sv)
		}
		return event, true
	}), nil
}

// adaptPredicate lets a predicate about Pods read the Pod in a SecureValue. The etcd3 store evaluates it below the
// sealing store, on an object that still has its ciphertext.
func adaptPredicate(p storage.SelectionPredicate) storage.SelectionPredicate {
	if attrs := p.GetAttrs; attrs != nil {
		p.GetAttrs = func(obj runtime.Object) (labels.Set, fields.Set, error) {
			return attrs(podOf(obj.(*secret.SecureValue)))
		}
	}
	return p
}

// podAttrs are the attributes that the watch cache keeps of each object, those of upstream's own test.
func podAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	sv, ok := obj.(*secret.SecureValue)
	if !ok {
		return nil, nil, fmt.Errorf("no SecureValue but %T", obj)
	}
	pod := toPod(sv)
	return pod.Labels, fields.Set{
		"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "spec.nodeName": pod.Spec.NodeName,
		"spec.restartPolicy": string(pod.Spec.RestartPolicy), "status.phase": string(pod.Status.Phase),
	}, nil
}

// swappable is the etcd3 store's own transformer, below the frames. The server has identity there; the suite swaps it
// to let reads fail.
type swappable struct {
	current atomic.Pointer[value.Transformer]
	reads   atomic.Uint64
}

func newSwappable(initial value.Transformer) *swappable {
	s := &swappable{}
	s.current.Store(&initial)
	return s
}

func (s *swappable) swap(next value.Transformer) func() {
	before := s.current.Swap(&next)
	return func() { s.current.Store(before) }
}

func (s *swappable) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool,
	error) {
	s.reads.Add(1)
	return (*s.current.Load()).TransformFromStorage(ctx, data, dataCtx)
}

func (s *swappable) TransformToStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, error) {
	return (*s.current.Load()).TransformToStorage(ctx, data, dataCtx)
}
