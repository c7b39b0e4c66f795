// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// person runs kubectl in one namespace.
type person struct {
	t         *testing.T
	suite     *suite
	namespace string
	token     string   // "" is the admin's
	env       []string // beside the test's own
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// person returns the admin in a namespace of the test's own.
func (s *suite) person(t *testing.T) *person {
	t.Helper()
	name := notInNames.ReplaceAllString(strings.ToLower(t.Name()), "-")
	return &person{t: t, suite: s, namespace: strings.Trim(name[max(0, len(name)-60):], "-")}
}

// in is the same person in a subtest.
func (p *person) in(t *testing.T) *person {
	t.Helper()
	q := *p
	q.t = t
	return &q
}

// answer is what kubectl printed.
type answer struct {
	out, errs string
	code      int
}

// command prepares kubectl with the arguments.
func (p *person) command(args ...string) *exec.Cmd {
	all := []string{"--kubeconfig=" + p.suite.Kubeconfig, "--namespace=" + p.namespace}
	if p.token != "" {
		all = append(all, "--token="+p.token)
	}
	command := exec.CommandContext(p.t.Context(), p.suite.kubectlFile, append(all, args...)...)
	command.Env = append(append(command.Environ(), "HOME="+p.suite.home, "KUBECONFIG=", "KUBECTL_EXTERNAL_DIFF="),
		p.env...)
	return command
}

// kubectl runs kubectl and fails the test when it prints a value.
func (p *person) kubectl(stdin string, args ...string) answer {
	p.t.Helper()
	a := p.unchecked(stdin, args...)
	p.suite.clean(p.t, "the output of kubectl "+strings.Join(args, " "), a.out+a.errs)
	return a
}

func (p *person) unchecked(stdin string, args ...string) answer {
	p.t.Helper()
	command := p.command(args...)
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return answer{out: out.String(), errs: errs.String(), code: command.ProcessState.ExitCode()}
}

// must runs kubectl, which has to succeed without a warning, and returns its output.
func (p *person) must(stdin string, args ...string) string {
	p.t.Helper()
	a := p.kubectl(stdin, args...)
	if a.code != 0 || a.errs != "" {
		p.t.Fatalf("kubectl %v: exit code %d\n%s%s", args, a.code, a.out, a.errs)
	}
	return a.out
}

// refused runs kubectl, which has to fail, and returns what it said.
func (p *person) refused(stdin string, args ...string) string {
	p.t.Helper()
	a := p.kubectl(stdin, args...)
	if a.code == 0 {
		p.t.Fatalf("kubectl %v: want a refusal, got\n%s%s", args, a.out, a.errs)
	}
	return a.errs
}

// want fails the test unless kubectl prints each text.
func (p *person) want(texts []string, args ...string) {
	p.t.Helper()
	contains(p.t, p.must("", args...), texts...)
}

// field reads one field of an object.
func (p *person) field(name, path string) string {
	p.t.Helper()
	return p.must("", "get", "sv", name, "-o", "jsonpath="+path)
}

// version is how many values the object x has had.
func (p *person) version() string {
	p.t.Helper()
	return p.field("x", "{.status.version}")
}

func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("want %q in\n%s", w, text)
		}
	}
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// manifest is a SecureValue as people write it.
type manifest struct {
	name, description, value string
	decrypters               []string
	labels, annotations      map[string]string
	resourceVersion          string
}

// String is the manifest as JSON, which is YAML too.
func (m manifest) String() string {
	metadata := map[string]any{"name": m.name}
	spec := map[string]any{"description": "made by a test"}
	set := func(object map[string]any, key string, value any, given bool) {
		if given {
			object[key] = value
		}
	}
	set(metadata, "labels", m.labels, m.labels != nil)
	set(metadata, "annotations", m.annotations, m.annotations != nil)
	set(metadata, "resourceVersion", m.resourceVersion, m.resourceVersion != "")
	set(spec, "description", m.description, m.description != "")
	set(spec, "value", m.value, m.value != "")
	set(spec, "decrypters", m.decrypters, m.decrypters != nil)
	text, _ := json.Marshal(map[string]any{ // strings always marshal
		"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValue", "metadata": metadata, "spec": spec,
	})
	return string(text) + "\n"
}

// create stores a manifest, with a new value if it has none.
func (p *person) create(m manifest) {
	p.t.Helper()
	if m.value == "" {
		m.value = p.suite.secret()
	}
	p.must(m.String(), "create", "--validate=strict", "-f", "-")
}
