// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

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
