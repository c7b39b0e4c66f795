// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// block is a fenced block of commands.
type block struct {
	// Line is where its text starts.
	Line int
	// Mark is "tested" or "tested: server"; empty means that the block is not run.
	Mark string
	Text string
	// Want are lines that it must print.
	Want []string
}

var (
	fence = regexp.MustCompile("^ *```([a-z]*)$")
	mark  = regexp.MustCompile(`^ *<!-- (tested.*) -->$`)
)

// parse returns the blocks of commands of a page: those of language sh, bash and console.
func parse(page string) ([]block, error) {
	var blocks []block
	var language, marked string
	var inside, follows bool // follows: nothing but white space came after a tested block
	for i, line := range strings.Split(page, "\n") {
		found := fence.FindStringSubmatch(line)
		switch {
		case found != nil && !inside:
			inside, language = true, found[1]
			switch {
			case language == "sh" || language == "bash" || language == "console":
				blocks = append(blocks, block{Line: i + 2, Mark: marked})
			case marked != "":
				return nil, fmt.Errorf("line %d: %q stands before a block that is not sh", i+1, marked)
			}
			if marked != "" && language == "console" {
				return nil, fmt.Errorf("line %d: a console block has prompts and cannot be run", i+1)
			}
		case found != nil:
			inside, marked = false, ""
			follows = language == "sh" && blocks[len(blocks)-1].Mark != ""
		case inside && (language == "sh" || language == "bash" || language == "console"):
			blocks[len(blocks)-1].Text += line + "\n"
		case inside && language == "text" && follows:
			last := &blocks[len(blocks)-1]
			last.Want = append(last.Want, strings.TrimSpace(line))
		case inside || strings.TrimSpace(line) == "":
		default:
			follows, marked = false, ""
			if found := mark.FindStringSubmatch(line); found != nil {
				marked = found[1]
			}
			if marked != "" && marked != "tested" && marked != "tested: server" {
				return nil, fmt.Errorf("line %d: %q is no mark", i+1, marked)
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("a block is not closed")
	}
	return blocks, nil
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
	got, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{
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
			if _, err := parse(page); err == nil {
				t.Error("parsed without an error")
			}
		})
	}
}
