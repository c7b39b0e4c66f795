// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
