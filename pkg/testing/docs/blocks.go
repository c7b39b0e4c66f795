// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// Block is a fenced block of commands.
type Block struct {
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

// Parse returns the blocks of commands of a page: those of language sh, bash and console.
func Parse(page string) ([]Block, error) {
	var blocks []Block
	var language, marked string
	var inside, follows bool // follows: nothing but white space came after a tested block
	for i, line := range strings.Split(page, "\n") {
		found := fence.FindStringSubmatch(line)
		switch {
		case found != nil && !inside:
			inside, language = true, found[1]
			switch {
			case language == "sh" || language == "bash" || language == "console":
				blocks = append(blocks, Block{Line: i + 2, Mark: marked})
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
				return nil, fmt.Errorf("line %d: unknown mark %q", i+1, marked)
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("a block is not closed")
	}
	return blocks, nil
}
