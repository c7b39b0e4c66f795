// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// testDiscovery asks what the server has.
func testDiscovery(t *testing.T, s *suite) {
	t.Helper()
	p := s.person(t)
	p.create(manifest{name: "x"})
	resources := strings.Join(strings.Fields(p.must("", "api-resources", "--api-group=secret.grafana.app", "-o",
		"wide")), " ")
	contains(t, resources, "securevalues sv secret.grafana.app/v1beta1 true SecureValue "+
		"create,delete,deletecollection,get,list,patch,update,watch")
	contains(t, p.must("", "api-versions"), "secret.grafana.app/v1beta1\n", "authorization.k8s.io/v1\n")
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"explain", "sv"}, []string{"GROUP:      secret.grafana.app", "KIND:       SecureValue",
			"VERSION:    v1beta1", "that can be written and never read", "spec\t<SecureValueSpec> -required-"}},
		{[]string{"explain", "sv.spec"}, []string{"description\t<string> -required-", "value\t<string>",
			"decrypters\t<[]string>"}},
		{[]string{"explain", "securevalues.spec.value"}, []string{"FIELD: value <string>", "Write-only"}},
		{[]string{"explain", "sv", "--recursive"},
			[]string{"  spec\t<SecureValueSpec> -required-\n    decrypters\t<[]string>\n    description\t<string> " +
				"-required-\n    keeper\t<string>\n    ref\t<string>\n    sealedValue\t<string>\n    value\t<string>\n",
				"    version\t<integer>"}},
		{[]string{"explain", "sv.status", "--api-version=secret.grafana.app/v1beta1"},
			[]string{"key\t<string>", "version\t<integer>"}},
		{[]string{"get", "--raw", "/apis/secret.grafana.app/v1beta1/namespaces/" + p.namespace + "/securevalues/x"},
			[]string{`"kind":"SecureValue"`, `"name":"x"`}},
		{[]string{"get", "--raw", "/readyz?verbose"}, []string{"readyz check passed"}},
		{[]string{"version", "--client"}, []string{"Client Version: v1."}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) { p.in(t).want(test.want, test.args...) })
	}
	if text := p.must("", "explain", "sv", "--recursive"); strings.Contains(strings.ToLower(text), "sealedfrom") ||
		strings.Contains(text, "sealed\t") {
		t.Errorf("the schema shows a hub-only field:\n%s", text)
	}
}

// valueLine finds the value of a sample.
var valueLine = regexp.MustCompile(`(?m)^  value: (\S+)$`)

// testSamples applies what config/samples ships, as its comments say.
func testSamples(t *testing.T, s *suite) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "config", "samples", "securevalue*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("want samples, got %v (%v)", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p := s.person(t)
			text := string(harness.ReadFile(t, file))
			value := valueLine.FindStringSubmatch(text)
			if value == nil {
				t.Fatalf("want a line value: in\n%s", text)
			}
			text = strings.Replace(text, value[1], s.secret(), 1) // so that a leak of it is found
			if strings.Contains(text, "generateName:") {
				contains(t, p.must(text, "create", "--validate=strict", "-f", "-"),
					"securevalue.secret.grafana.app/sample-", " created\n")
				contains(t, names(p), "sample-")
				return
			}
			contains(t, p.must(text, "apply", "--validate=strict", "-f", "-"), " created\n")
			contains(t, p.must(text, "apply", "--server-side", "--validate=strict", "-f", "-"), " serverside-applied\n")
			if a := p.kubectl(text, "diff", "--server-side", "-f", "-"); a.code != 0 {
				t.Errorf("diff of an applied sample: %+v", a)
			}
			p.must(text, "delete", "-f", "-")
		})
	}
}
