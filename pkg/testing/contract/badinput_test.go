// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestIncident02BadInputIsNotEchoed (CVE-2025-4166, CVE-2025-52893) sends everything that the server must refuse, and then searches answers, audit log and server log for
// the smallest part of what was in it.
func TestIncident02BadInputIsNotEchoed(t *testing.T) {
	a := startAPI(t)
	t.Run("objects", func(t *testing.T) { runBad(t, a, badObjects()) })
	t.Run("replacements", func(t *testing.T) { runBad(t, a, asReplacements(badObjects())) })
	t.Run("names", func(t *testing.T) { runBad(t, a, badNames()) })
	t.Run("syntax", func(t *testing.T) { runBad(t, a, badSyntax()) })
	t.Run("yaml", func(t *testing.T) { runBad(t, a, badYAML()) })
	t.Run("protobuf", func(t *testing.T) { runBad(t, a, badProtobuf(t)) })
	t.Run("patches", func(t *testing.T) { runBad(t, a, badPatches()) })
	t.Run("media types", func(t *testing.T) { runBad(t, a, badMediaTypes()) })
	t.Run("options", func(t *testing.T) { runBad(t, a, badOptions()) })
	t.Run("addresses", a.badAddresses)
	t.Run("selectors", a.badSelectors)
	t.Run("wire", a.badWire)
	t.Run("warnings", a.warnings)
	t.Run("odd but good", a.oddButGood)
	a.noTrace(t)
}

// bad is one request that must be refused. In its body CANARY becomes a random value, and DIGITS a random number, of
// which no answer and no log may show eight characters.
type bad struct {
	name        string
	method      string // POST to the collection by default; others go to the object "kept"
	query       string
	contentType string // JSON by default
	body        string

	code   int                 // 400 by default
	reason metav1.StatusReason // BadRequest by default, Invalid if there are causes
	causes []string            // the field paths of all causes
	text   string              // part of the message
}

// runBad sends each request and checks the answer, and that what is stored stays as it is.
func runBad(t *testing.T, a *api, cases []bad) {
	t.Helper()
	namespace := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(t.Name(), "TestIncident02BadInputIsNotEchoed/"), "_", "-"))
	a.create(t, namespace, "kept", nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := string(a.want(t, http.StatusOK, http.MethodGet, harness.Collection(namespace), "", "").Body)
			c.check(t, c.send(t, a, namespace))
			after := string(a.want(t, http.StatusOK, http.MethodGet, harness.Collection(namespace), "", "").Body)
			if diff := cmp.Diff(items(before), items(after)); diff != "" {
				t.Fatalf("something was stored (-before +after):\n%s", diff)
			}
		})
	}
}

// items leaves out the resourceVersion of the list, which rises with every write anywhere.
func items(list string) string {
	_, rest, _ := strings.Cut(list, `"items":`)
	return rest
}

func (c bad) send(t *testing.T, a *api, namespace string) harness.Response {
	t.Helper()
	target := harness.Collection(namespace)
	if c.method != "" && c.method != http.MethodPost {
		target = path(namespace, "kept")
	}
	contentType := c.contentType
	switch contentType {
	case "":
		contentType = jsonType
	case "none":
		contentType = ""
	}
	body := strings.NewReplacer("CANARY", a.canary(), "DIGITS", a.number()).Replace(c.body)
	method := c.method
	if method == "" {
		method = http.MethodPost
	}
	return a.do(t, method, target+c.query, contentType, body)
}

func (c bad) check(t *testing.T, got harness.Response) {
	t.Helper()
	code := c.code
	if code == 0 {
		code = http.StatusBadRequest
	}
	reason := c.reason
	switch {
	case reason != "":
	case len(c.causes) > 0:
		reason = metav1.StatusReasonInvalid
	default:
		reason = metav1.StatusReasonBadRequest
	}
	if got.Code != code {
		t.Fatalf("want %d, got %d: %s", code, got.Code, got.Body)
	}
	status := got.Status(t)
	if status.Reason != reason || int(status.Code) != code || status.Message == "" {
		t.Errorf("want a Status with reason %s and code %d, got %s", reason, code, got.Body)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(c.causes)), causes(status)); len(c.causes) > 0 && diff != "" {
		t.Errorf("the faults differ (-want +got):\n%s\n%s", diff, got.Body)
	}
	if !strings.Contains(status.Message, c.text) {
		t.Errorf("want %q in the message, got %q", c.text, status.Message)
	}
}

// withSpec is an object named bad with a spec written out.
func withSpec(spec string) string { return `{"metadata":{"name":"bad"},"spec":` + spec + `}` }

// withMeta is an object with a good spec and metadata written out.
func withMeta(metadata string) string {
	return `{"metadata":` + metadata + `,"spec":{"description":"d","value":"CANARY"}}`
}

// asReplacements are the same bodies as a PUT of the object that is there.
func asReplacements(cases []bad) []bad {
	out := slices.Clone(cases)
	for i := range out {
		out[i].method = http.MethodPut
		out[i].body = strings.Replace(out[i].body, `"name":"bad"`, `"name":"kept"`, 1)
	}
	return out
}

