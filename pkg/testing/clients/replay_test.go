// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// Content types of patches, and what clients accept.
const (
	asJSON      = "application/json"
	asApply     = "application/apply-patch+yaml"
	asMerge     = "application/merge-patch+json"
	asJSONPatch = "application/json-patch+json"

	acceptDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
		"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
	acceptJavaScript = "application/json, */*;q=0.8"
)

// sent is one request of a client and what it relies on in the answer. In path, body and answer NAMESPACE stands for
// the namespace of the client, VALUE for a value (a new one in each body), and VERSION for the resourceVersion of the
// last object.
type sent struct {
	method string
	path   string // after the collection; one that starts with /api, /openapi or /decrypt is whole
	accept string
	as     string // the content type
	body   string
	code   int
	answer string // JSON of which everything must be in the answer
}

const (
	head    = `"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue"`
	spec    = `"spec":{"description":"d","value":"VALUE","decrypters":["synthetic-monitoring","k6-cloud"]}`
	kept    = `"spec":{"description":"d","decrypters":["synthetic-monitoring","k6-cloud"]}` // in this order
	plain   = `{` + head + `,"metadata":{"name":"x","namespace":"NAMESPACE"},` + spec + `}`
	revised = `{` + head +
		`,"metadata":{"name":"x","namespace":"NAMESPACE","annotations":{"secret.grafana.app/value-revision":"2"}},` +
		spec + `}`
	firstValue = `{` + head + `,"metadata":{"name":"x","namespace":"NAMESPACE"},` + kept + `,"status":{"version":1}}`
	nextValue  = `{` + head + `,"metadata":{"name":"x","namespace":"NAMESPACE"},` + kept + `,"status":{"version":2}}`
	listed     = `{"kind":"SecureValueList","items":[{"metadata":{"name":"x"},` + kept + `}]}`
	absent     = `{"kind":"Status","status":"Failure","reason":"NotFound","code":404}`
	deleted    = `{"kind":"Status","status":"Success"}`
	ofClientGo = `{"kind":"DeleteOptions","apiVersion":"v1"}`
	terraform  = `"annotations":{"grafana.app/managedBy":"terraform","grafana.app/managerId":"secrets"}`
	helm       = `"labels":{"app.kubernetes.io/managed-by":"Helm"},` +
		`"annotations":{"meta.helm.sh/release-name":"shop","meta.helm.sh/release-namespace":"NAMESPACE"}`
	argo = `{` + head + `,"metadata":{"name":"x","namespace":"NAMESPACE",` +
		`"annotations":{"argocd.argoproj.io/tracking-id":"shop:secret.grafana.app/SecureValue:NAMESPACE/x"}},` + kept +
		`}`
	ansible = `"annotations":{"kubectl.kubernetes.io/last-applied-configuration":` +
		`"{\"apiVersion\":\"secret.grafana.app/v1beta1\",\"kind\":\"SecureValue\",` +
		`\"metadata\":{\"name\":\"x\",\"namespace\":\"NAMESPACE\"},` +
		`\"spec\":{\"decrypters\":[\"synthetic-monitoring\",\"k6-cloud\"],\"description\":\"d\",` +
		`\"value\":\"VALUE\"}}"}`
)

// before is what somebody else wrote before the client came.
var before = sent{http.MethodPost, "", "", asJSON, plain, http.StatusCreated, firstValue}

