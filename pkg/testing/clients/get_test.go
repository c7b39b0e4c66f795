// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func testGet(t *testing.T, s *suite) {
	t.Helper()
	p := s.person(t)
	p.create(manifest{name: "a", description: "first", decrypters: []string{"k6-cloud"},
		labels: map[string]string{"team": "red"}})
	p.create(manifest{name: "b", description: "second", decrypters: []string{"synthetic-monitoring", "k6-cloud"}})
	p.create(manifest{name: "c", description: "third", labels: map[string]string{"team": "blue"}})
	for _, test := range []struct {
		name string
		args []string
		rows []string // the words of each line; the last one, an age, is left out where it ends in *
	}{
		{"all", []string{"securevalues"}, []string{
			"NAME DESCRIPTION DECRYPTERS VERSION AGE", "a first k6-cloud 1 *",
			"b second synthetic-monitoring,k6-cloud 1 *", "c third <none> 1 *",
		}},
		{"wide", []string{"sv", "c", "-o", "wide"}, []string{
			"NAME DESCRIPTION DECRYPTERS VERSION AGE KEEPER KEY SEALED", "c third <none> 1 * system * <none>",
		}},
		{"short name", []string{"sv", "a", "--no-headers"}, []string{"a first k6-cloud 1 *"}},
		{"singular", []string{"securevalue/a", "--no-headers"}, []string{"a first k6-cloud 1 *"}},
		{"with group", []string{"securevalues.v1beta1.secret.grafana.app", "a", "--no-headers"},
			[]string{"a first k6-cloud 1 *"}},
		{"name", []string{"sv", "-o", "name"}, []string{
			"securevalue.secret.grafana.app/a", "securevalue.secret.grafana.app/b", "securevalue.secret.grafana.app/c",
		}},
		{"all namespaces", []string{"sv", "-A", "--no-headers",
			"--field-selector=metadata.name=a,metadata.namespace=" + p.namespace}, []string{
			p.namespace + " a first k6-cloud 1 *",
		}},
		{"label selector", []string{"sv", "-l", "team=red", "-o", "name"},
			[]string{"securevalue.secret.grafana.app/a"}},
		{"label column", []string{"sv", "-L", "team", "--no-headers", "-l", "team in (blue)"},
			[]string{"c third <none> 1 * blue"}},
		{"by name", []string{"sv", "--field-selector=metadata.name=b", "-o", "name"},
			[]string{"securevalue.secret.grafana.app/b"}},
		{"by decrypter", []string{"sv", "--field-selector=spec.decrypter=k6-cloud", "-o", "name"}, []string{
			"securevalue.secret.grafana.app/a", "securevalue.secret.grafana.app/b",
		}},
		{"in chunks", []string{"sv", "--chunk-size=1", "-o", "name"}, []string{
			"securevalue.secret.grafana.app/a", "securevalue.secret.grafana.app/b", "securevalue.secret.grafana.app/c",
		}},
		{"sorted", []string{"sv", "--sort-by={.spec.description}", "-o",
			"custom-columns=NAME:.metadata.name,VALUE:.spec.value"}, []string{
			"NAME VALUE", "a <none>", "b <none>", "c <none>",
		}},
		{"jsonpath", []string{"sv", "-o", `jsonpath={range .items[*]}{.metadata.name} [{.spec.value}]{"\n"}{end}`},
			[]string{"a []", "b []", "c []"}},
		{"absent", []string{"sv", "absent", "--ignore-not-found"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := p.in(t)
			if diff := cmp.Diff(test.rows, rows(q.must("", append([]string{"get"}, test.args...)...),
				test.rows)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("documents", func(t *testing.T) { testDocuments(t, p) })
	t.Run("watch", func(t *testing.T) { testWatch(t, s) })
}

// rows are the words of each line. A word that is expected to be * may be anything: an age, the name of a key.
func rows(text string, expected []string) []string {
	var all []string
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		words := strings.Fields(line)
		if i < len(expected) {
			for j, word := range strings.Fields(expected[i]) {
				if word == "*" && j < len(words) {
					words[j] = "*"
				}
			}
		}
		if len(words) > 0 {
			all = append(all, strings.Join(words, " "))
		}
	}
	return all
}

// testDocuments reads whole objects.
func testDocuments(t *testing.T, p *person) {
	t.Helper()
	q := p.in(t)
	var object struct {
		Kind string         `json:"kind"`
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal([]byte(q.must("", "get", "sv", "b", "-o", "json")), &object); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"description": "second", "decrypters": []any{"synthetic-monitoring", "k6-cloud"}}
	if diff := cmp.Diff(want, object.Spec); diff != "" || object.Kind != "SecureValue" {
		t.Errorf("kind %q, spec: %s", object.Kind, diff)
	}
	q.want([]string{"kind: SecureValue\n", "  decrypters:\n  - synthetic-monitoring\n  - k6-cloud\n  description: " +
		"second\nstatus:\n"},
		"get", "sv", "b", "-o", "yaml")
	q.want([]string{"kind: List\n", "kind: SecureValue\n"}, "get", "sv", "-o", "yaml")
	q.want([]string{"Name:         b", "Kind:         SecureValue", "Description:  second", "k6-cloud", "Version:  1"},
		"describe", "sv", "b")
	q.want([]string{"Name:         a", "Name:         c"}, "describe", "sv")
	contains(t, q.refused("", "get", "sv", "absent"), "(NotFound)") // kubectl asks for the namespace next
	q.namespace = "default"
	contains(t, q.refused("", "get", "sv", "absent"),
		`Error from server (NotFound): securevalues.secret.grafana.app "absent" not found`)
}

// testWatch follows one object from its creation to its end.
func testWatch(t *testing.T, s *suite) {
	t.Helper()
	p := s.person(t)
	p.create(manifest{name: "already-there"})
	command := p.command("get", "sv", "--watch", "--output-watch-events", "-o", "json", "--request-timeout=2m")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	next := events(t, s, json.NewDecoder(out))
	types := []string{next()} // from here on kubectl watches
	p.create(manifest{name: "watched"})
	p.must("", "label", "sv", "watched", "seen=yes")
	p.must("", "delete", "sv", "watched")
	for range 3 {
		types = append(types, next())
	}
	want := []string{"ADDED already-there", "ADDED watched", "MODIFIED watched", "DELETED watched"}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Error(diff)
	}
}

// events returns a function that waits for the next watch event and names it.
func events(t *testing.T, s *suite, decoder *json.Decoder) func() string {
	t.Helper()
	return func() string {
		t.Helper()
		var event struct {
			Type   string                       `json:"type"`
			Object metav1.PartialObjectMetadata `json:"object"`
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			t.Fatalf("waiting for a watch event: %v", err)
		}
		s.clean(t, "a watch event", string(raw))
		if err := json.Unmarshal(raw, &event); err != nil {
			t.Fatal(err)
		}
		return event.Type + " " + event.Object.Name
	}
}
