// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// badPatches are patches of the object "kept", all of them under strict field validation.
func badPatches() []bad {
	cases := mergePatches(mergeType)
	cases = append(cases, mergePatches(stratType)...)
	cases = append(cases, strategicDirectives()...)
	cases = append(cases, jsonPatches()...)
	cases = append(cases, applyPatches()...)
	for i := range cases {
		c := &cases[i]
		c.method = http.MethodPatch
		c.query = "?fieldValidation=Strict&fieldManager=test"
		if c.contentType == applyType {
			c.query += "&force=true"
		}
		c.name = c.contentType + " " + c.name
		if len(c.causes) == 0 && c.reason == "" && c.code == 0 {
			// What does not fit the stored object is a fault of the patch.
			c.causes = []string{"patch"}
		}
	}
	return cases
}

// mergePatches are wrong in both formats that look like the object.
func mergePatches(contentType string) []bad {
	value, description := []string{"spec.value"}, []string{"spec.description"}
	cases := []bad{
		{name: "an empty value", body: `{"spec":{"value":""}}`, causes: value},
		{name: "no description", body: `{"spec":{"description":null,"value":"CANARY"}}`, causes: description},
		{name: "no spec", body: `{"spec":null}`, causes: description},
		{name: "26 characters", body: `{"spec":{"description":"abcdefghijklmnopqrstuvwxyz","value":"CANARY"}}`,
			causes: description},
		{name: "a description of digits", body: `{"spec":{"description":DIGITS,"value":"CANARY"}}`},
		{name: "an unlisted decrypter", body: `{"spec":{"decrypters":["nobody"],"value":"CANARY"}}`,
			causes: []string{"spec.decrypters[0]"}},
		{name: "decrypters that are a string", body: `{"spec":{"decrypters":"CANARY","value":"CANARY"}}`},
		{name: "an unknown field", body: `{"spec":{"valve":"CANARY","value":"CANARY"}}`,
			text: `unknown field "spec.valve"`},
		{name: "a ref", body: `{"spec":{"ref":"CANARY"}}`, causes: []string{"spec.ref"}},
		{name: "a ref beside a value", body: `{"spec":{"ref":"CANARY","value":"CANARY"}}`,
			causes: []string{"spec.ref"}},
		{name: "a keeper", body: `{"spec":{"keeper":"CANARY"}}`, causes: []string{"spec.keeper"}},
		{name: "another name", body: `{"metadata":{"name":"other"},"spec":{"value":"CANARY"}}`},
		{name: "another namespace", body: `{"metadata":{"namespace":"other"},"spec":{"value":"CANARY"}}`},
		{name: "resourceVersion no number", body: `{"metadata":{"resourceVersion":"x"},"spec":{"value":"CANARY"}}`,
			causes: []string{"metadata.resourceVersion"}},
		{name: "an old resourceVersion", body: `{"metadata":{"resourceVersion":"1"},"spec":{"value":"CANARY"}}`,
			code: http.StatusConflict, reason: metav1.StatusReasonConflict},
		{name: "a decrypter more", body: `{"spec":{"decrypters":["k6-cloud","synthetic-monitoring"]}}`,
			code: http.StatusForbidden, reason: metav1.StatusReasonForbidden},
	}
	if contentType == mergeType {
		cases = append(cases, bad{name: "another kind", body: `{"kind":"Secret","spec":{"value":"CANARY"}}`,
			text: "apiVersion and kind"})
	}
	for i := range cases {
		cases[i].contentType = contentType
	}
	return cases
}

// strategicDirectives are instructions that the format knows beyond fields.
func strategicDirectives() []bad {
	return []bad{
		{name: "an unknown $patch", contentType: stratType, body: `{"spec":{"$patch":"CANARY"}}`},
		{name: "$patch delete", contentType: stratType, body: `{"$patch":"delete"}`},
		{name: "$retainKeys", contentType: stratType, body: `{"spec":{"$retainKeys":["CANARY"]}}`,
			causes: []string{"spec.description"}},
	}
}

