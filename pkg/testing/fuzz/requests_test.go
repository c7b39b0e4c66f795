// SPDX-License-Identifier: Apache-2.0

package fuzz

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patches are the ways to write a body; FuzzPatch takes one by its number.
var patches = []struct{ method, path, contentType string }{
	{http.MethodPatch, "/one", "application/merge-patch+json"},
	{http.MethodPatch, "/one", "application/json-patch+json"},
	{http.MethodPatch, "/one?fieldManager=fuzz&force=true", "application/apply-patch+yaml"},
	{http.MethodPatch, "/one?fieldValidation=Strict", "application/merge-patch+json"},
	{http.MethodPut, "/one?fieldValidation=Strict", "application/json"},
	{http.MethodPut, "/one", "application/yaml"},
	{http.MethodPost, "?dryRun=All", "application/vnd.kubernetes.protobuf"},
	{http.MethodPost, "/one/rewrap", "application/json"},
	{http.MethodDelete, "/one?dryRun=All", "application/json"},
}

// FuzzPatch sends bodies to every handler that writes. Whatever they are, the server answers below 500, neither the
// stored value nor a ciphertext comes out, and a value in the body is not repeated, unless the body puts it where it is
// no secret as well.
func FuzzPatch(f *testing.F) {
	for _, body := range []string{
		`{"spec":{"value":"` + written + `"}}`, `{"spec":{"value":["` + written + `"]}}`, `{"spec":{"value":"` +
			written, `{"metadata":{"labels":{"a":null}}}`,
		`{"spec":{"description":"` + strings.Repeat("x", 26) + `","value":"` + written + `"}}`,
		`{"spec":{"value":1,"value":"` + written + `"}}`,
		`{"spec":` + strings.Repeat("[", 120) + strings.Repeat("]", 120) + `}`, "{\"spec\":{\"value\":\"\xff" +
			written + `"}}`,
		`[{"op":"copy","from":"/spec/value","path":"/metadata/labels/x"}]`,
		`[{"op":"move","from":"/spec","path":"/metadata/annotations"}]`,
		`[{"op":"test","path":"/spec/value","value":"` + written + `"}]`,
		`[{"op":"add","path":"/spec/value","value":"` + written + `"}]`,
		`[{"op":"copy","from":"/sealed","path":"/spec/description"}]`,
		`[{"op":"add","path":"/spec/decrypters/9","value":"k6-cloud"}]`,
		"apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata: {name: one}\nspec: {description: d, " +
			"value: " + written + "}\n",
		"spec: &a {value: " + written + ", x: *a}", "spec: {value: !!binary " + written + "}",
		"metadata: {managedFields: [{fieldsType: FieldsV1, fieldsV1: {'f:x': {}}}]}",
		"k8s\x00\n\x22\n\x19secret.grafana.app/v1beta1\x12\x0bSecureValue\x12\x10" + written,
		`{"metadata":{"resourceVersion":"1","uid":"x"}}`,
		`{"metadata":{"finalizers":["x"],"ownerReferences":[{}],"deletionTimestamp":"2020-01-01T00:00:00Z"},` +
			`"status":{"version":-1}}`,
	} {
		for kind := range patches {
			f.Add(uint8(kind), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		server, patch := start(t), patches[int(kind)%len(patches)]
		all := harness.Collection("default")
		code, answer, err := server.do(server.api, server.token, patch.method, all+patch.path, patch.contentType, body)
		if err != nil {
			t.Fatal(err)
		}
		if code >= 500 {
			t.Fatalf("%d: %s", code, answer)
		}
		_, now, err := server.do(server.api, server.token, http.MethodGet, all+"/one", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{answer, now} {
			if found := harness.Find(text, stored, served); len(found) > 0 {
				t.Fatalf("%d: the answer holds %v: %s", code, found, text)
			}
			if bytes.Contains(text, []byte("k8s:enc:")) || bytes.Contains(text, []byte(`"sealed"`)) {
				t.Fatalf("%d: a ciphertext is in %s", code, text)
			}
			if bytes.Contains(text, []byte(written)) && !elsewhere(body) && !elsewhere(now) {
				t.Fatalf("%d: the value of the request is in %s", code, text)
			}
		}
	})
}

// elsewhere says whether a body has the mark anywhere but in spec.value: in a label or a name it may be repeated.
func elsewhere(body []byte) bool {
	var tree any
	if yaml.Unmarshal(body, &tree) != nil {
		return false
	}
	switch root := tree.(type) {
	case map[string]any:
		if spec, ok := root["spec"].(map[string]any); ok {
			delete(spec, "value")
		}
	case []any:
		for _, operation := range root {
			if op, ok := operation.(map[string]any); ok && op["path"] == "/spec/value" {
				delete(op, "value")
			}
		}
	default:
		return false // no decoder takes a bare text
	}
	rest, err := json.Marshal(tree)
	return err != nil || bytes.Contains(rest, []byte(written))
}

// FuzzFieldSelector asks lists with selectors. A selector is 200 or 400, and never a question about a value: with the
// stored value in it the answer is that to any other text of the same length.
func FuzzFieldSelector(f *testing.F) {
	for _, selector := range []string{
		"", "metadata.name=one", "metadata.name!=one,spec.decrypter=k6-cloud", "spec.value=@", "spec.value!=@",
		"spec.value==@,metadata.name=one", "sealed=@",
		"metadata.name=@", "spec.decrypter=@", "status.key=@", "=", "==", ",", "a", "a=b,", `metadata.name=a\,b`,
		`a=\`, "spec..value=@", "metadata.namespace=default", "@",
	} {
		f.Add(selector, false)
		f.Add(selector, true)
	}
	other := strings.Map(likewise, stored)
	f.Fuzz(func(t *testing.T, selector string, labels bool) {
		server := start(t)
		parameter := "fieldSelector"
		if labels {
			parameter = "labelSelector"
		}
		answers := map[string]string{}
		for _, guess := range []string{stored, other} {
			query := "?" + parameter + "=" + url.QueryEscape(strings.ReplaceAll(selector, "@", guess))
			code, answer, err := server.do(server.api, server.token, http.MethodGet,
				harness.Collection("default")+query, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if code != http.StatusOK && code != http.StatusBadRequest {
				t.Fatalf("%d %s", code, answer)
			}
			if !strings.Contains(selector, "@") && len(harness.Find(answer, stored, served)) > 0 {
				t.Fatalf("the answer holds a value: %s", answer)
			}
			_, body, _ := strings.Cut(string(answer), "{")
			answers[guess] = strings.ReplaceAll(body, guess, "@")
		}
		if answers[stored] != answers[other] {
			t.Fatalf("the right guess is told from a wrong one:\n%s\n%s", answers[stored], answers[other])
		}
	})
}

// likewise is another character that every parser treats alike.
func likewise(r rune) rune {
	switch r {
	case 'z', 'Z', '9':
		return r - 1
	case '-':
		return r
	}
	return r + 1
}

// decrypts are the ways to ask for values; FuzzDecryptRequest takes one by its number.
var decrypts = []string{"application/json", "application/proto", "application/grpc", "application/grpc+json",
	"application/grpc-web+json", "application/connect+json"}

// unauthenticated is what protocols that answer 200 to everything say in its place.
var unauthenticated = regexp.MustCompile(`(?i)grpc-status: 16|"unauthenticated"`)

// FuzzDecryptRequest sends bodies to the decrypt port as a service that may have one value of two. It never gets the
// other one, and without credentials nothing.
func FuzzDecryptRequest(f *testing.F) {
	for _, body := range []string{
		`{"namespace":"default","names":["open","one"]}`, `{"namespace":"default","names":["one"]}`,
		`{"namespace":"default"}`, `{}`, ``, `[]`, `null`,
		`{"namespace":"default","names":["one","one","../one","one\u0000"],"names":["open"]}`,
		"\n\x07default\x12\x04open\x12\x03one", "\n\xff\xff\xff\xff\x0f",
		"\x00\x00\x00\x00\x13\n\x07default\x12\x04open\x12\x03one", "\x01\x00\x00\x00\x02{}", written,
		`{"namespace":["` + written + `"]}`, `{"names":"` + written, `{"names":[` + written + `]}`,
		"\x00\xff\xff\xff\xff", "\x80\x00\x00\x00\x00",
		"\x00\x00\x00\x00\x2e" + `{"namespace":"default","names":["open","one"]}`,
	} {
		for kind := range decrypts {
			f.Add(uint8(kind), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		server := start(t)
		for _, token := range []string{k6Token, "wrong", server.token} {
			code, answer, err := server.do(server.decrypt, token, http.MethodPost,
				"/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues", decrypts[int(kind)%len(decrypts)], body)
			if err != nil {
				t.Fatal(err)
			}
			if code >= 500 && code != http.StatusNotImplemented { // an encoding that is not known
				t.Fatalf("%d %s", code, answer)
			}
			if found := harness.Find(answer, stored); len(found) > 0 {
				t.Fatalf("%s is given a value that is not for it: %s", token, answer)
			}
			if bytes.Contains(answer, []byte(written)) {
				t.Fatalf("the answer repeats the request: %s", answer) // marked text is never a valid name
			}
			if found := harness.Find(answer, served); len(found) > 0 && token != k6Token {
				t.Fatalf("%s is given a value: %s", token, answer)
			}
			if token == "wrong" && code == http.StatusOK && !unauthenticated.Match(answer) {
				t.Fatalf("wrong credentials: %d %s", code, answer)
			}
		}
	})
}