// replays are the clients of docs/clients.md that are not run by their own code here.
var replays = []struct {
	client   string
	requests []sent
}{
	{"terraform grafana", []sent{
		{http.MethodPost, "", asJSON, asJSON, `{` + head +
			`,"metadata":{"name":"x","namespace":"NAMESPACE","uid":"","resourceVersion":"","creationTimestamp":null,` +
			terraform + `},` + spec + `,"status":{"version":0,"externalID":"","keeper":""}}`, http.StatusCreated,
			firstValue},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusOK, `{"metadata":{"resourceVersion":"VERSION",` + terraform +
			`},` + kept + `}`},
		{http.MethodPut, "/x", asJSON, asJSON, `{` + head +
			`,"metadata":{"name":"x","namespace":"NAMESPACE","resourceVersion":"VERSION",` + terraform + `},` + spec +
			`,"status":{"version":0,"externalID":"","keeper":""}}`, http.StatusOK, nextValue},
		{http.MethodPost, "", asJSON, asJSON, `{` + head +
			`,"metadata":{"name":"y"},"spec":{"description":"d","ref":"path"}}`, http.StatusBadRequest,
			`{"kind":"Status","code":400,"details":{"causes":[{"field":"spec.value"},` +
				`{"reason":"FieldValueForbidden","field":"spec.ref"}]}}`},
		{http.MethodDelete, "/x", asJSON, "", "", http.StatusOK, deleted},
		{http.MethodDelete, "/x", asJSON, "", "", http.StatusNotFound, absent},
	}},
	{"terraform kubernetes_manifest", []sent{
		{http.MethodGet, "/apis", asJSON, "", "", http.StatusOK, `{"kind":"APIGroupList"}`},
		{http.MethodGet, "/openapi/v2", asJSON, "", "", http.StatusOK, `{"swagger":"2.0"}`},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusNotFound, absent},
		{http.MethodPatch, "/x?fieldManager=Terraform&force=false", asJSON, asApply, plain, http.StatusCreated,
			firstValue},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusOK, firstValue},
		{http.MethodPatch, "/x?fieldManager=Terraform&force=false", asJSON, asApply, revised, http.StatusOK, nextValue},
		{http.MethodDelete, "/x", asJSON, asJSON, ofClientGo, http.StatusOK, deleted},
	}},
	{"grafanactl", []sent{
		{http.MethodGet, "/api", acceptDiscovery, "", "", http.StatusNotFound, ""},
		{http.MethodGet, "/apis", acceptDiscovery, "", "", http.StatusOK, `{"kind":"APIGroupDiscoveryList"}`},
		{http.MethodGet, "/apis/secret.grafana.app/v1beta1", asJSON, "", "", http.StatusOK,
			`{"kind":"APIResourceList"}`},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusNotFound, absent},
		{http.MethodPost, "", asJSON, asJSON, plain, http.StatusCreated, firstValue},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusOK, firstValue},
		{http.MethodPut, "/x?dryRun=All", asJSON, asJSON, plain, http.StatusOK, firstValue},
		{http.MethodPut, "/x", asJSON, asJSON, plain, http.StatusOK, nextValue},
		{http.MethodGet, "?limit=500", asJSON, "", "", http.StatusOK, listed},
		{http.MethodDelete, "/x", asJSON, asJSON, ofClientGo, http.StatusOK, deleted},
	}},
	{"helm 3", []sent{
		{http.MethodGet, "/x", asJSON, "", "", http.StatusNotFound, absent},
		{http.MethodPost, "?fieldManager=helm", asJSON, asJSON, `{` + head +
			`,"metadata":{"name":"x","namespace":"NAMESPACE",` + helm + `},` + spec + `}`,
			http.StatusCreated, firstValue},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusOK, `{"metadata":{` + helm + `}}`},
		{http.MethodPatch, "/x?fieldManager=helm", asJSON, asMerge,
			`{"metadata":{"annotations":{"secret.grafana.app/value-revision":"2"}},"spec":{"value":"VALUE"}}`,
			http.StatusOK, nextValue},
		{http.MethodDelete, "/x", asJSON, asJSON,
			`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`, http.StatusOK, deleted},
	}},
	{"helm 4", []sent{
		{http.MethodGet, "/x", asJSON, "", "", http.StatusNotFound, absent},
		{http.MethodPatch, "/x?fieldManager=helm&fieldValidation=Strict&force=false", asJSON, asApply, plain,
			http.StatusCreated, firstValue},
		{http.MethodPatch, "/x?fieldManager=helm&fieldValidation=Strict&force=false", asJSON, asApply, revised,
			http.StatusOK, nextValue},
		{http.MethodDelete, "/x", asJSON, asJSON,
			`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`, http.StatusOK, deleted},
	}},
	{"argo cd", []sent{
		before,
		{http.MethodGet, "?limit=500", asJSON, "", "", http.StatusOK, listed},
		{http.MethodPatch, "/x?dryRun=All&fieldManager=argocd-controller&force=true", asJSON, asApply, argo,
			http.StatusOK, argo},
		{http.MethodPatch, "/x?fieldManager=argocd-controller&force=true", asJSON, asApply, argo, http.StatusOK, argo},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusOK, firstValue},
	}},
	{"ansible", []sent{
		{http.MethodGet, "/x", asJSON, "", "", http.StatusNotFound, absent},
		{http.MethodPost, "", asJSON, asJSON, `{` + head + `,"metadata":{"name":"x","namespace":"NAMESPACE",` +
			ansible + `},` + spec + `}`,
			http.StatusCreated, firstValue},
		{http.MethodGet, "/x", asJSON, "", "", http.StatusOK, firstValue},
		{http.MethodPatch, "/x", asJSON, asMerge, `{"metadata":{` + ansible + `},"spec":{"value":"VALUE"}}`,
			http.StatusOK, nextValue},
		{http.MethodDelete, "/x", asJSON, asJSON, `{}`, http.StatusOK, deleted},
	}},
	{"python", []sent{
		{http.MethodPost, "", asJSON, asJSON, plain, http.StatusCreated, firstValue},
		{http.MethodGet, "?watch=True&timeoutSeconds=1", asJSON, "", "", http.StatusOK, ""}, // Python's True
		{http.MethodPatch, "/x", asJSON, asMerge, `{"spec":{"value":"VALUE"}}`, http.StatusOK, nextValue},
		{http.MethodDelete, "/x", asJSON, "", "", http.StatusOK, deleted},
	}},
	{"javascript", []sent{
		{http.MethodPost, "", acceptJavaScript, asJSON, plain, http.StatusCreated, firstValue},
		{http.MethodGet, "", acceptJavaScript, "", "", http.StatusOK, listed},
		{http.MethodPatch, "/x", acceptJavaScript, asJSONPatch, `[{"op":"add","path":"/spec/value","value":"VALUE"}]`,
			http.StatusOK, nextValue},
		{http.MethodDelete, "/x", acceptJavaScript, "", "", http.StatusOK, deleted},
	}},
	{"velero", []sent{
		before,
		{http.MethodGet, "?limit=500", asJSON, "", "", http.StatusOK, listed},
		{http.MethodDelete, "/x", asJSON, asJSON, ofClientGo, http.StatusOK, deleted},
		{http.MethodPost, "", asJSON, asJSON, `{` + head +
			`,"metadata":{"name":"x","namespace":"NAMESPACE","labels":{"velero.io/backup-name":"b",` +
			`"velero.io/restore-name":"r"}},` +
			kept + `}`,
			http.StatusBadRequest, `{"kind":"Status","code":400,"details":{"causes":[{"field":"spec.value"}]}}`},
	}},
	{"k6", []sent{
		before,
		{http.MethodGet, "/decrypt/v1/namespaces/NAMESPACE/secrets/x/decrypt", "", "", "", http.StatusOK,
			`{"plaintext":"VALUE"}`},
		{http.MethodGet, "/decrypt/v1/namespaces/NAMESPACE/secrets/absent/decrypt", "", "", "", http.StatusNotFound,
			`{"message":"not found"}`},
	}},
	{"external secrets operator", []sent{
		before,
		{http.MethodGet, "/decrypt/v1/namespaces/NAMESPACE/secrets/x/decrypt", "", "", "", http.StatusOK,
			`{"name":"x","plaintext":"VALUE"}`},
	}},
}

