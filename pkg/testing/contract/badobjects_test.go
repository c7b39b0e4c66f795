// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// badObjects decode well and break a rule, the same ones on create and on replace.
func badObjects() []bad {
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf(`"d%d"`, i))
	}
	spec := func(fields string) string { return withSpec(`{"value":"CANARY",` + fields + `}`) }
	return []bad{
		{name: "description missing", body: withSpec(`{"value":"CANARY"}`), causes: []string{"spec.description"}},
		{name: "description empty", body: spec(`"description":""`), causes: []string{"spec.description"}},
		{name: "description null", body: spec(`"description":null`), causes: []string{"spec.description"}},
		{name: "description of 26 characters", body: spec(`"description":"` + strings.Repeat("d", 26) + `"`),
			causes: []string{"spec.description"}},
		{name: "description of 26 four-byte characters",
			body:   spec(`"description":"` + strings.Repeat("🔑", 26) + `"`),
			causes: []string{"spec.description"}},
		{name: "description a number", body: spec(`"description":DIGITS`), text: "spec.description must be a string"},
		{name: "description an object", body: spec(`"description":{"a":"CANARY"}`),
			text: "spec.description must be a string"},
		{name: "value missing", body: withSpec(`{"description":"d"}`), causes: []string{"spec.value"}},
		{name: "value empty", body: withSpec(`{"description":"d","value":""}`), causes: []string{"spec.value"}},
		{name: "value null", body: withSpec(`{"description":"d","value":null}`), causes: []string{"spec.value"}},
		{name: "value of 24577 bytes", body: withSpec(`{"description":"d","value":"` + strings.Repeat("v", 24577-26) +
			`CANARY"}`), causes: []string{"spec.value"}},
		{name: "spec missing", body: `{"metadata":{"name":"bad"}}`, causes: []string{"spec.description", "spec.value"}},
		{name: "spec null", body: withSpec(`null`), causes: []string{"spec.description", "spec.value"}},
		{name: "65 decrypters", body: spec(`"description":"d","decrypters":[` + strings.Join(many, ",") + `]`),
			causes: append(indexed(64), "spec.decrypters")},
		{name: "decrypter twice", body: spec(`"description":"d","decrypters":["k6-cloud","k6-cloud"]`),
			causes: []string{"spec.decrypters[1]"}},
		{name: "decrypter empty", body: spec(`"description":"d","decrypters":["k6-cloud",""]`),
			causes: []string{"spec.decrypters[1]"}},
		{name: "decrypter unlisted", body: spec(`"description":"d","decrypters":["nobody"]`),
			causes: []string{"spec.decrypters[0]"}},
		{name: "decrypter no label value", body: spec(`"description":"d","decrypters":["not a name!"]`),
			causes: []string{"spec.decrypters[0]"}},
		{name: "decrypters a string", body: spec(`"description":"d","decrypters":"CANARY"`),
			text: "spec.decrypters must be a list"},
		{name: "decrypter a number", body: spec(`"description":"d","decrypters":[DIGITS]`), text: "spec.decrypters"},
		{name: "ref", body: spec(`"description":"d","ref":"CANARY"`), causes: []string{"spec.ref"}},
		{name: "ref, no value", body: withSpec(`{"description":"d","ref":"CANARY"}`),
			causes: []string{"spec.ref", "spec.value"}},
		{name: "ref, ignored fields", query: "?fieldValidation=Ignore", body: spec(`"description":"d","ref":"CANARY"`),
			causes: []string{"spec.ref"}},
		{name: "ref an object", body: spec(`"description":"d","ref":{"a":"CANARY"}`),
			text: "spec.ref must be a string"},
		{name: "keeper", body: spec(`"description":"d","keeper":"CANARY"`), causes: []string{"spec.keeper"}},
		{name: "keeper system", body: spec(`"description":"d","keeper":"system"`), causes: []string{"spec.keeper"}},
		{name: "all faults at once",
			body: withSpec(`{"value":"","decrypters":["nobody","k6-cloud","k6-cloud"],"keeper":"k","ref":"r"}`),
			causes: []string{"spec.description", "spec.value", "spec.decrypters[0]", "spec.decrypters[2]",
				"spec.keeper", "spec.ref"}},
		{name: "labels", body: `{"metadata":{"name":"bad","labels":{"a b":"c ` +
			`d"}},"spec":{"description":"d","value":"CANARY"}}`, causes: []string{"metadata.labels"}},
		{name: "label a number",
			body: `{"metadata":{"name":"bad","labels":{"a":DIGITS}},"spec":{"description":"d","value":"CANARY"}}`,
			text: "metadata.labels"},
		{name: "annotations too large", body: `{"metadata":{"name":"bad","annotations":{"a":"` +
			strings.Repeat("a", 256<<10) + `"}},"spec":{"description":"d","value":"CANARY"}}`,
			causes: []string{"metadata.annotations"}},
		{name: "finalizer", body: `{"metadata":{"name":"bad","finalizers":["a ` +
			`b"]},"spec":{"description":"d","value":"CANARY"}}`, causes: []string{"metadata.finalizers"}},
		{name: "owner without a name",
			body: `{"metadata":{"name":"bad","ownerReferences":[{"apiVersion":"v1","kind":"Pod","uid":"u"}]},` +
				`"spec":{"description":"d","value":"CANARY"}}`,
			causes: []string{"metadata.ownerReferences[0].name"}},
		{name: "creationTimestamp no time",
			body: `{"metadata":{"name":"bad","creationTimestamp":"CANARY"},"spec":{"description":"d",` +
				`"value":"CANARY"}}`},
		{name: "metadata a string", body: withMeta(`"CANARY"`), text: "metadata must be an object"},
		{name: "namespace of another", body: withMeta(`{"name":"bad","namespace":"other"}`), text: "namespace"},
		{name: "kind of another",
			body: `{"kind":"Secret","metadata":{"name":"bad"},"spec":{"description":"d","value":"CANARY"}}`,
			text: "apiVersion and kind"},
		{name: "apiVersion of another",
			body: `{"apiVersion":"v1","metadata":{"name":"bad"},"spec":{"description":"d","value":"CANARY"}}`,
			text: "apiVersion and kind"},
		{name: "a list of objects",
			body: `{"kind":"SecureValueList","apiVersion":"secret.grafana.app/v1beta1","items":[` +
				withSpec(`{"description":"d","value":"CANARY"}`) + `]}`},
		{name: "unknown field, strict", query: "?fieldValidation=Strict",
			body: spec(`"description":"d","valve":"CANARY"`), text: `unknown field "spec.valve"`},
		{name: "unknown field at the top, strict", query: "?fieldValidation=Strict",
			body: `{"metadata":{"name":"bad"},"value":"CANARY","spec":{"description":"d","value":"CANARY"}}`,
			text: `unknown field "value"`},
		{name: "field of another case, strict", query: "?fieldValidation=Strict",
			body: spec(`"description":"d","Value":"CANARY"`), text: `unknown field "spec.Value"`},
		{name: "value twice, strict", query: "?fieldValidation=Strict",
			body: spec(`"description":"d","value":"CANARY"`), text: `duplicate field "spec.value"`},
		{name: "description twice, strict", query: "?fieldValidation=Strict",
			body: spec(`"description":"d","description":"e"`), text: `duplicate field "spec.description"`},
	}
}

