// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	secretv1beta1 "github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	applyv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/applyconfiguration/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// clientset returns the generated client. Without a token it is the admin's, without a content type it speaks JSON.
func (s *suite) clientset(t *testing.T, token, contentType string) versioned.Interface {
	t.Helper()
	config := s.RESTConfig(t, token)
	config.ContentType, config.AcceptContentTypes = contentType, contentType
	clients, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

func (s *suite) typed(t *testing.T, token, contentType string) typedv1beta1.SecretV1beta1Interface {
	t.Helper()
	return s.clientset(t, token, contentType).SecretV1beta1()
}

// program is a generated client in one namespace.
type program struct {
	typedv1beta1.SecureValueInterface
	t     *testing.T
	suite *suite
}

func testTyped(t *testing.T, s *suite) {
	t.Helper()
	for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		for _, test := range []struct {
			name string
			run  func(context.Context, *program)
		}{
			{"life", testLife},
			{"watch", testTypedWatch},
			{"patch", testTypedPatch},
			{"apply", testTypedApply},
			{"retry", testRetry},
			{"collection", testCollection},
			{"errors", testTypedErrors},
		} {
			t.Run(contentType+"/"+test.name, func(t *testing.T) {
				namespace := s.person(t).namespace
				test.run(t.Context(), &program{s.typed(t, "", contentType).SecureValues(namespace), t, s})
			})
		}
	}
	t.Run("formatting", func(t *testing.T) {
		object := newObject(s, "x")
		s.clean(t, "a formatted request", fmt.Sprintf("%v %+v %#v %s", object, object, object.Spec, object))
	})
}

// got checks an object that came back.
func (p *program) got(sv *secretv1beta1.SecureValue, err error) *secretv1beta1.SecureValue {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	if sv.Spec.Value != nil {
		p.t.Errorf("%s came back with a value", sv.Name)
	}
	p.suite.clean(p.t, "an object that came back", fmt.Sprintf("%+v", sv))
	return sv
}

func (p *program) version(sv *secretv1beta1.SecureValue, want int64) {
	p.t.Helper()
	if sv.Status.Version != want {
		p.t.Errorf("status.version: got %d, want %d", sv.Status.Version, want)
	}
}

func testLife(ctx context.Context, p *program) {
	request := newObject(p.suite, "x")
	sent := request.Spec.Value.Expose()
	made := p.got(p.Create(ctx, request, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}))
	p.version(made, 1)
	if made.UID == "" || made.Generation != 1 || made.Status.Keeper != "system" || made.Status.Key == "" {
		p.t.Errorf("created: %+v", made)
	}
	if request.Spec.Value.Expose() != sent {
		p.t.Error("the client changed the request")
	}
	read := p.got(p.Get(ctx, "x", metav1.GetOptions{}))
	if read.Spec.Description != "a test" || !slices.Equal(read.Spec.Decrypters, []string{"k6-cloud"}) {
		p.t.Errorf("read: %+v", read.Spec)
	}
	read.Spec.Description = "changed"
	kept := p.got(p.Update(ctx, read, metav1.UpdateOptions{}))
	p.version(kept, 1)
	kept.Spec.Value = sensitive.New(p.suite.secret())
	p.version(p.got(p.Update(ctx, kept, metav1.UpdateOptions{})), 2)
	list, err := p.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		p.t.Fatalf("list: %v (%v)", list, err)
	}
	p.version(p.got(&list.Items[0], nil), 2)
	if err := p.Delete(ctx, "x",
		metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(made.UID))}); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.Get(ctx, "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		p.t.Errorf("get after delete: %v", err)
	}
}

func testTypedWatch(ctx context.Context, p *program) {
	list, err := p.List(ctx, metav1.ListOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	w, err := p.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		p.t.Fatal(err)
	}
	defer w.Stop()
	made := p.got(p.Create(ctx, newObject(p.suite, "x"), metav1.CreateOptions{}))
	made.Spec.Value = sensitive.New(p.suite.secret())
	p.got(p.Update(ctx, made, metav1.UpdateOptions{}))
	if err := p.Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		p.t.Fatal(err)
	}
	for i, want := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		event := next(p.t, w.ResultChan())
		sv, ok := event.Object.(*secretv1beta1.SecureValue)
		if !ok || event.Type != want {
			p.t.Fatalf("event %d: got %s %T, want %s", i, event.Type, event.Object, want)
		}
		p.version(p.got(sv, nil), []int64{1, 2, 2}[i])
	}
}