// warnings are faults that Kubernetes lets pass unless the client asks for strictness: the warning names the field.
func (a *api) warnings(t *testing.T) {
	valve, twice := `"description":"d","valve":"CANARY","value":"CANARY"`,
		`"description":"d","value":"CANARY","value":"CANARY"`
	for i, c := range []struct{ query, contentType, spec, warning string }{
		{"", jsonType, valve, `299 - "unknown field \"spec.valve\""`},
		{"?fieldValidation=Warn", jsonType, valve, `299 - "unknown field \"spec.valve\""`},
		{"?fieldValidation=Ignore", jsonType, valve, ""},
		{"?fieldValidation=Warn", yamlType, valve, `299 - "unknown field \"spec.valve\""`},
		{"?fieldValidation=Warn", jsonType, twice, `299 - "duplicate field \"spec.value\""`},
		{"?fieldValidation=Warn", yamlType, twice, `299 - "a YAML mapping has the same key twice"`},
		{"?fieldValidation=Ignore", yamlType, twice, ""},
	} {
		name := fmt.Sprintf("warning-%d", i)
		body := fmt.Sprintf(`{"metadata":{"name":%q},"spec":{%s}}`, name,
			strings.ReplaceAll(c.spec, "CANARY", a.canary()))
		got := a.want(t, http.StatusCreated, http.MethodPost, harness.Collection("warnings")+c.query, c.contentType,
			body)
		if warning := got.Header.Get("Warning"); warning != c.warning {
			t.Errorf("%s %s: want the warning %q, got %q", c.query, c.contentType, c.warning, warning)
		}
		if got.Object(t)["spec"].(map[string]any)["valve"] != nil {
			t.Errorf("the unknown field was kept: %s", got.Body)
		}
	}
}

// oddButGood is what looks wrong and must be accepted.
func (a *api) oddButGood(t *testing.T) {
	const namespace = "odd"
	listed := `["k6-cloud","provisioning.grafana.app","synthetic-monitoring"]`
	for name, spec := range map[string]string{
		"nul":                    `{"description":"d","value":"CANARY\u0000CANARY"}`,
		"only-nul":               `{"description":"d","value":"\u0000"}`,
		"one-byte":               `{"description":"d","value":"v"}`,
		"white-space":            `{"description":"d","value":" \n"}`,
		"surrogate-pair":         `{"description":"d","value":"CANARY\ud83d\udd11"}`,
		"noncharacter":           `{"description":"d","value":"CANARY\uffff\ufeff"}`,
		"text-null":              `{"description":"d","value":"null"}`,
		"largest":                `{"description":"d","value":"CANARY` + strings.Repeat("v", 24576-26) + `"}`,
		"largest-escaped":        `{"description":"d","value":"` + strings.Repeat(`\u0076`, 24576) + `"}`,
		"largest-in-emoji":       `{"description":"d","value":"` + strings.Repeat("🔑", 24576/4) + `"}`,
		"twenty-five":            `{"description":"` + strings.Repeat("d", 25) + `","value":"CANARY"}`,
		"twenty-five-four-bytes": `{"description":"` + strings.Repeat("🔑", 25) + `","value":"CANARY"}`,
		"no-decrypters":          `{"description":"d","value":"CANARY"}`,
		"null-decrypters":        `{"description":"d","value":"CANARY","decrypters":null}`,
		"empty-decrypters":       `{"description":"d","value":"CANARY","decrypters":[]}`,
		"all-decrypters":         `{"description":"d","value":"CANARY","decrypters":` + listed + `}`,
		strings.Repeat("n", 253): `{"description":"d","value":"CANARY"}`,
		"dotted.name-1":          `{"description":"d","value":"CANARY"}`,
		"escaped-key":            `{"descriptio\u006e":"d","valu\u0065":"CANARY"}`,
		"status-of-another-shape": `{"description":"d","value":"CANARY"},"status":{"version":77,"keeper":"mine",` +
			`"key":"mine","externalID":"mine"}`,
	} {
		body := fmt.Sprintf(`{"metadata":{"name":%q},"spec":%s}`, name, strings.ReplaceAll(spec, "CANARY", a.canary()))
		for _, query := range []string{"?dryRun=All", "?fieldValidation=Strict"} {
			if got := a.do(t, http.MethodPost, harness.Collection(namespace)+query, jsonType,
				body); got.Code != http.StatusCreated {
				t.Errorf("%s %s: want 201, got %d: %s", name, query, got.Code, got.Body)
			}
		}
		if status := at(a.get(t, namespace, name), "status").(map[string]any); status["version"] != 1.0 ||
			status["keeper"] != "system" || status["externalID"] != nil {
			t.Errorf("%s: want the server's own status, got %v", name, status)
		}
	}
	// What a manifest in quotes says is a string, whatever it looks like.
	for i, value := range []string{`"12345"`, `'yes'`, `"2024-01-15"`, `"null"`, "|\n    two\n    lines", `"a: b"`,
		`plain words`} {
		body := fmt.Sprintf("metadata:\n  name: yaml-%d\nspec:\n  description: d\n  value: %s\n", i, value)
		a.want(t, http.StatusCreated, http.MethodPost, harness.Collection(namespace)+"?fieldValidation=Strict",
			yamlType, body)
	}
}