func indexed(n int) []string {
	paths := make([]string, 0, n)
	for i := range n {
		paths = append(paths, fmt.Sprintf("spec.decrypters[%d]", i))
	}
	return paths
}

// badNames are faults of the name, which only a create can have, and of a PUT whose name is not the URL's.
func badNames() []bad {
	name := []string{"metadata.name"}
	generated := []string{"metadata.generateName", "metadata.name"}
	put := http.MethodPut
	var cases []bad
	for _, odd := range []string{".", "a/b", "a;b", "A", " a", "a ", `a\n`, `a\u200b`, "-a", "a..b"} {
		cases = append(cases, bad{name: "named " + odd, body: withMeta(`{"name":"` + odd + `"}`), causes: name})
	}
	for _, odd := range []string{"K6-cloud", " k6-cloud", "k6-cloud ", `k6-cloud\n`, "k6–cloud", "k6-cloud/", "*", `k6-cloud\u0000`, "ｋ6-cloud"} {
		cases = append(cases, bad{name: "decrypter " + odd, causes: []string{"spec.decrypters[0]"},
			body: withSpec(`{"description":"d","value":"CANARY","decrypters":["` + odd + `"]}`)})
	}
	return append(cases, []bad{
		{name: "no metadata", body: `{"spec":{"description":"d","value":"CANARY"}}`, causes: name},
		{name: "no name", body: withMeta(`{}`), causes: name},
		{name: "empty name", body: withMeta(`{"name":""}`), causes: name},
		{name: "null name", body: withMeta(`{"name":null}`), causes: name},
		{name: "a number", body: withMeta(`{"name":DIGITS}`), text: "metadata.name must be a string"},
		{name: "upper case", body: withMeta(`{"name":"UPPER"}`), causes: name},
		{name: "dots", body: withMeta(`{"name":".."}`), causes: name},
		{name: "a path", body: withMeta(`{"name":"../kept"}`), causes: name},
		{name: "an escaped slash", body: withMeta(`{"name":"a%2fb"}`), causes: name},
		{name: "a space", body: withMeta(`{"name":"a b"}`), causes: name},
		{name: "a NUL", body: withMeta(`{"name":"a\u0000b"}`), causes: name},
		{name: "a letter outside ASCII", body: withMeta(`{"name":"schlüssel"}`), causes: name},
		{name: "254 characters", body: withMeta(`{"name":"` + strings.Repeat("n", 254) + `"}`), causes: name},
		{name: "500 characters", body: withMeta(`{"name":"` + strings.Repeat("n", 500) + `"}`), causes: name},
		{name: "empty generateName", body: withMeta(`{"generateName":""}`), causes: name},
		{name: "generateName in upper case", body: withMeta(`{"generateName":"UPPER"}`), causes: generated},
		{name: "generateName too long", body: withMeta(`{"generateName":"` + strings.Repeat("n", 254) + `"}`),
			causes: generated[:1]},
		{name: "PUT without a name", method: put, body: withMeta(`{}`), text: "name must be provided"},
		{name: "PUT of another name", method: put, body: withMeta(`{"name":"other"}`),
			text: "does not match the name on the URL"},
		{name: "PUT of another uid", method: put, body: withMeta(`{"name":"kept","uid":"CANARY"}`),
			code: http.StatusConflict, reason: metav1.StatusReasonConflict,
			text: "read it again"},
		{name: "PUT of an old resourceVersion", method: put, body: withMeta(`{"name":"kept","resourceVersion":"1"}`),
			code: http.StatusConflict, reason: metav1.StatusReasonConflict},
		{name: "PUT of no resourceVersion", method: put, body: withMeta(`{"name":"kept","resourceVersion":"x"}`),
			causes: []string{"metadata.resourceVersion"}},
		{name: "a resourceVersion", body: withMeta(`{"name":"bad","resourceVersion":"12"}`),
			causes: []string{"metadata.resourceVersion"}},
		{name: "a resourceVersion and more",
			body:   `{"metadata":{"name":"bad","resourceVersion":"CANARY"},"spec":{"ref":"CANARY"}}`,
			causes: []string{"metadata.resourceVersion", "spec.description", "spec.ref", "spec.value"}},
		{name: "a resourceVersion, dry run", query: "?dryRun=All",
			body:   withMeta(`{"name":"bad","resourceVersion":"12"}`),
			causes: []string{"metadata.resourceVersion"}},
		{name: "taken", body: withMeta(`{"name":"kept"}`), code: http.StatusConflict,
			reason: metav1.StatusReasonAlreadyExists},
	}...)
}

