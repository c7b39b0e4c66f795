// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const protobufType = "application/vnd.kubernetes.protobuf"

// withFault is a SecureValue with more members in its metadata and spec.
func withFault(name, metadata, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"name":%q%s},`+
		`"spec":{"description":"d"%s}}`, name, metadata, spec)
}

const value = `,"value":"not-to-be-read"`

// startKept runs a server that holds the object "kept".
func startKept(t *testing.T) (s *harness.Server, all, one string) {
	t.Helper()
	s = harness.Start(t, harness.Options{})
	all = harness.Collection("default")
	send(t, s, http.MethodPost, all, jsonType, withFault("kept", "", value)).Want(t, http.StatusCreated)
	return s, all, all + "/kept"
}

func send(t *testing.T, s *harness.Server, method, path, contentType, body string) harness.Response {
	t.Helper()
	return s.Do(t, harness.Request{Method: method, Path: path, Token: s.AdminToken, ContentType: contentType, Body: body})
}

// wantRefused asks for a 400 that blames the field, and nothing else.
func wantRefused(t *testing.T, got harness.Response, field string) {
	t.Helper()
	if got.Code != http.StatusBadRequest {
		t.Fatalf("want 400, got %d: %.300s", got.Code, got.Body)
	}
	if causes := got.Status(t).Details.Causes; len(causes) != 1 || causes[0].Field != field {
		t.Errorf("want one fault, in %s, got %.300s", field, got.Body)
	}
}

// many repeats a member or an element with a running number, "%d", as often as fits far below the limit of a body.
func many(format string, n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(parts, ",")
}

// protobuf is an object in what typed clients send.
func protobuf(t *testing.T, text string) string {
	t.Helper()
	var sv v1beta1.SecureValue
	if err := json.Unmarshal([]byte(text), &sv); err != nil {
		t.Fatal(err)
	}
	raw, err := sv.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: sv.APIVersion, Kind: sv.Kind}, Raw: raw}
	body, err := unknown.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return "k8s\x00" + string(body)
}

// Faults by the thousand: upstream joins their texts in time that grows with the square of their number, and prints all
// owners into the fault of each controller too many. One dry run took ten gigabytes.
func TestFaultsByTheThousand(t *testing.T) {
	s, all, one := startKept(t)
	const most = 2000 // of what the request guard lets pass; it does not read protobuf
	for _, fault := range []struct {
		field, metadata string
		members         int
	}{
		{"metadata.labels", `,"labels":{` + many(`"k%d!":"!"`, 40000) + `}`, 40000},
		{"metadata.labels", `,"labels":{` + many(`"k%d!":"!"`, most) + `}`, most},
		{"metadata.annotations", `,"annotations":{` + many(`"k%d!":""`, 40000) + `}`, 40000},
		{"metadata.annotations", `,"annotations":{` + many(`"k%d!":""`, most) + `}`, most},
		{"metadata.finalizers", `,"finalizers":[` + many(`"a!%d"`, 60000) + `]`, 60000},
		{"metadata.finalizers", `,"finalizers":[` + many(`"a!%d"`, most) + `]`, most},
		{"metadata.ownerReferences[1].controller", `,"ownerReferences":[` +
			many(`{"apiVersion":"v1","kind":"A","name":"a","uid":"%d","controller":true}`, 499) + `]`, 499},
		{"metadata.ownerReferences", `,"ownerReferences":[` +
			many(`{"apiVersion":"v1","kind":"A","name":"a","uid":"%d"}`, 12000) + `]`, 12000},
		{"metadata.ownerReferences", `,"ownerReferences":[` +
			many(`{"apiVersion":"v1","kind":"A","name":"a","uid":"%d"}`, most) + `]`, most},
	} {
		t.Run(fmt.Sprintf("%s %d", fault.field, fault.members), func(t *testing.T) {
			wantRefused(t, send(t, s, http.MethodPost, all+"?dryRun=All", protobufType,
				protobuf(t, withFault("many", fault.metadata, value))), fault.field)
			wantRefused(t, send(t, s, http.MethodPut, one, protobufType,
				protobuf(t, withFault("kept", fault.metadata, value))), fault.field)
			inJSON := []harness.Response{
				send(t, s, http.MethodPost, all+"?dryRun=All", jsonType, withFault("many", fault.metadata, value)),
				send(t, s, http.MethodPut, one, jsonType, withFault("kept", fault.metadata, value)),
				send(t, s, http.MethodPatch, one, mergeType, withFault("kept", fault.metadata, "")),
			}
			for _, got := range inJSON {
				if fault.members <= most {
					wantRefused(t, got, fault.field)
				} else if got.Code != http.StatusBadRequest ||
					!strings.Contains(got.Status(t).Message, "more than 2000 members") {
					t.Errorf("want 400 for the number of members, got %d: %.300s", got.Code, got.Body)
				}
			}
		})
	}
	controllers := `,"ownerReferences":[` +
		many(`{"apiVersion":"v1","kind":"A","name":"a","uid":"%d","controller":true}`, 400) + `]`
	wantRefused(t, send(t, s, http.MethodPatch, one+"?fieldManager=m", applyType, withFault("kept", controllers, "")),
		"metadata.ownerReferences[1].controller")
}

// Zero for a resourceVersion: registry.Store takes it for none, so a PUT with it has seen no stored value that it could
// mean to keep.
func TestZeroResourceVersion(t *testing.T) {
	s, _, one := startKept(t)
	for _, version := range []string{"0", "00"} {
		wantRefused(t, send(t, s, http.MethodPut, one, jsonType,
			withFault("kept", `,"resourceVersion":"`+version+`"`, "")), "spec.value")
	}
}

// A watch from nowhere: the client's fault was answered with 500.
func TestWatchFromNowhere(t *testing.T) {
	s, all, _ := startKept(t)
	wantRefused(t, send(t, s, http.MethodGet, all+"?watch=true&resourceVersion=nowhere", "", ""), "resourceVersion")
}
