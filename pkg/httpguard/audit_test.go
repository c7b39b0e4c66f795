// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

const (
	objectPath = "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues/one"
)

// recorder is a backend that keeps what it gets.
type recorder struct {
	events   []*auditinternal.Event
	accept   bool
	ran      <-chan struct{}
	shutdown bool
}

var errRun = errors.New("run")

func (r *recorder) ProcessEvents(events ...*auditinternal.Event) bool {
	r.events = append(r.events, events...)
	return r.accept
}
func (r *recorder) Run(stopCh <-chan struct{}) error { r.ran = stopCh; return errRun }
func (r *recorder) Shutdown()                        { r.shutdown = true }
func (r *recorder) String() string                   { return "recorder" }

// process sends events through a redacting backend.
func process(events ...*auditinternal.Event) []*auditinternal.Event {
	sink := &recorder{accept: true}
	NewBackend(sink).ProcessEvents(events...)
	return sink.events
}

// keptLeaves are the leaves of an event that no body reaches: who, what, when, from where. They have no canary in them.
// A leaf that a later version of the library adds is not listed and so must come out clean, or this list must say why.
var keptLeaves = map[string]bool{
	"TypeMeta": true, "Level": true, "AuditID": true, "Stage": true, "Verb": true, "User": true,
	"ImpersonatedUser":       true,
	"AuthenticationMetadata": true, "SourceIPs": true, "UserAgent": true, "ObjectRef": true,
	"RequestReceivedTimestamp": true,
	"StageTimestamp":           true, "ResponseStatus.TypeMeta": true, "ResponseStatus.Status": true,
	"ResponseStatus.Reason":       true,
	"ResponseStatus.Details.Name": true, "ResponseStatus.Details.Group": true, "ResponseStatus.Details.Kind": true,
	"ResponseStatus.Details.UID": true, "ResponseStatus.Details.Causes.Type": true,
	"ResponseStatus.Details.Causes.Field": true,
	"ResponseStatus.ListMeta":             true,
}

