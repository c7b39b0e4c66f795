// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"html"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Sizes of the picture, in characters and pixels.
const (
	columns    = 104
	charWidth  = 7.8
	lineHeight = 19
	margin     = 18
	top        = 52
)

// line is one of the terminal.
type line struct {
	text string
	// typed says that a person typed it, and prompt that it is the first line of a command.
	typed, prompt bool
}

const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-labelledby="title desc">
  <title id="title">kubectl securevalue on a terminal</title>
  <desc id="desc">Somebody creates a value by typing it at a prompt that shows nothing. kubectl shows the object without it. The user ci may
    not decrypt it, the service k6 may, and gets it from the decrypt port. A new value is generated, and nobody sees it.</desc>
  <style>
    text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px; white-space: pre; fill: #59636e; }
    .typed { fill: #1f2328; font-weight: 600; }
    .prompt { fill: #1a7f37; font-weight: 600; }
    .page { fill: #f6f8fa; stroke: #d1d9e0; }
    .button { fill: #d1d9e0; }
    @media (prefers-color-scheme: dark) {
      text { fill: #9198a1; }
      .typed { fill: #f0f6fc; }
      .prompt { fill: #3fb950; }
      .page { fill: #0d1117; stroke: #3d444d; }
      .button { fill: #3d444d; }
    }
  </style>
  <rect class="page" x="0.5" y="0.5" width="%[3]d" height="%[4]d" rx="8"/>
  <circle class="button" cx="22" cy="20" r="6"/><circle class="button" cx="42" cy="20" r="6"/><circle class="button" cx="62" cy="20" r="6"/>
`

// draw draws a terminal as SVG, light and dark. Every run of characters is as wide as its number of characters,
// whatever the font.
func draw(t *testing.T, lines []line) string {
	t.Helper()
	width, height := 2*margin+columns*78/10, top+len(lines)*lineHeight
	var out strings.Builder
	fmt.Fprintf(&out, head, width, height, width-1, height-1)
	for i, l := range lines {
		indent := 0
		if l.typed {
			indent = 2
		}
		if length := indent + utf8.RuneCountInString(l.text); length > columns {
			t.Errorf("%q has %d columns, and the picture %d", l.text, length, columns)
		}
		if at := strings.IndexFunc(l.text, unicode.IsControl); at >= 0 {
			t.Errorf("%q has a control character, which a picture cannot show", l.text)
		}
		if l.prompt {
			drawText(&out, i, 0, "prompt", "$")
		}
		class := ""
		if l.typed {
			class = "typed"
		}
		drawText(&out, i, indent, class, l.text)
	}
	out.WriteString("</svg>\n")
	return out.String()
}

func drawText(out *strings.Builder, row, column int, class, text string) {
	bare := strings.TrimLeft(text, " ")
	column += len(text) - len(bare)
	if bare == "" {
		return
	}
	if class != "" {
		class = fmt.Sprintf(" class=%q", class)
	}
	fmt.Fprintf(out, "  <text%s x=\"%.1f\" y=\"%d\" textLength=\"%.1f\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">%s</text>\n",
		class, margin+float64(column)*charWidth, top+row*lineHeight, float64(utf8.RuneCountInString(bare))*charWidth, html.EscapeString(bare))
}

// What is typed is told from what is printed, and nothing in it becomes markup.
func TestDraw(t *testing.T) {
	picture := draw(t, []line{{text: "a <b> && c", typed: true, prompt: true}, {text: "  indented"}, {}})
	for _, want := range []string{
		`<text class="prompt" x="18.0" y="52" textLength="7.8" lengthAdjust="spacingAndGlyphs" xml:space="preserve">$</text>`,
		`<text class="typed" x="33.6" y="52" textLength="78.0" lengthAdjust="spacingAndGlyphs" xml:space="preserve">a &lt;b&gt; &amp;&amp; c</text>`,
		`<text x="33.6" y="71" textLength="62.4" lengthAdjust="spacingAndGlyphs" xml:space="preserve">indented</text>`,
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture lacks %s:\n%s", want, picture)
		}
	}
	if strings.Count(picture, "<text") != 3 {
		t.Errorf("the picture has text beyond the three:\n%s", picture)
	}
}
