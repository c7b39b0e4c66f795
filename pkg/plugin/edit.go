// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// editor changes scalars of one YAML document in its text, so that comments, order and style stay. Each change is also
// made to the nodes, and apply compares the result with them.
type editor struct {
	text  string
	root  *yaml.Node
	whole *yaml.Node // the root with the comments around it
	lines []int      // where each line starts
	edits []edit
	// changed is the text that apply returned.
	changed string
}

type edit struct {
	start, end int
	with       string
}

var errNotEdited = errors.New("cannot change the document in place: write it without anchors, and the value " +
	"in double quotes on one line")

// lineBreak is what ends a line for the parser.
var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// newEditor parses a document. The root is nil if there is none.
func newEditor(text string) (*editor, error) {
	e := &editor{text: text, lines: []int{0}}
	for _, found := range lineBreak.FindAllStringIndex(text, -1) {
		e.lines = append(e.lines, found[1])
	}
	document, err := parseNode(text)
	if document != nil {
		e.whole, e.root = document, document.Content[0]
	}
	return e, err
}

func parseNode(text string) (document *yaml.Node, err error) {
	defer func() { // the parser panics on internal errors
		if recover() != nil {
			document, err = nil, errors.New("invalid YAML")
		}
	}()
	document = &yaml.Node{}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("invalid YAML: more than one document without a separator")
	}
	return document, nil
}

// fieldOf returns the key and the value of a mapping, nil if it has none of this name.
func fieldOf(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// replace gives a field of a mapping another name and a plain text as its value.
func (e *editor) replace(mapping *yaml.Node, name, newName, text string) error {
	key, value := fieldOf(mapping, name)
	if key == nil {
		return errNotEdited
	}
	for _, change := range []struct {
		node *yaml.Node
		with string
	}{{key, newName}, {value, text}} {
		start := e.offset(change.node)
		end, ok := e.end(change.node, start, key.Column-1)
		if !ok {
			return errNotEdited
		}
		e.edits = append(e.edits, edit{start, end, likeKey(key, change.with)})
		change.node.Value, change.node.Tag = change.with, "!!str"
	}
	return nil
}

// insertAfter adds a field with a plain text after another one.
func (e *editor) insertAfter(mapping *yaml.Node, after, name, text string) error {
	key, value := fieldOf(mapping, after)
	if there, _ := fieldOf(mapping, name); key == nil || there != nil {
		return errNotEdited
	}
	end, ok := e.end(value, e.offset(value), key.Column-1)
	if !ok {
		return errNotEdited
	}
	entry := likeKey(key, name) + ": " + likeKey(key, text)
	if mapping.Style&yaml.FlowStyle != 0 {
		entry = ", " + entry
	} else {
		rest := e.text[end:]
		lineEnd := "\n"
		if found := lineBreak.FindStringIndex(rest); found != nil {
			lineEnd, end = rest[found[0]:found[1]], end+found[0]
		} else {
			end = len(e.text)
		}
		entry = lineEnd + strings.Repeat(" ", key.Column-1) + entry
	}
	e.edits = append(e.edits, edit{end, end, entry})
	at := slices.Index(mapping.Content, value) + 1
	mapping.Content = slices.Insert(mapping.Content, at,
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name},
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
	return nil
}

// likeKey quotes a text if the key is quoted: then the document may be JSON.
func likeKey(key *yaml.Node, text string) string {
	if key.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return `"` + text + `"`
	}
	return text
}

// offset returns where a node starts. The parser counts columns in characters.
func (e *editor) offset(node *yaml.Node) int {
	at := e.lines[node.Line-1]
	for range node.Column - 1 {
		_, size := utf8.DecodeRuneInString(e.text[at:])
		at += size
	}
	return at
}

// end returns where a scalar ends whose mapping is indented by this many spaces. ok is false if that is not certain.
func (e *editor) end(node *yaml.Node, start, indent int) (end int, ok bool) {
	text := e.text[start:]
	switch {
	case node.Style&yaml.DoubleQuotedStyle != 0:
		end = endOf(doubleQuoted, text)
	case node.Style&yaml.SingleQuotedStyle != 0:
		end = endOf(singleQuoted, text)
	case node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		e.edits = append(e.edits, e.blockLines(start, indent))
		end = endOf(blockHeader, text)
	case strings.HasPrefix(text, node.Value): // a plain scalar on one line is its value
		end = len(node.Value)
	}
	return start + end, end > 0
}

var (
	doubleQuoted = regexp.MustCompile(`^"(?s:[^"\\]|\\.)*"`)
	singleQuoted = regexp.MustCompile(`^'(?:[^']|'')*'`)
	blockHeader  = regexp.MustCompile(`^[|>][-+0-9]*`)
)

func endOf(pattern *regexp.Regexp, text string) int {
	if found := pattern.FindStringIndex(text); found != nil {
		return found[1]
	}
	return 0
}

// blockLines removes the lines of a block scalar: those indented more than its mapping, and blank ones between them.
func (e *editor) blockLines(header, indent int) edit {
	first, _ := slices.BinarySearch(e.lines, header+1)
	last := first
	for i := first; i < len(e.lines); i++ {
		line := e.text[e.lines[i]:e.lineEnd(i)]
		content := strings.TrimLeft(line, " ")
		if strings.TrimSpace(content) == "" {
			continue
		}
		if len(line)-len(content) <= indent {
			break
		}
		last = i + 1
	}
	if last == first {
		return edit{}
	}
	return edit{e.lines[first], e.lineEnd(last - 1), ""}
}

// lineEnd returns where the next line starts.
func (e *editor) lineEnd(line int) int {
	if line+1 < len(e.lines) {
		return e.lines[line+1]
	}
	return len(e.text)
}

// apply returns the changed text. It must parse to the changed nodes, with all comments and no other one: what is left
// of a value would be one.
func (e *editor) apply() (string, error) {
	if len(e.edits) == 0 {
		return e.text, nil
	}
	slices.SortFunc(e.edits, func(a, b edit) int { return a.start - b.start })
	var text strings.Builder
	at := 0
	for _, edit := range e.edits {
		if edit.start < at && edit.end > 0 {
			return "", errNotEdited
		}
		text.WriteString(e.text[at:max(at, edit.start)] + edit.with)
		at = max(at, edit.end)
	}
	text.WriteString(e.text[at:])
	changed, err := parseNode(text.String())
	if err != nil || changed == nil || !sameNode(changed, e.whole) ||
		!slices.Equal(comments(changed), comments(e.whole)) {
		return "", errNotEdited
	}
	e.changed = text.String()
	return e.changed, nil
}

// sameNode compares what nodes say, not how they are written.
func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.ShortTag() == b.ShortTag() && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, sameNode)
}

// comments returns the lines of all comments, sorted: a change may attach one to another node.
func comments(node *yaml.Node) (lines []string) {
	for _, comment := range []string{node.HeadComment, node.LineComment, node.FootComment} {
		for line := range strings.Lines(comment) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
	}
	for _, child := range node.Content {
		lines = append(lines, comments(child)...)
	}
	slices.Sort(lines)
	return lines
}
