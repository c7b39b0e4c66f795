// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	head     = "apiVersion: rbac.authorization.k8s.io/v1\n"
	goodRole = head + "kind: ClusterRole\nmetadata: {name: r}\n" +
		"rules: [{apiGroups: [a], resources: [b], verbs: [get]}]\n"
)

func binding(kind, meta, ref, subject string) string {
	return goodRole + "---\n" + head + "kind: " + kind + "\nmetadata: {" + meta + "}\nroleRef: {" + ref +
		"}\nsubjects: [{" + subject + "}]\n"
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, file, text string
		want             []string
	}{
		{"unknown field", "a.yaml", strings.Replace(goodRole, "verbs", "verb", 1), []string{
			`a.yaml, document 1 (line 1): ClusterRole "r": unknown field "rules[0].verb"`, "rules[0].verbs is empty"}},
		{"field in wrong case", "a.yaml", strings.Replace(goodRole, "verbs", "Verbs", 1),
			[]string{`unknown field "rules[0].Verbs"`}},
		{"unknown field of metadata", "a.yaml", strings.Replace(goodRole, "name: r", "name: r, foo: x", 1),
			[]string{`unknown field "metadata.foo"`}},
		{"duplicate key", "a.yaml", goodRole + "kind: Role\n",
			[]string{"a.yaml, document 1 (line 1)", `key "kind" already set`}},
		{"duplicate key in JSON", "a.json", `{"kind":"ClusterRole","kind":"ClusterRole",` +
			`"apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"}}`,
			[]string{"a.json, document 1", `duplicate field "kind"`}},
		{"broken YAML", "a.yaml", goodRole + "---\n\tx",
			[]string{"a.yaml, document 2 (line 5)", "cannot start any token"}},
		{"broken JSON", "a.json", `{"kind":`, []string{"a.json, document 1", "not a Kubernetes object"}},
		{"text after JSON", "a.json", `{}{}`, []string{"a.json, document 1"}},
		{"not UTF-8", "a.yaml", "a: \xff", []string{"a.yaml: is not UTF-8"}},
		{"JSON not UTF-8", "a.json", "{\"a\": \"\xff\"}", []string{"a.json: is not UTF-8"}},
		{"wrong type", "a.yaml", head + "kind: ClusterRole\nmetadata: {name: r}\nrules: x\n",
			[]string{`ClusterRole "r"`, "rules"}},
		{"unquoted YAML boolean", "a.yaml", head + "kind: Role\nmetadata: {name: r, namespace: n}\n",
			[]string{`Role "r": json: cannot unmarshal bool`, "metadata.namespace", "put it in quotes"}},
		{"binding that cannot be decoded", "a.yaml", head +
			"kind: ClusterRoleBinding\nmetadata: {name: b}\nsubjects: 1\n",
			[]string{`ClusterRoleBinding "b": json: cannot unmarshal number`}},
		{"scalar", "a.yaml", "hello", []string{"not a Kubernetes object"}},
		{"array", "a.yaml", "[]", []string{"not a Kubernetes object"}},
		{"no kind", "a.yaml", "a: b", []string{`kind "" of apiVersion ""`}},
		{"unknown kind", "a.yaml", "apiVersion: v1\nkind: Secret\nstringData: {a: hunter2}",
			[]string{`kind "Secret" of apiVersion "v1" is not supported`, "only Role"}},
		{"old version", "a.yaml", "apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: Role", []string{"v1beta1"}},
		{"unknown kind in a list", "a.yaml", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]",
			[]string{"items[0]", `"Pod"`}},
		{"list in a list", "a.yaml", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]",
			[]string{"items[0]", `"List"`}},
		{"unknown field of a list", "a.yaml", "apiVersion: v1\nkind: List\nitem: []",
			[]string{`List: unknown field "item"`}},
		{"missing name", "a.yaml", strings.Replace(goodRole, "name: r", "", 1), []string{"metadata.name is missing"}},
		{"bad name", "a.yaml", strings.Replace(goodRole, "name: r", "name: r/s", 1), []string{`metadata.name "r/s"`}},
		{"bad label", "a.yaml", strings.Replace(goodRole, "name: r", "name: r, labels: {a: b c}", 1),
			[]string{"metadata.labels"}},
		{"role without namespace", "a.yaml", strings.Replace(goodRole, "ClusterRole", "Role", 1),
			[]string{"metadata.namespace is missing", "ClusterRole"}},
		{"bad namespace", "a.yaml", head + "kind: Role\nmetadata: {name: r, namespace: A}",
			[]string{`metadata.namespace "A"`}},
		{"cluster role with namespace", "a.yaml", strings.Replace(goodRole, "name: r", "name: r, namespace: ns", 1),
			[]string{"is not in a namespace"}},
		{"no verbs", "a.yaml", strings.Replace(goodRole, "[get]", "[]", 1),
			[]string{"rules[0].verbs is empty; list at least one verb"}},
		{"no groups", "a.yaml", strings.Replace(goodRole, "[a]", "[]", 1), []string{"rules[0].apiGroups is empty"}},
		{"no resources", "a.yaml", strings.Replace(goodRole, "[b]", "[]", 1), []string{"rules[0].resources is empty"}},
		{"url in a role", "a.yaml", head + "kind: Role\nmetadata: {name: r, namespace: ns}\nrules: " +
			"[{nonResourceURLs: [/x], verbs: [get]}]", []string{"is not allowed in a Role"}},
		{"url beside resources", "a.yaml", strings.Replace(goodRole, "verbs:", "nonResourceURLs: [/x], verbs:", 1),
			[]string{"split the rule in two"}},
		{"empty aggregation", "a.yaml", goodRole + "aggregationRule: {}\n", []string{"clusterRoleSelectors is empty"}},
		{"bad aggregation", "a.yaml", goodRole + "aggregationRule: {clusterRoleSelectors: [{matchExpressions: " +
			"[{key: a, operator: Near}]}]}\n", []string{"clusterRoleSelectors[0]", "Near"}},
		{"duplicate object", "a.yaml", goodRole + "---\n" + goodRole,
			[]string{`document 2 (line 5): ClusterRole "r": is defined a second time (first in `,
				"document 1 (line 1)"}},
		{"dangling ClusterRole", "a.yaml", binding("ClusterRoleBinding", "name: x", "kind: ClusterRole, name: nope",
			"kind: User, name: u"),
			[]string{`document 2 (line 5): ClusterRoleBinding "x": roleRef names ClusterRole "nope", which ` +
				`does not exist`}},
		{"dangling Role", "a.yaml", binding("RoleBinding", "name: x, namespace: ns", "kind: Role, name: r",
			"kind: User, name: u"),
			[]string{`RoleBinding "ns/x": roleRef names Role "ns/r", which does not exist`}},
		{"Role in a ClusterRoleBinding", "a.yaml",
			binding("ClusterRoleBinding", "name: x", "kind: Role, name: r", "kind: User, name: u"),
			[]string{"roleRef.kind Role is not supported"}},
		{"roleRef kind", "a.yaml", binding("RoleBinding", "name: x, namespace: ns", "kind: Rule, name: r",
			"kind: User, name: u"), []string{`roleRef.kind "Rule"`}},
		{"roleRef group", "a.yaml", binding("RoleBinding", "name: x, namespace: ns",
			"apiGroup: g, kind: ClusterRole, name: r", "kind: User, name: u"), []string{`roleRef.apiGroup "g"`}},
		{"roleRef name", "a.yaml", binding("RoleBinding", "name: x, namespace: ns", "kind: ClusterRole",
			"kind: User, name: u"), []string{"roleRef.name is missing"}},
		{"subject kind", "a.yaml", binding("RoleBinding", "name: x, namespace: ns", "kind: ClusterRole, name: r",
			"kind: Person, name: u"), []string{`subjects[0].kind "Person"`}},
		{"subject group", "a.yaml", binding("RoleBinding", "name: x, namespace: ns", "kind: ClusterRole, name: r",
			"kind: User, name: u, apiGroup: v1"), []string{`subjects[0].apiGroup "v1" is not supported for a User`}},
		{"service account group", "a.yaml", binding("RoleBinding", "name: x, namespace: ns",
			"kind: ClusterRole, name: r", "kind: ServiceAccount, name: u, apiGroup: rbac.authorization.k8s.io"),
			[]string{"for a ServiceAccount"}},
		{"subject name", "a.yaml", binding("RoleBinding", "name: x, namespace: ns", "kind: ClusterRole, name: r",
			"kind: Group"), []string{"subjects[0].name is missing; name the Group"}},
		{"service account namespace", "a.yaml", binding("ClusterRoleBinding", "name: x", "kind: ClusterRole, name: r",
			"kind: ServiceAccount, name: u"), []string{"subjects[0].namespace is missing"}},
		{"service account bad name", "a.yaml", binding("ClusterRoleBinding", "name: x", "kind: ClusterRole, name: r",
			`kind: ServiceAccount, name: "a:b", namespace: ns`), []string{`subjects[0].name "a:b"`}},
		{"service account bad namespace", "a.yaml",
			binding("ClusterRoleBinding", "name: x", "kind: ClusterRole, name: r",
				`kind: ServiceAccount, name: a, namespace: "b:c"`), []string{`subjects[0].namespace "b:c"`}},
		{"built-in role", "a.yaml", strings.Replace(goodRole, "name: r", `name: "system:discovery"`, 1),
			[]string{`ClusterRole "system:discovery": is built in and cannot be redefined`}},
		{"built-in binding", "a.yaml", binding("ClusterRoleBinding", `name: "system:basic-user"`,
			"kind: ClusterRole, name: r", "kind: User, name: u"),
			[]string{`ClusterRoleBinding "system:basic-user": is built in`}},
		{"document after an odd line break", "a.yaml", goodRole + "#\r---\r" + goodRole,
			[]string{"line breaks other than LF and CRLF"}},
		{"text after a document end", "a.yaml", goodRole + "... x\n", []string{"document end marker"}},
		{"too large", "a.yaml", "#" + strings.Repeat("x", maxFileBytes), []string{"a.yaml: larger than"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir, tc.file, tc.text)
			_, err := Load(dir)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q contains the content of a Secret", err)
			}
		})
	}
}

func TestLoadReportsEveryFaultOfEveryFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "a.yaml", strings.Replace(goodRole, "[get]", "[]", 1)+"---\nkind: X\n")
	writeFile(t, dir, "b.yaml", "{")
	// The binding refers to the faulty role of a.yaml, which is one fault, not two.
	writeFile(t, dir, "c.yaml", head+"kind: ClusterRoleBinding\nmetadata: {name: c}\nroleRef: {kind: ClusterRole, "+
		"name: r}\n")
	_, err := Load(dir)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 {
		t.Errorf("%d faults, want 3:\n%v", len(lines), err)
	}
	for _, name := range []string{"a.yaml, document 1", "a.yaml, document 2", "b.yaml, document 1"} {
		if !strings.Contains(err.Error(), filepath.Join(dir, name)) {
			t.Errorf("%q is not named:\n%v", name, err)
		}
	}
}

func TestLoadAccepts(t *testing.T) {
	item := `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: %}}`
	for _, tc := range []struct {
		name, file, text string
		objects          int
	}{
		{"empty", "a.yaml", "", 0},
		{"blank JSON", "a.json", " \n", 0},
		{"comments", "a.yaml", "# one\n---\n# two\n---\n", 0},
		{"yml", "a.yml", goodRole, 1},
		{"capital letters", "a.YAML", goodRole, 1},
		{"separator with a comment", "a.yaml", goodRole + "--- # next\n" +
			strings.Replace(goodRole, "name: r", "name: s", 1), 2},
		{"object on the separator's line", "a.yaml", "--- " + strings.ReplaceAll(item, "%", "a") + "\n--- " +
			strings.ReplaceAll(item, "%", "b") + "\n", 2},
		{"document ends", "a.yaml", goodRole + "...\n" + strings.Replace(goodRole, "name: r", "name: s", 1) +
			"... # end\n", 2},
		{"CRLF and byte order mark", "a.yaml", "\ufeff" +
			strings.ReplaceAll(goodRole+"---\n"+strings.Replace(goodRole, "name: r", "name: s", 1), "\n", "\r\n"), 2},
		{"JSON", "a.json",
			`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"x"},` +
				"\n\t" + `"rules":null}`, 1},
		{"JSON in YAML", "a.yaml",
			`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"x"}}`, 1},
		{"List", "a.yaml", "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n- " +
			strings.ReplaceAll(item, "%", "a") + "\n- " + strings.ReplaceAll(item, "%", "b"), 2},
		{"typed list", "a.yaml", head + "kind: RoleList\nitems: [{metadata: {name: a, namespace: ns}}, {metadata: " +
			"{name: b, namespace: ns}}]", 2},
		{"exported object", "a.yaml", head + "kind: ClusterRole\nmetadata: {name: a, uid: x, creationTimestamp: " +
			"null, resourceVersion: \"1\", managedFields: []}\nrules: null", 1},
		{"binding without subjects", "a.yaml", head +
			"kind: ClusterRoleBinding\nmetadata: {name: a}\nroleRef: {kind: ClusterRole, name: \"system:discovery\"}",
			1},
		{"same name, other kind and namespace", "a.yaml", goodRole + "---\n" + head +
			"kind: Role\nmetadata: {name: r, namespace: ns}\n---\n" + head +
			"kind: Role\nmetadata: {name: r, namespace: m}\n", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := mustLoad(t, map[string]string{tc.file: tc.text}).objects; got != tc.objects {
				t.Errorf("%d objects, want %d", got, tc.objects)
			}
		})
	}
}