// badMediaTypes are bodies in a format that is not served; PATCH knows no default.
func badMediaTypes() []bad {
	good := withSpec(`{"description":"d","value":"CANARY"}`)
	reason, code := metav1.StatusReasonUnsupportedMediaType, http.StatusUnsupportedMediaType
	var cases []bad
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/cbor",
		"no/such;;x", "application/json;;", "multipart/form-data; boundary=x", mergeType} {
		cases = append(cases,
			bad{name: "POST " + contentType, contentType: contentType, body: good, code: code, reason: reason},
			bad{name: "PUT " + contentType, method: http.MethodPut, contentType: contentType, body: good, code: code,
				reason: reason})
	}
	for _, contentType := range []string{"none", jsonType, yamlType, "text/plain", protoType,
		"application/apply-patch+cbor"} {
		cases = append(cases, bad{name: "PATCH " + contentType, method: http.MethodPatch, contentType: contentType,
			body: good, code: code, reason: reason})
	}
	return cases
}

// badOptions keep the library's 422, which speaks of the options and not of the object (architecture.md, "invalid
// input").
func badOptions() []bad {
	good := withSpec(`{"description":"d","value":"CANARY"}`)
	invalid := http.StatusUnprocessableEntity
	return []bad{
		{name: "fieldValidation", query: "?fieldValidation=Bogus", body: good, code: invalid,
			causes: []string{"fieldValidation"}},
		{name: "dryRun", query: "?dryRun=bogus", body: good, code: invalid, causes: []string{"dryRun"}},
		{name: "force without apply", method: http.MethodPatch, contentType: mergeType, query: "?force=true",
			body: `{"spec":{"value":"CANARY"}}`, code: invalid, causes: []string{"force"}},
		{name: "apply without a manager", method: http.MethodPatch, contentType: applyType, body: good, code: invalid,
			causes: []string{"fieldManager"}},
		{name: "manager not printable", query: "?fieldManager=%01", body: good, code: invalid,
			causes: []string{"fieldManager"}},
		{name: "propagationPolicy", method: http.MethodDelete, query: "?propagationPolicy=x", code: invalid,
			causes: []string{"propagationPolicy"},
			text:   "propagationPolicy: Unsupported value: supported values: "},
		{name: "propagationPolicy in a body", method: http.MethodDelete, body: `{"propagationPolicy":"CANARY"}`,
			code: invalid, causes: []string{"propagationPolicy"}},
		{name: "dryRun in a body", method: http.MethodDelete, body: `{"dryRun":["CANARY"]}`, code: invalid,
			causes: []string{"dryRun"}},
		{name: "gracePeriodSeconds no number", method: http.MethodDelete, query: "?gracePeriodSeconds=x",
			text: "a query parameter has the wrong type"},
		{name: "gracePeriodSeconds a string", method: http.MethodDelete, body: `{"gracePeriodSeconds":"CANARY"}`,
			text: "must be DeleteOptions"},
		{name: "preconditions a string", method: http.MethodDelete, body: `{"preconditions":"CANARY"}`,
			text: "must be DeleteOptions"},
		{name: "DELETE with another kind", method: http.MethodDelete, body: `{"kind":"CANARY","apiVersion":"v1"}`,
			text: "must be DeleteOptions"},
		{name: "DELETE with YAML", method: http.MethodDelete, contentType: yamlType,
			body: "gracePeriodSeconds: CANARY\n", text: "must be DeleteOptions"},
		{name: "DELETE with protobuf", method: http.MethodDelete, contentType: protoType, body: "k8s\x00CANARY",
			text: "must be DeleteOptions"},
		{name: "DELETE of another uid", method: http.MethodDelete, body: `{"preconditions":{"uid":"CANARY"}}`,
			code: http.StatusConflict, reason: metav1.StatusReasonConflict,
			text: "read it again"},
		{name: "DELETE of another resourceVersion", method: http.MethodDelete,
			body: `{"preconditions":{"resourceVersion":"CANARY"}}`,
			code: http.StatusConflict, reason: metav1.StatusReasonConflict, text: "read it again"},
		{name: "DELETE of another uid, dry run", method: http.MethodDelete,
			body: `{"dryRun":["All"],"preconditions":{"uid":"CANARY"}}`,
			code: http.StatusConflict, reason: metav1.StatusReasonConflict, text: "read it again"},
		{name: "DELETE with half a body", method: http.MethodDelete, body: `{"preconditions":`},
		{name: "DELETE with a SecureValue", method: http.MethodDelete,
			body: `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","spec":{"value":"CANARY"}}`},
	}
}
