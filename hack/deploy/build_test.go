// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// builds are the combinations that are tested, by the folder that kustomize builds.
var builds = map[string]string{
	"development":  "../../deploy/overlays/development",
	"production":   "../../deploy/overlays/production",
	"cert-manager": "testdata/cert-manager",
	"kms-plugin":   "testdata/kms-plugin",
	"insecure":     "testdata/insecure",
	"decrypter":    "testdata/own-decrypter",
	"priority":     "testdata/priority",
	"openshift":    "testdata/openshift",
}

// object is what kube-apiserver is sent.
type object interface {
	metav1.Object
	runtime.Object
}

func id(o object) string {
	return fmt.Sprintf("%s %s/%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
}

// build builds a folder as `kubectl kustomize` does and decodes what comes out, strictly: an unknown or repeated field
// is an error.
func build(t *testing.T, folder string) []object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("building %s: %v", folder, err)
	}
	decoder := serializer.NewCodecFactory(scheme(t), serializer.EnableStrict).UniversalDeserializer()
	var objects []object
	for _, resource := range resources.Resources() {
		data, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		decoded, _, err := decoder.Decode(data, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", resource.CurId(), err)
		}
		objects = append(objects, decoded.(object))
	}
	if len(objects) == 0 {
		t.Fatalf("%s builds nothing", folder)
	}
	return objects
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiregistrationv1.AddToScheme, certmanagerv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// each runs a test for every combination.
func each(t *testing.T, test func(t *testing.T, objects []object)) {
	for name, folder := range builds {
		t.Run(name, func(t *testing.T) { test(t, build(t, folder)) })
	}
}

// all returns the objects of one type.
func all[T object](objects []object) []T {
	var found []T
	for _, o := range objects {
		if typed, ok := o.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// get returns the object of a type and name.
func get[T object](t *testing.T, objects []object, name string) T {
	t.Helper()
	for _, o := range all[T](objects) {
		if o.GetName() == name {
			return o
		}
	}
	t.Fatalf("no %T named %s", *new(T), name)
	return *new(T)
}

// pod is what a workload starts.
type pod struct {
	owner object
	meta  metav1.ObjectMeta
	spec  corev1.PodSpec
	// long says that it runs until it is stopped.
	long bool
}

func pods(objects []object) []pod {
	var found []pod
	for _, d := range all[*appsv1.Deployment](objects) {
		found = append(found, pod{d, d.Spec.Template.ObjectMeta, d.Spec.Template.Spec, true})
	}
	for _, s := range all[*appsv1.StatefulSet](objects) {
		found = append(found, pod{s, s.Spec.Template.ObjectMeta, s.Spec.Template.Spec, true})
	}
	for _, c := range all[*batchv1.CronJob](objects) {
		template := c.Spec.JobTemplate.Spec.Template
		found = append(found, pod{c, template.ObjectMeta, template.Spec, false})
	}
	return found
}

// containers are all of a Pod, in the order in which they start.
func (p pod) containers() []corev1.Container {
	return append(append([]corev1.Container(nil), p.spec.InitContainers...), p.spec.Containers...)
}

func (p pod) container(t *testing.T, name string) corev1.Container {
	t.Helper()
	for _, c := range p.containers() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("%s has no container %s", id(p.owner), name)
	return corev1.Container{}
}

func getPod(t *testing.T, objects []object, owner string) pod {
	t.Helper()
	for _, p := range pods(objects) {
		if p.owner.GetName() == owner {
			return p
		}
	}
	t.Fatalf("nothing starts Pods named %s", owner)
	return pod{}
}