// fill puts the canary into every string and byte slice below v that is not listed as kept.
func fill(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if keptLeaves[path] {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if path != "" {
				name = path + "." + name
			}
			fill(t, name, v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(`{"value":"` + canary + `"}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, path, v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		key.SetString("patch.webhook.admission.k8s.io/round_0_index_0")
		fill(t, path, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(canary)
	case reflect.Int32, reflect.Int64:
	default:
		t.Fatalf("%s: no rule to fill a %s", path, v.Kind())
	}
}

// filled is an event with the canary wherever request material can be.
func filled(t *testing.T) *auditinternal.Event {
	t.Helper()
	ev := &auditinternal.Event{}
	fill(t, "", reflect.ValueOf(ev).Elem())
	ev.Level = auditinternal.LevelRequestResponse
	ev.RequestObject.ContentType, ev.ResponseObject.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	ev.RequestURI = objectPath + "?fieldSelector=spec.value%3D" + canary + "&value=" + canary
	ev.ResponseStatus.Code = http.StatusUnprocessableEntity
	ev.ResponseStatus.Status = metav1.StatusFailure
	ev.ResponseStatus.Reason = metav1.StatusReasonInvalid
	ev.ResponseStatus.Details.Causes[0].Field = "spec.value"
	ev.ObjectRef = &auditinternal.ObjectReference{APIGroup: secret.GroupName, Resource: "securevalues", Name: "one"}
	ev.User = authenticationv1.UserInfo{Username: "jane"}
	return ev
}

// marshal is the event as the log backend writes it.
func marshal(t *testing.T, ev *auditinternal.Event) []byte {
	t.Helper()
	var out auditv1.Event
	if err := auditv1.Convert_audit_Event_To_v1_Event(ev, &out, nil); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(&out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestIncident01AuditHasNoLeafThatLeaks(t *testing.T) {
	uris := map[string]string{
		"by reference":      "",
		"rejected early":    objectPath + "?" + canary,
		"odd path":          "//apis/Secret.grafana.app/x?value=" + canary,
		"encoded path":      "/apis/secret%2Egrafana.app/x?value=" + canary,
		"unparsable":        "/%zz?value=" + canary,
		"decrypt":           "/decrypt/v1/namespaces/a/secrets/b/decrypt?value=" + canary,
		"decrypt over gRPC": "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues?" + canary,
	}
	for name, uri := range uris {
		for _, code := range []int32{0, 400, 418, 422, 500, 501} {
			ev := filled(t)
			ev.ResponseStatus.Code = code
			if uri != "" {
				ev.RequestURI, ev.ObjectRef = uri, nil
			}
			if !bytes.Contains(marshal(t, ev), []byte(canary)) {
				t.Fatalf("%s: no canary to find", name)
			}
			before := ev.DeepCopy()
			got := process(ev)
			if len(got) != 1 {
				t.Fatalf("%s: %d events", name, len(got))
			}
			if out := marshal(t, got[0]); bytes.Contains(out, []byte(canary)) {
				t.Errorf("%s, %d: the canary survived: %s", name, code, out)
			}
			if diff := cmp.Diff(before, ev); diff != "" {
				t.Errorf("%s: the caller's event changed: %s", name, diff)
			}
		}
	}
}

func TestWhatStays(t *testing.T) {
	ev := filled(t)
	ev.Annotations = map[string]string{
		"authorization.k8s.io/decision":                  "allow",
		"secret.grafana.app/decrypter":                   "k6",
		"validation.policy.admission.k8s.io/failure":     canary,
		"patch.webhook.admission.k8s.io/round_0_index_0": canary,
	}
	got := process(ev)[0]
	want := ev.DeepCopy()
	want.RequestObject, want.ResponseObject = nil, nil
	want.RequestURI = objectPath + "?fieldSelector=spec.value%3DREDACTED&REDACTED"
	want.ResponseStatus.Message = "see the response"
	want.ResponseStatus.Details.Causes[0].Message = ""
	want.Annotations["validation.policy.admission.k8s.io/failure"] = "[redacted]"
	want.Annotations["patch.webhook.admission.k8s.io/round_0_index_0"] = "[redacted]"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+): %s", diff)
	}
}

func TestPlainTextsStay(t *testing.T) {
	for code, status := range map[int32]string{
		200: metav1.StatusSuccess, 201: "", 401: metav1.StatusFailure, 403: metav1.StatusFailure,
		404: metav1.StatusFailure,
		405: metav1.StatusFailure, 409: metav1.StatusFailure, 410: metav1.StatusFailure, 413: metav1.StatusFailure,
		415: metav1.StatusFailure, 429: metav1.StatusFailure, 503: metav1.StatusFailure, 504: metav1.StatusFailure,
	} {
		ev := filled(t)
		ev.ResponseStatus.Code, ev.ResponseStatus.Status, ev.ResponseStatus.Message = code, status, "text"
		if got := process(ev)[0].ResponseStatus; got != ev.ResponseStatus {
			t.Errorf("%d: the status was changed: %+v", code, got)
		}
	}
}

// TestReferenceFromABody keeps a uid and a resourceVersion that a server made, and drops what a client wrote there.
func TestReferenceFromABody(t *testing.T) {
	for _, test := range []struct{ uid, version, wantUID, wantVersion string }{
		{"f1e2d3c4-b5a6-7890-abcd-ef1234567890", "12", "f1e2d3c4-b5a6-7890-abcd-ef1234567890", "12"},
		{canary, canary, "", ""}, {"", "", "", ""},
	} {
		ev := filled(t)
		ev.ObjectRef.UID, ev.ObjectRef.ResourceVersion = types.UID(test.uid), test.version
		got := process(ev)[0].ObjectRef
		if string(got.UID) != test.wantUID || got.ResourceVersion != test.wantVersion || got.Name != "one" ||
			ev.ObjectRef.ResourceVersion != test.version {
			t.Errorf("%+v gives %+v", test, got)
		}
	}
}

func TestSparseEvents(t *testing.T) {
	for name, ev := range map[string]*auditinternal.Event{
		"only a reference": {ObjectRef: &auditinternal.ObjectReference{APIGroup: secret.GroupName}},
		"no details":       {RequestURI: objectPath, ResponseStatus: &metav1.Status{Code: 500}},
	} {
		if diff := cmp.Diff([]*auditinternal.Event{ev.DeepCopy()}, process(ev)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOthersPassAsTheyAre(t *testing.T) {
	object := &runtime.Unknown{Raw: []byte("{}")}
	status := &metav1.Status{Code: 400, Message: "text"}
	other := []*auditinternal.Event{
		{RequestURI: "/apis/apps/v1/deployments?fieldSelector=a%3Db",
			ObjectRef: &auditinternal.ObjectReference{APIGroup: "apps"}, RequestObject: object, ResponseStatus: status},
		{RequestURI: "/api/v1/namespaces/decrypt", ResponseObject: object},
		{RequestURI: "/livez"},
		{},
		nil,
	}
	for i, got := range process(other...) {
		if got != other[i] {
			t.Errorf("event %d is not the one that was sent", i)
		}
	}
	mixed := []*auditinternal.Event{other[0], filled(t), other[2]}
	held := append([]*auditinternal.Event(nil), mixed...)
	got := process(mixed...)
	if len(got) != 3 || got[0] != held[0] || got[1] == held[1] || got[2] != held[2] {
		t.Errorf("want the second event replaced and the others passed, got %v", got)
	}
	if mixed[1] != held[1] {
		t.Error("the caller's slice changed")
	}
}

func TestDelegation(t *testing.T) {
	if NewBackend(nil) != nil {
		t.Error("no backend became one")
	}
	sink := &recorder{}
	b := NewBackend(sink)
	stop := make(chan struct{})
	if err := b.Run(stop); !errors.Is(err, errRun) || sink.ran != stop {
		t.Errorf("Run was not passed on: %v", err)
	}
	if b.ProcessEvents(filled(t)) {
		t.Error("a failure of the sink was hidden")
	}
	sink.accept = true
	if !b.ProcessEvents() {
		t.Error("a success of the sink was hidden")
	}
	if b.Shutdown(); !sink.shutdown {
		t.Error("Shutdown was not passed on")
	}
	if got := b.String(); got != "redact<recorder>" {
		t.Errorf("got name %q", got)
	}
}

// discard is a backend that costs nothing.
type discard struct{ recorder }

func (*discard) ProcessEvents(...*auditinternal.Event) bool { return true }

// BenchmarkProcessEvents shows what the wrapper adds to an event: of ours by the size of the body that it leaves out.
func BenchmarkProcessEvents(b *testing.B) {
	events := map[string]*auditinternal.Event{
		"other": {RequestURI: "/apis/apps/v1/deployments", ObjectRef: &auditinternal.ObjectReference{APIGroup: "apps"}},
	}
	for _, size := range []int{256, 8192, secret.MaxValueBytes} {
		events[fmt.Sprintf("ours/%dB", size)] = &auditinternal.Event{
			RequestURI:     objectPath + "?fieldManager=kubectl",
			ObjectRef:      &auditinternal.ObjectReference{APIGroup: secret.GroupName},
			RequestObject:  &runtime.Unknown{Raw: make([]byte, size)},
			ResponseStatus: &metav1.Status{Code: 201},
			Annotations:    map[string]string{"authorization.k8s.io/decision": "allow"},
		}
	}
	for name, ev := range events {
		b.Run(name, func(b *testing.B) {
			backend := NewBackend(&discard{})
			b.ReportAllocs()
			for b.Loop() {
				backend.ProcessEvents(ev)
			}
		})
	}
}
