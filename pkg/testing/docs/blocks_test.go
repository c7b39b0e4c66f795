// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