func testTypedPatch(ctx context.Context, p *program) {
	p.got(p.Create(ctx, newObject(p.suite, "x"), metav1.CreateOptions{}))
	for i, kind := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
		kept := p.got(p.Patch(ctx, "x", kind, []byte(`{"metadata":{"labels":{"kind":"`+fmt.Sprint(i)+`"}}}`),
			metav1.PatchOptions{}))
		p.version(kept, int64(i+1))
		p.version(p.got(p.Patch(ctx, "x", kind, []byte(`{"spec":{"value":"`+p.suite.secret()+`"}}`),
			metav1.PatchOptions{})), int64(i+2))
	}
	patch := `[{"op":"add","path":"/spec/value","value":"` + p.suite.secret() + `"}]`
	p.version(p.got(p.Patch(ctx, "x", types.JSONPatchType, []byte(patch), metav1.PatchOptions{})), 4)
}

func testTypedApply(ctx context.Context, p *program) {
	options := metav1.ApplyOptions{FieldManager: "program"}
	wanted := applyv1beta1.SecureValue("x", "").WithSpec(applyv1beta1.SecureValueSpec().
		WithDescription("applied").WithValue(*sensitive.New(p.suite.secret())).WithDecrypters("k6-cloud"))
	p.suite.clean(p.t, "a formatted apply configuration", fmt.Sprintf("%+v", wanted.Spec.Value))
	p.version(p.got(p.Apply(ctx, wanted, options)), 1)
	wanted.Spec.WithValue(*sensitive.New(p.suite.secret()))
	p.version(p.got(p.Apply(ctx, wanted, options)), 2)
	kept := applyv1beta1.SecureValue("x", "").WithSpec(applyv1beta1.SecureValueSpec().WithDescription("kept"))
	sv := p.got(p.Apply(ctx, kept, options))
	p.version(sv, 2)
	if sv.Spec.Description != "kept" || len(sv.Spec.Decrypters) != 0 {
		p.t.Errorf("applied: %+v", sv.Spec)
	}

	mine, err := applyv1beta1.ExtractSecureValue(sv, "program")
	if err != nil || mine.Spec == nil || mine.Spec.Description == nil || *mine.Spec.Description != "kept" ||
		mine.Spec.Value != nil {
		p.t.Fatalf("extracted: %+v, %v", mine, err)
	}
	again := p.got(p.Apply(ctx, mine, options))
	if again.ResourceVersion != sv.ResourceVersion {
		p.t.Error("applying what was extracted is a write")
	}
}

// testRetry changes a description the way every controller does, with another writer in between.
func testRetry(ctx context.Context, p *program) {
	p.got(p.Create(ctx, newObject(p.suite, "x"), metav1.CreateOptions{}))
	attempts := 0
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		attempts++
		sv, err := p.Get(ctx, "x", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if attempts == 1 {
			p.got(p.Patch(ctx, "x", types.MergePatchType, []byte(`{"metadata":{"labels":{"other":"writer"}}}`),
				metav1.PatchOptions{}))
		}
		sv.Spec.Description = "second attempt"
		_, err = p.Update(ctx, sv, metav1.UpdateOptions{})
		return err
	})
	sv := p.got(p.Get(ctx, "x", metav1.GetOptions{}))
	if err != nil || attempts != 2 || sv.Spec.Description != "second attempt" || sv.Labels["other"] != "writer" {
		p.t.Errorf("after %d attempts: %v, %+v", attempts, err, sv)
	}
	p.version(sv, 1)
}

func testCollection(ctx context.Context, p *program) {
	for i := range 3 {
		object := newObject(p.suite, fmt.Sprintf("x%d", i))
		object.Labels = map[string]string{"even": fmt.Sprint(i%2 == 0)}
		p.got(p.Create(ctx, object, metav1.CreateOptions{}))
	}
	if err := p.DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: "even=true"}); err != nil {
		p.t.Fatal(err)
	}
	list, err := p.List(ctx, metav1.ListOptions{FieldSelector: "spec.decrypter=k6-cloud"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "x1" {
		p.t.Errorf("left: %v (%v)", list, err)
	}
}

func testTypedErrors(ctx context.Context, p *program) {
	invalid := newObject(p.suite, "x")
	invalid.Spec.Description = "a description of more than 25 characters"
	_, err := p.Create(ctx, invalid, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		p.t.Errorf("invalid: %v", err)
	}
	p.suite.clean(p.t, "an error", fmt.Sprintf("%+v", err))
	p.got(p.Create(ctx, newObject(p.suite, "x"), metav1.CreateOptions{}))
	if _, err = p.Create(ctx, newObject(p.suite, "x"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		p.t.Errorf("created twice: %v", err)
	}
	if _, err = p.Update(ctx, newObject(p.suite, "absent"), metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		p.t.Errorf("update of nothing: %v", err)
	}
	stale := newObject(p.suite, "x")
	stale.ResourceVersion = "1"
	if _, err = p.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		p.t.Errorf("stale update: %v", err)
	}
}