func jsonPatches() []bad {
	value := []string{"spec.value"}
	cases := []bad{
		{name: "a ref", body: `[{"op":"add","path":"/spec/ref","value":"CANARY"}]`, causes: []string{"spec.ref"}},
		{name: "an empty value", body: `[{"op":"add","path":"/spec/value","value":""}]`, causes: value},
		{name: "an unknown operation", body: `[{"op":"CANARY","path":"/spec/value","value":"CANARY"}]`},
		{name: "removing what is not there", body: `[{"op":"remove","path":"/spec/CANARY"}]`},
		{name: "removing the value", body: `[{"op":"remove","path":"/spec/value"}]`},
		{name: "testing the value", body: `[{"op":"test","path":"/spec/value","value":"CANARY"}]`},
		{name: "testing the description",
			body: `[{"op":"test","path":"/spec/description","value":"CANARY"},{"op":"add","path":"/spec/value",` +
				`"value":"CANARY"}]`},
		{name: "a decrypter behind the end",
			body: `[{"op":"add","path":"/spec/value","value":"CANARY"},{"op":"add","path":"/spec/decrypters/99",` +
				`"value":"k6-cloud"}]`},
		{name: "a word in place of the object", body: `[{"op":"replace","path":"","value":"CANARY"}]`},
		{name: "a path without a slash", body: `[{"op":"add","path":"CANARY","value":"CANARY"}]`},
		{name: "an unknown field", body: `[{"op":"add","path":"/spec/valve","value":"CANARY"}]`,
			text: `unknown field "spec.valve"`},
		{name: "no description",
			body:   `[{"op":"remove","path":"/spec/description"},{"op":"add","path":"/spec/value","value":"CANARY"}]`,
			causes: []string{"spec.description"}},
		{name: "a description of digits", body: `[{"op":"replace","path":"/spec/description","value":DIGITS}]`},
		{name: "a decrypter twice",
			body: `[{"op":"add","path":"/spec/decrypters/-","value":"k6-cloud"},{"op":"add","path":"/spec/value",` +
				`"value":"CANARY"}]`, causes: []string{"spec.decrypters[1]"}},
	}
	for i := range cases {
		cases[i].contentType = patchType
	}
	return cases
}

func applyPatches() []bad {
	const head = "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata: {name: kept}\n"
	value := []string{"spec.value"}
	cases := []bad{
		{name: "an empty value", body: head + "spec: {description: d, value: \"\"}\n", causes: value},
		{name: "a ref", body: head + "spec: {description: d, ref: CANARY}\n", causes: []string{"spec.ref"}},
		{name: "a keeper beside a value", body: head + "spec: {description: d, value: CANARY, keeper: system}\n",
			causes: []string{"spec.keeper"}},
		{name: "26 characters", body: head + "spec: {description: abcdefghijklmnopqrstuvwxyz, value: CANARY}\n",
			causes: []string{"spec.description"}},
		{name: "a description of digits", body: head + "spec: {description: DIGITS, value: CANARY}\n"},
		{name: "an unknown field", body: head + "spec: {description: d, value: CANARY, valve: CANARY}\n"},
		{name: "decrypters that are a string", body: head +
			"spec: {description: d, value: CANARY, decrypters: CANARY}\n"},
		{name: "value twice", body: head + "spec: {description: d, value: CANARY, value: CANARY}\n"},
		{name: "no kind", body: "spec: {description: d, value: CANARY}\n"},
		{name: "another kind", body: "apiVersion: secret.grafana.app/v1beta1\nkind: Secret\nmetadata: {name: " +
			"kept}\nspec: {description: d, value: CANARY}\n"},
		{name: "another name", body: "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata: {name: " +
			"other}\nspec: {description: d, value: CANARY}\n"},
		{name: "managedFields", body: "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata: {name: " +
			"kept, managedFields: [{manager: CANARY}]}\nspec: {description: d, value: CANARY}\n"},
	}
	for i := range cases {
		cases[i].contentType = applyType
	}
	return cases
}
