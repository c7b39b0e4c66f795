// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"strings"
	"testing"
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
				"-required-\n    keeper\t<string>\n    ref\t<string>\n    value\t<string>\n",
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
	if text := p.must("", "explain", "sv", "--recursive"); strings.Contains(strings.ToLower(text), "sealed") {
		t.Errorf("the schema shows a hub-only field:\n%s", text)
	}
}