func TestLoadPicksFiles(t *testing.T) {
	dir := t.TempDir()
	broken := "{"
	for _, name := range []string{".hidden.yaml", "notes.txt", "a.yaml~", "b.YAML.bak"} {
		writeFile(t, dir, name, broken)
	}
	// A ConfigMap mount: the files are links through a link, the data sits in a hidden folder.
	for _, sub := range []string{"..2026", "sub", "folder.yaml"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "sub"), "x.yaml", broken)
	writeFile(t, filepath.Join(dir, "..2026"), "roles.yaml", goodRole)
	link(t, "..2026", filepath.Join(dir, "..data"))
	link(t, "..data/roles.yaml", filepath.Join(dir, "roles.yaml"))

	snapshot, err := Load(dir)
	if err != nil || snapshot.objects != 1 {
		t.Fatalf("got %v, %v; want one object", snapshot, err)
	}
	link(t, "nowhere", filepath.Join(dir, "gone.yaml"))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "gone.yaml") {
		t.Errorf("a dangling link: got %v", err)
	}
}

func TestLoadFolder(t *testing.T) {
	if snapshot, err := Load(""); err != nil || snapshot.objects != 0 {
		t.Errorf("no folder: got %v, %v", snapshot, err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "a.yaml", "")
	for _, path := range []string{filepath.Join(dir, "gone"), filepath.Join(dir, "a.yaml")} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "--rbac-dir") ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func TestEncodeKeepsNamesAndBorders(t *testing.T) {
	sets := [][]file{
		nil,
		{{path: "a", data: []byte("bc")}},
		{{path: "ab", data: []byte("c")}},
		{{path: "a", data: []byte("b")}, {path: "c"}},
		{{path: "a"}, {path: "b"}},
		{{path: "b"}, {path: "a"}},
	}
	for i := range sets {
		for j := range sets {
			if bytes.Equal(encode(sets[i]), encode(sets[j])) != (i == j) {
				t.Errorf("sets %d and %d", i, j)
			}
		}
	}
}
