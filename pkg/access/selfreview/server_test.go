// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
)

// newServer starts a generic API server with the two groups. A request's user is the one its bearer token names, as
// "name" or "name/group". In namespace team user ann may list securevalues, k6 may open values by name, every and wild
// could but for the wildcard.
func newServer(t *testing.T) *httptest.Server {
	t.Helper()
	rule := func(verb, resource, rest string) string {
		return "{apiGroups: [secret.grafana.app], resources: [" + resource + "], verbs: [" + verb + "]" + rest + "}"
	}
	decrypt, k6, all := rule("decrypt", "securevalues", ""),
		rule("use", "decrypters", ", resourceNames: [k6-cloud, '']"), rule("use", "decrypters", "")
	dir := t.TempDir()
	for name, rules := range map[string]string{
		"ann": rule("list", "securevalues", ""), "k6": decrypt + ", " + k6, "every": decrypt + ", " + k6 + ", " + all,
		"wild": "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}",
	} {
		manifest := fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[1]s, namespace: team}
rules: [%[2]s]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[1]s, namespace: team}
roleRef: {kind: Role, name: %[1]s}
subjects: [{kind: User, name: %[1]s}]
`, name, rules)
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := rbac.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	access := rbac.NewStandalone(rbac.New(snapshot))

	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme)
	config := genericapiserver.NewConfig(codecs)
	config.EffectiveVersion = basecompatibility.NewEffectiveVersionFromString("1.0", "", "")
	config.ExternalAddress = "127.0.0.1:443"
	config.LoopbackClientConfig = &rest.Config{}
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, openapi.NewDefinitionNamer(scheme))
	config.Authentication.Authenticator = authenticator.RequestFunc(authenticate)
	config.Authorization.Authorizer = access
	server, err := config.Complete(nil).New("test", genericapiserver.NewEmptyDelegate())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Destroy)
	for _, group := range NewAPIGroups(scheme, codecs, access, access) {
		if err := server.InstallAPIGroup(&group); err != nil {
			t.Fatal(err)
		}
	}
	listening := httptest.NewServer(server.Handler)
	t.Cleanup(listening.Close)
	return listening
}

func authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	name, group, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "/")
	return &authenticator.Response{User: &user.DefaultInfo{
		Name: name, UID: "uid-of-" + name, Groups: []string{user.AllAuthenticated, group},
		Extra: map[string][]string{"k": {"v"}},
	}}, name != "", nil
}

// definitions describes every type as an open object: the test is not about OpenAPI.
func definitions(common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	out := map[string]common.OpenAPIDefinition{}
	for _, sample := range []interface{ OpenAPIModelName() string }{
		authorizationv1.SelfSubjectAccessReview{}, authorizationv1.SelfSubjectRulesReview{},
		authenticationv1.SelfSubjectReview{},
	} {
		out[sample.OpenAPIModelName()] = common.OpenAPIDefinition{
			Schema: spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}},
		}
	}
	return out
}

// clientFor returns the client kubectl uses, for a user and an encoding.
func clientFor(t *testing.T, server *httptest.Server, token, contentType string) kubernetes.Interface {
	t.Helper()
	config := &rest.Config{Host: server.URL, BearerToken: token}
	config.ContentType = contentType
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// may asks whether the user of a token may do something.
func may(t *testing.T, server *httptest.Server, token, encoding string,
	spec authorizationv1.SelfSubjectAccessReviewSpec) *authorizationv1.SelfSubjectAccessReview {
	t.Helper()
	got, err := clientFor(t, server, token, encoding).AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	return got
}

func about(verb, resource, name, namespace string) authorizationv1.SelfSubjectAccessReviewSpec {
	return authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: verb, Namespace: namespace, Group: "secret.grafana.app", Resource: resource, Name: name,
	}}
}

// rules asks for all rights in namespace team.
func rules(t *testing.T, client kubernetes.Interface) *authorizationv1.SelfSubjectRulesReview {
	t.Helper()
	got, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "team"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var encodings = []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf}

func TestSelfSubjectAccessReview(t *testing.T) {
	server := newServer(t)
	resource := func(verb, namespace string) authorizationv1.SelfSubjectAccessReviewSpec {
		return about(verb, "securevalues", "", namespace)
	}
	url := func(path string) authorizationv1.SelfSubjectAccessReviewSpec {
		return authorizationv1.SelfSubjectAccessReviewSpec{
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: path},
		}
	}
	for _, tc := range []struct {
		token  string
		spec   authorizationv1.SelfSubjectAccessReviewSpec
		want   bool
		reason string
	}{
		{"ann", resource("list", "team"), true, `RoleBinding "ann/team"`},
		{"ann", resource("list", "other"), false, ""},
		{"ann", resource("delete", "team"), false, ""},
		{"bob", resource("list", "team"), false, ""},
		{"root/system:masters", resource("delete", "any"), true, ""},
		{"bob", url("/apis"), true, "system:discovery"},
		{"bob", url("/metrics"), false, ""},
	} {
		for _, encoding := range encodings {
			got := may(t, server, tc.token, encoding, tc.spec)
			if got.Status.Allowed != tc.want || got.Status.Denied || !strings.Contains(got.Status.Reason, tc.reason) ||
				got.Status.EvaluationError != "" {
				t.Errorf("%s, %v as %s: got %+v", tc.token, tc.spec, encoding, got.Status)
			}
			if (got.Spec.ResourceAttributes == nil) != (tc.spec.ResourceAttributes == nil) {
				t.Errorf("the question is not repeated: %+v", got.Spec)
			}
		}
	}
}

// TestSelfReviewsOfTheDecryptPort asks about its two verbs: the answers are those of the port, not of the API.
func TestSelfReviewsOfTheDecryptPort(t *testing.T) {
	server := newServer(t)
	const wildcard, masters = "is a wildcard, which reads no value", "removes group system:masters from"
	for _, tc := range []struct {
		token, verb, resource, name, namespace string
		want, denied                           bool
		reason                                 string
	}{
		{"k6", "decrypt", "securevalues", "", "team", true, false, `RoleBinding "k6/team"`},
		{"k6", "decrypt", "securevalues", "api-key", "team", true, false, `RoleBinding "k6/team"`},
		{"k6", "use", "decrypters", "k6-cloud", "team", true, false, `RoleBinding "k6/team"`},
		{"k6", "use", "decrypters", "other", "team", false, false, ""},
		{"k6", "use", "decrypters", "", "team", false, true, "name one decrypter"},
		{"k6", "decrypt", "securevalues", "api-key", "other", false, false, ""},
		{"k6", "decrypt", "securevalues", "api-key", "", false, false, ""},
		{"k6/system:masters", "decrypt", "securevalues", "api-key", "team", true, false, `RoleBinding "k6/team"`},
		{"k6/system:masters", "use", "decrypters", "other", "team", false, false, masters},
		{"root/system:masters", "decrypt", "securevalues", "", "team", false, false, masters},
		{"root/system:masters", "decrypt", "securevalues", "api-key", "", false, false, masters},
		{"root/system:masters", "use", "decrypters", "k6-cloud", "team", false, false, masters},
		{"root/system:masters", "decrypt", "*", "", "team", false, false, masters},
		{"root/system:masters", "*", "*", "", "team", true, false, ""},
		{"wild", "decrypt", "securevalues", "api-key", "team", false, true, wildcard},
		{"wild", "use", "decrypters", "k6-cloud", "team", false, true, wildcard},
		{"wild", "decrypt", "*", "", "team", false, true, wildcard},
		{"wild", "delete", "securevalues", "api-key", "team", true, false, `RoleBinding "wild/team"`},
		{"wild", "decrypt", "securevalues", "api-key", "other", false, false, ""},
		{"every", "decrypt", "securevalues", "api-key", "team", false, true, wildcard},
		{"every", "use", "decrypters", "k6-cloud", "team", false, true, wildcard},
	} {
		got := may(t, server, tc.token, runtime.ContentTypeJSON, about(tc.verb, tc.resource, tc.name, tc.namespace))
		if s := got.Status; s.Allowed != tc.want || s.Denied != tc.denied || !strings.Contains(s.Reason, tc.reason) ||
			s.EvaluationError != "" {
			t.Errorf("%+v: got %+v", tc, s)
		}
	}
	for token, overstated := range map[string]bool{"ann": false, "k6": false, "every": true, "wild": true,
		"root/system:masters": true} {
		got := rules(t, clientFor(t, server, token, runtime.ContentTypeJSON))
		if s := got.Status; s.Incomplete != overstated ||
			strings.Contains(s.EvaluationError, "only grants by name") != overstated {
			t.Errorf("rules of %s: incomplete %t, %q", token, s.Incomplete, s.EvaluationError)
		}
	}
}

func TestSelfSubjectAccessReviewRefuses(t *testing.T) {
	client := clientFor(t, newServer(t), "ann", runtime.ContentTypeJSON).AuthorizationV1().SelfSubjectAccessReviews()
	attributes := func(change func(*authorizationv1.ResourceAttributes)) *authorizationv1.SelfSubjectAccessReview {
		a := &authorizationv1.ResourceAttributes{Verb: "list"}
		change(a)
		return &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: a},
		}
	}
	both := attributes(func(*authorizationv1.ResourceAttributes) {})
	both.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: "/"}
	named := attributes(func(*authorizationv1.ResourceAttributes) {})
	named.Name = "x"
	in := metav1.LabelSelectorRequirement{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: []string{"b"}}
	for name, tc := range map[string]struct {
		review *authorizationv1.SelfSubjectAccessReview
		field  string
	}{
		"neither": {&authorizationv1.SelfSubjectAccessReview{}, "spec"},
		"both":    {both, "spec"},
		"named":   {named, "metadata"},
		"empty label selector": {attributes(func(a *authorizationv1.ResourceAttributes) {
			a.LabelSelector = &authorizationv1.LabelSelectorAttributes{}
		}), "spec.resourceAttributes.labelSelector.requirements"},
		"two label selectors": {attributes(func(a *authorizationv1.ResourceAttributes) {
			a.LabelSelector = &authorizationv1.LabelSelectorAttributes{RawSelector: "a=b",
				Requirements: []metav1.LabelSelectorRequirement{in}}
		}), "spec.resourceAttributes.labelSelector.rawSelector"},
		"label without values": {attributes(func(a *authorizationv1.ResourceAttributes) {
			a.LabelSelector = &authorizationv1.LabelSelectorAttributes{
				Requirements: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpIn}},
			}
		}), "spec.resourceAttributes.labelSelector.requirements[0].values"},
		"empty field selector": {attributes(func(a *authorizationv1.ResourceAttributes) {
			a.FieldSelector = &authorizationv1.FieldSelectorAttributes{}
		}), "spec.resourceAttributes.fieldSelector.requirements"},
		"field without key": {attributes(func(a *authorizationv1.ResourceAttributes) {
			a.FieldSelector = &authorizationv1.FieldSelectorAttributes{
				Requirements: []metav1.FieldSelectorRequirement{{Operator: metav1.FieldSelectorOpExists}},
			}
		}), "spec.resourceAttributes.fieldSelector.requirements[0].key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Create(t.Context(), tc.review, metav1.CreateOptions{})
			if !apierrors.IsInvalid(err) {
				t.Fatalf("got %v, want Invalid", err)
			}
			status := err.(apierrors.APIStatus).Status()
			if len(status.Details.Causes) != 1 || status.Details.Causes[0].Field != tc.field {
				t.Errorf("got causes %+v, want one at %s", status.Details.Causes, tc.field)
			}
		})
	}
}

func TestSelectorsThatAreNotUnderstoodAreReported(t *testing.T) {
	server := newServer(t)
	for name, tc := range map[string]struct {
		labels *authorizationv1.LabelSelectorAttributes
		fields *authorizationv1.FieldSelectorAttributes
		want   string
	}{
		"understood": {
			labels: &authorizationv1.LabelSelectorAttributes{RawSelector: "a in (b)"},
			fields: &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{{Key: "a",
				Operator: metav1.FieldSelectorOpIn, Values: []string{"b"}}}},
		},
		"raw": {
			labels: &authorizationv1.LabelSelectorAttributes{RawSelector: "a in ("},
			fields: &authorizationv1.FieldSelectorAttributes{RawSelector: "a"},
			want: "spec.resourceAttributes.fieldSelector ignored due to parse error; " +
				"spec.resourceAttributes.labelSelector ignored due to parse error",
		},
		"operator": {
			labels: &authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{{Key: "a",
				Operator: "Near"}, {Key: "b", Operator: metav1.LabelSelectorOpExists}}},
			fields: &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{{Key: "a",
				Operator: metav1.FieldSelectorOpIn, Values: []string{"b", "c"}}}},
			want: "spec.resourceAttributes.fieldSelector ignored due to parse error; " +
				"spec.resourceAttributes.labelSelector partially ignored due to parse error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := about("list", "securevalues", "", "team")
			spec.ResourceAttributes.LabelSelector, spec.ResourceAttributes.FieldSelector = tc.labels, tc.fields
			got := may(t, server, "ann", runtime.ContentTypeJSON, spec)
			if !got.Status.Allowed || got.Status.EvaluationError != tc.want {
				t.Errorf("got %+v, want evaluation error %q", got.Status, tc.want)
			}
		})
	}
}

func TestSelfSubjectRulesReview(t *testing.T) {
	server := newServer(t)
	for _, encoding := range encodings {
		client := clientFor(t, server, "ann", encoding)
		got := rules(t, client)
		isList := func(r authorizationv1.ResourceRule) bool {
			return fmt.Sprint(r) == fmt.Sprint(authorizationv1.ResourceRule{Verbs: []string{"list"},
				APIGroups: []string{"secret.grafana.app"}, Resources: []string{"securevalues"}})
		}
		// One rule of ann, two of system:basic-user, one of system:sealing-keys; the URLs of system:discovery and
		// system:public-info-viewer.
		if len(got.Status.ResourceRules) != 4 || !slices.ContainsFunc(got.Status.ResourceRules, isList) ||
			len(got.Status.NonResourceRules) != 2 || got.Status.Incomplete {
			t.Errorf("%s: got %+v", encoding, got.Status)
		}
		if _, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
			&authorizationv1.SelfSubjectRulesReview{}, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
			t.Errorf("%s: without a namespace: got %v, want bad request", encoding, err)
		}
	}
}

func TestSelfSubjectReview(t *testing.T) {
	server := newServer(t)
	for _, encoding := range encodings {
		got, err := clientFor(t, server, "ann/ops", encoding).AuthenticationV1().SelfSubjectReviews().
			Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		info := got.Status.UserInfo
		if info.Username != "ann" || info.UID != "uid-of-ann" ||
			!slices.Equal(info.Groups, []string{user.AllAuthenticated, "ops"}) ||
			fmt.Sprint(info.Extra) != "map[k:[v]]" {
			t.Errorf("%s: got %+v", encoding, info)
		}
		if got.CreationTimestamp.IsZero() {
			t.Errorf("%s: no time", encoding)
		}
	}
}

// TestOnlyTheSelfReviewsAreServed keeps questions about others, and token reviews, out of the standalone server.
func TestOnlyTheSelfReviewsAreServed(t *testing.T) {
	discovery := clientFor(t, newServer(t), "ann", runtime.ContentTypeJSON).Discovery()
	for version, want := range map[string][]string{
		"authorization.k8s.io/v1":  {"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
		"authentication.k8s.io/v1": {"selfsubjectreviews"},
	} {
		list, err := discovery.ServerResourcesForGroupVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, resource := range list.APIResources {
			names = append(names, resource.Name)
			if resource.Namespaced || !slices.Equal(resource.Verbs, metav1.Verbs{"create"}) ||
				resource.SingularName+"s" != resource.Name {
				t.Errorf("%s: %+v", version, resource)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s serves %v, want %v", version, names, want)
		}
	}
}

// TestAnswersCarryTheirKind posts as curl does, where no client library fills in what is missing.
func TestAnswersCarryTheirKind(t *testing.T) {
	server := newServer(t)
	body := `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{"namespace":"team"}}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		server.URL+"/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer ann")
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var text strings.Builder
	if err := response.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"201 Created", `"kind":"SelfSubjectRulesReview"`,
		`"apiVersion":"authorization.k8s.io/v1"`, `"resourceRules":[{`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("answer lacks %s:\n%s", want, text.String())
		}
	}
}