// testReplay sends what clients send that are written in other languages, or bring more with them than a test should:
// the requests follow their public source and what they sent when they were run.
func testReplay(t *testing.T, s *suite) {
	t.Helper()
	for _, r := range replays {
		t.Run(r.client, func(t *testing.T) {
			c := &replay{suite: s, namespace: s.person(t).namespace}
			for _, request := range r.requests {
				c.send(t, request)
			}
		})
	}
}

type replay struct {
	*suite
	namespace, value, version string
}

func (c *replay) fill(text string) string {
	return strings.NewReplacer("NAMESPACE", c.namespace, "VALUE", c.value, "VERSION", c.version).Replace(text)
}

func (c *replay) send(t *testing.T, r sent) {
	t.Helper()
	if strings.Contains(r.body, "VALUE") {
		c.value = c.secret()
	}
	want := c.fill(r.answer)
	port, path := *c.Server, c.fill(r.path)
	request := harness.Request{Method: r.method, Token: c.AdminToken, ContentType: r.as, Body: c.fill(r.body)}
	if r.accept != "" {
		request.Header = http.Header{"Accept": {r.accept}}
	}
	opens := strings.HasPrefix(path, "/decrypt")
	switch {
	case opens:
		port.URL, request.Token = port.DecryptURL, harness.K6Token
	case !strings.HasPrefix(path, "/api") && !strings.HasPrefix(path, "/openapi"):
		path = harness.Collection(c.namespace) + path
	}
	request.Path = path
	got := port.Do(t, request)
	if !opens {
		c.clean(t, "the answer", string(got.Body))
	}
	if got.Code != r.code {
		t.Fatalf("%s %s: want %d, got %d: %s", r.method, path, r.code, got.Code, got.Body)
	}
	if want == "" {
		return
	}
	var wanted map[string]any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	object := got.Object(t)
	if !covers(wanted, object) {
		t.Fatalf("%s %s: want all of %s, got %s", r.method, path, want, got.Body)
	}
	if metadata, ok := object["metadata"].(map[string]any); ok {
		c.version, _ = metadata["resourceVersion"].(string)
	}
}

// covers reports whether all of want is in got: members of objects may be added, those of lists may not.
func covers(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		members, ok := got.(map[string]any)
		for key, value := range want {
			ok = ok && covers(value, members[key])
		}
		return ok
	case []any:
		members, ok := got.([]any)
		ok = ok && len(members) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = covers(want[i], members[i])
		}
		return ok
	}
	return reflect.DeepEqual(want, got)
}
