// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// unrun says of each page with blocks that are not run here why that is so. A page that is not listed has none.
var unrun = map[string]string{
	"README.md":                        "`make run` is started without its build, and `make test` runs this test",
	"CONTRIBUTING.md":                  "make and hack scripts that run this very test, or take minutes: .ci/run runs them",
	"docs/clients.md":                  "programs of others, which cannot be installed here: the page says which of them a test runs",
	"docs/cluster.md":                  "needs a cluster: hack/e2e starts one and runs the flags and the quota",
	"docs/decrypt.md":                  "what is not run needs a cluster (hack/e2e runs it) or k6",
	"docs/decrypt-audit.md":            "shell of a cluster and of other machines; pkg/testing/decrypt and cmd tests run `audit verify`",
	"docs/examples/ci/README.md":       "print-token is a program of yours: docs/getting-started.md runs the script",
	"docs/examples/programs/README.md": "programs that do not end: pkg/testing/decryptclient runs them",
	"docs/examples/migrate/README.md":  "a port-forward needs a node, which hack/e2e has none of",
	"docs/getting-started.md":          "`git clone` needs the network, and `make build` was done before: the test starts from its result",
	"docs/keys.md":                     "a rotation of files and Secrets of yours: pkg/testing/keys runs the commands of this program",
	"docs/kubectl-plugin.md":           "needs a terminal or Secrets of a cluster: pkg/testing/plugin runs every command by testscript",
	"docs/metrics.md":                  "needs Prometheus and the server's port",
	"docs/operations.md":               "needs a cluster, images, etcd's tools: hack/deploy checks the manifests, pkg/testing/backup the backups",
	"docs/performance":                 "benchmarks: minutes, and figures that nobody compares here",
	"docs/reliability.md":              "the robustness suite itself, for minutes",
	"docs/sealed-manifests.md":         "manifests and keys of yours: pkg/testing/plugin and pkg/testing/sealedvalues run the commands",
	"docs/security-model.md":           "shows what an attack would do; pkg/testing/security makes the attacks",
	"docs/pods.md":                     "needs a cluster: pkg/testing/agent runs the containers of its examples, pkg/testing/plugin grants",
	"docs/standalone.md":               "backup into fixed names and a server on the fixed port: pkg/testing/backup and pkg/testing/process run them",
	"docs/tracing.md":                  "needs a collector, or a cluster: pkg/testing/tracing follows requests with both",
	"docs/releasing.md":                "builds for four platforms from a tag of a clone: hack/verify-release.sh does it for one",
}

// Every block of commands is run, or its page says why not.
func TestEveryPageIsRunOrSaysWhyNot(t *testing.T) {
	root := harness.Root(t)
	for _, file := range pages(t) {
		blocks, err := Parse(read(t, filepath.Join(root, file)))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, b := range blocks {
			if b.Mark == "" && unrun[file] == "" && unrun[filepath.Dir(file)] == "" {
				t.Errorf("%s:%d: this block is not run: put <!-- tested --> before it, or a reason into pkg/testing/docs/pages_test.go", file, b.Line)
			}
			if b.Mark != "" && !slices.Contains(runPages, file) && !slices.Contains(ClusterPages, file) {
				t.Errorf("%s:%d: this block is marked, but no test runs this page: add it to runPages or ClusterPages", file, b.Line)
			}
		}
	}
}

// Links to files of this repository lead to one, and links into a page to a heading of it.
func TestLinks(t *testing.T) {
	root := harness.Root(t)
	for _, file := range pages(t) {
		for _, target := range links(read(t, filepath.Join(root, file))) {
			path, anchor, _ := strings.Cut(target, "#")
			full := filepath.Join(root, file)
			if path != "" {
				full = filepath.Join(root, filepath.Dir(file), path)
			}
			if _, err := os.Stat(full); err != nil {
				t.Errorf("%s: the link to %q leads nowhere", file, target)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, full)), anchor) {
				t.Errorf("%s: %q has no heading for the link to %q", file, path, target)
			}
		}
	}
}

// pages lists the Markdown files for people.
func pages(t *testing.T) []string {
	t.Helper()
	root := harness.Root(t)
	files, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if files[i], err = filepath.Rel(root, files[i]); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Each direct dependency has its reason, and no reason outlives its dependency.
func TestDirectDependenciesHaveAReason(t *testing.T) {
	root := harness.Root(t)
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`) // a comment says that one is indirect
	listed := regexp.MustCompile("`([a-z0-9.-]+\\.[a-z]+/[^` ]+)`")
	names := func(file string, pattern *regexp.Regexp) []string {
		var all []string
		for _, found := range pattern.FindAllStringSubmatch(read(t, filepath.Join(root, file)), -1) {
			all = append(all, found[1])
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	want, got := names("go.mod", direct), names("docs/decisions/0018-direct-dependencies.md", listed)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/decisions/0018-direct-dependencies.md (-go.mod +page):\n%s", diff)
	}
}

var (
	code     = regexp.MustCompile("(?s)```.*?\n *```|`[^`\n]*`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// links returns where a page links to within this repository.
func links(page string) []string {
	var targets []string
	for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(page, ""), -1) {
		if !strings.Contains(found[1], "://") && !strings.HasPrefix(found[1], "mailto:") {
			targets = append(targets, found[1])
		}
	}
	return targets
}

// anchors returns the names that GitHub gives to the headings of a page.
func anchors(page string) []string {
	var names []string
	seen := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(regexp.MustCompile("(?s)```.*?\n *```").ReplaceAllString(page, ""), -1) {
		name := strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-")
		if !seen[name] {
			names = append(names, name)
		}
		seen[name] = true
	}
	return names
}

func TestLinksAndAnchorsAreFound(t *testing.T) {
	page := "# A `b`: c, d\n[one](x.md#y) `[no](z.md)` ![two](a/b.svg) [web](https://example.com) [self](#a-b-c-d)\n```sh\n# [no](q)\n```\n"
	if diff := cmp.Diff([]string{"x.md#y", "a/b.svg", "#a-b-c-d"}, links(page)); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a-b-c-d"}, anchors(page)); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	page := strings.ReplaceAll(`# Title

<!-- tested: server -->
'''sh
serve
'''

<!-- tested -->
'''sh
one
two
'''

'''text
  printed
also
'''

Text.

'''text
not of a block
'''

'''sh
not run
'''

'''yaml
a: b
'''
`, "'''", "```")
	got, err := Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{Line: 5, Mark: "tested: server", Text: "serve\n"},
		{Line: 10, Mark: "tested", Text: "one\ntwo\n", Want: []string{"printed", "also"}},
		{Line: 26, Text: "not run\n"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, page := range map[string]string{
		"a misspelt mark":           "<!-- tested: sever -->\n```sh\nx\n```\n",
		"a mark before other text":  "<!-- tested -->\n```yaml\na: b\n```\n",
		"a mark before prompts":     "<!-- tested -->\n```console\n$ x\n```\n",
		"a block that is not ended": "```sh\nx\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(page); err == nil {
				t.Error("parsed without an error")
			}
		})
	}
}
