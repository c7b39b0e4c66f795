// SPDX-License-Identifier: Apache-2.0

package sealedvalues

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/sealing"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// flip changes one character of a text, from its end.
func flip(text string, fromEnd int) string {
	at, other := len(text)-fromEnd, "A"
	if text[at] == 'A' {
		other = "B"
	}
	return text[:at] + other + text[at+1:]
}

func TestTextsThatAreRefused(t *testing.T) {
	a := start(t)
	value := a.canary()
	good := a.seal(t, value, binding("one"))
	parts := strings.Split(good, ":")
	moved := func(edit func(*sealing.Binding)) string {
		b := binding("one")
		edit(&b)
		return a.seal(t, value, b)
	}
	strange, err := sealing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	const notForThis = "does not open here"
	texts := map[string]struct{ text, detail string }{
		"of another namespace": {moved(func(b *sealing.Binding) { b.Namespace = "other" }), notForThis},
		"of another name":      {moved(func(b *sealing.Binding) { b.Name = "other" }), notForThis},
		"for other readers":    {moved(func(b *sealing.Binding) { b.Decrypters = []string{"synthetic-monitoring"} }), notForThis},
		"for more readers": {moved(func(b *sealing.Binding) { b.Decrypters = append(b.Decrypters, "synthetic-monitoring") }),
			notForThis},
		"expired":                    {moved(func(b *sealing.Binding) { b.NotAfter = yesterday }), notForThis},
		"with a date added":          {strings.Join([]string{parts[0], parts[1], "4102444800", parts[3]}, ":"), notForThis},
		"flipped in its tag":         {flip(good, 6), notForThis},
		"flipped in its ciphertext":  {flip(good, 100), notForThis},
		"flipped in its key":         {flip(good, len(parts[3])-10), notForThis},
		"truncated":                  {good[:len(good)-8], notForThis},
		"truncated to a few bytes":   {good[:len(good)-len(parts[3])+8], notForThis},
		"of a key of another server": {sealTo(t, strange.Public().Bytes(), value, binding("one")), "its sealing key is not on"},
		"of an unknown suite":        {"sv2" + good[3:], "suite"},
		"without a part":             {parts[0] + ":" + parts[1] + ":" + parts[3], "four parts"},
		"too long":                   {good + strings.Repeat("A", 40<<10), "40960"},
		"with padding":               {good + "=", "base64url"},
		"with a line break":          {good + "\n", "base64url"},
		"with nothing inside":        {a.seal(t, "", binding("one")), "must not be empty"},
		"with too long a value":      {a.seal(t, strings.Repeat("x", 24577), binding("one")), "24576"},
		"with bytes, not text":       {a.seal(t, "\xff\xfe", binding("one")), "UTF-8"},
	}
	a.create(t, manifest(t, "stored", a.seal(t, value, binding("stored")))).Want(t, http.StatusCreated)
	before := a.state(t, "stored")
	answers := map[string]string{}
	for name, tt := range texts {
		refused := a.create(t, manifest(t, "one", tt.text)).Want(t, http.StatusBadRequest)
		status := refused.Status(t)
		if status.Details == nil || len(status.Details.Causes) != 1 || status.Details.Causes[0].Field != "spec.sealedValue" ||
			!strings.Contains(status.Message, tt.detail) {
			t.Errorf("%s: %s", name, refused.Body)
		}
		if strings.Contains(string(refused.Body), tt.text[len(tt.text)-20:]) {
			t.Errorf("%s: the answer quotes the text", name)
		}
		if tt.detail == notForThis {
			answers[string(refused.Body)] = name
		}
		a.patch(t, "stored", `{"spec":{"sealedValue":"`+strings.ReplaceAll(tt.text, "\n", `\n`)+`"}}`).
			Want(t, http.StatusBadRequest)
	}
	if len(answers) != 1 {
		t.Errorf("texts that do not open are told apart by %d answers", len(answers))
	}
	if after := a.state(t, "stored"); after != before {
		t.Errorf("refused patches changed the object: %+v, was %+v", after, before)
	}
	for name, body := range map[string]string{
		"both fields":  manifest(t, "one", good, with("value", value)),
		"generateName": strings.Replace(manifest(t, "one", good), `"name":"one"`, `"generateName":"one-"`, 1),
	} {
		refused := a.create(t, body).Want(t, http.StatusBadRequest)
		if !strings.Contains(string(refused.Body), "spec.sealedValue") {
			t.Errorf("%s: %s", name, refused.Body)
		}
	}
	// All other faults come in the same answer.
	several := a.create(t, manifest(t, "one", flip(good, 6), with("description", ""))).Want(t, http.StatusBadRequest)
	if causes := several.Status(t).Details.Causes; len(causes) != 2 {
		t.Errorf("want both faults: %s", several.Body)
	}
	// The same text after a delete: it is declarative.
	a.create(t, manifest(t, "one", good)).Want(t, http.StatusCreated)
	a.send(t, http.MethodDelete, "one", "", "").Want(t, http.StatusOK)
	a.create(t, manifest(t, "one", good)).Want(t, http.StatusCreated)
	a.wantValue(t, "one", value)
	a.noTrace(t)
}

func TestReseal(t *testing.T) {
	a := start(t)
	value := a.canary()
	b := binding("later")
	b.NotAfter = time.Now().Add(time.Hour).Truncate(time.Second)
	old := a.seal(t, value, b)
	a.tool(t, 0, "sealing-keys", "replace")
	reseal := func(text, name, decrypters string) harness.Response {
		return a.send(t, http.MethodPost, name+"/reseal", "application/json",
			`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValueReseal","spec":{"sealedValue":"`+text+
				`","decrypters":`+decrypters+`}}`)
	}
	answer := reseal(old, "later", `["k6-cloud"]`).Want(t, http.StatusCreated).Object(t)
	text, _ := answer["status"].(map[string]any)["sealedValue"].(string)
	parsed, err := sealing.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.KeyID() != a.keys(t)[0].Name || !parsed.NotAfter().Equal(b.NotAfter) || strings.HasPrefix(old, text[:20]) {
		t.Errorf("resealed to key %s until %s", parsed.KeyID(), parsed.NotAfter())
	}
	a.create(t, manifest(t, "later", text)).Want(t, http.StatusCreated)
	a.wantValue(t, "later", value)
	b.NotAfter = yesterday
	for name, refused := range map[string]harness.Response{
		"another name":   reseal(old, "other", `["k6-cloud"]`),
		"other readers":  reseal(old, "later", `["synthetic-monitoring"]`),
		"expired":        reseal(a.seal(t, value, b), "later", `["k6-cloud"]`),
		"changed":        reseal(flip(old, 6), "later", `["k6-cloud"]`),
		"nothing":        reseal("", "later", `["k6-cloud"]`),
		"no text at all": reseal("plain", "later", `["k6-cloud"]`),
	} {
		if refused.Code != http.StatusBadRequest {
			t.Errorf("%s: code %d, want 400: %s", name, refused.Code, refused.Body)
		}
	}
	nobody := a.Do(t, harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace) + "/later/reseal",
		Token: "token-of-nobody", ContentType: "application/json", Body: "{}"})
	if nobody.Code != http.StatusForbidden {
		t.Errorf("a user without rights: code %d, want 403", nobody.Code)
	}
	a.noTrace(t)
}
