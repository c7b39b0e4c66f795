// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// checkYAML checks an object in YAML with two parsers: one returns nodes, which show how the body is written, the other
// is the converter of the handlers, which shows what they will read. Both must agree on spec.value.
func checkYAML(body []byte) error {
	if !utf8.Valid(body) {
		return refuse(textNotUTF8)
	}
	root, err := parseYAML(body)
	if err != nil {
		return err
	}
	if err := checkNodes(root, 1); err != nil {
		return err
	}
	if root.Kind != yaml.MappingNode {
		return refuse(textNotObject)
	}
	written, err := writtenValue(root)
	if err != nil {
		return err
	}
	converted, err := kyaml.YAMLToJSON(body)
	if err != nil {
		return refuse(textNotYAML)
	}
	return checkConverted(converted, written)
}

// checkConverted compares what the handlers will read with what is written.
func checkConverted(converted []byte, written *string) error {
	if err := checkJSON(converted); err != nil {
		return refuseType("spec.value", textMustBeQuoted) // the rest was checked above
	}
	var object struct {
		Spec struct {
			Value *string `json:"value"`
		} `json:"spec"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(converted, &object); err != nil {
		return refuse(textNotYAML)
	}
	read := object.Spec.Value
	if (read == nil) != (written == nil) || read != nil && *read != *written {
		return refuse(textYAMLTwoWays)
	}
	return nil
}

// parseYAML reads the only document of the body.
func parseYAML(body []byte) (root *yaml.Node, err error) {
	defer func() { // the parser panics on internal errors
		if recover() != nil {
			root, err = nil, refuse(textNotYAML)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(body))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, refuse(textEmpty)
	case err != nil:
		return nil, refuseYAML(err)
	case document.Kind != yaml.DocumentNode || len(document.Content) != 1:
		return nil, refuse(textNotObject)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, refuse(textManyYAML)
	case !errors.Is(err, io.EOF):
		return nil, refuseYAML(err)
	}
	return document.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// refuseYAML returns the constant text for an error of the parser, whose text may quote the body.
func refuseYAML(err error) error {
	text := err.Error()
	match := yamlLine.FindStringSubmatch(text)
	if match != nil {
		text = strings.TrimPrefix(text, match[0])
	}
	constant := textNotYAML
	switch {
	case strings.Contains(text, "unknown anchor"), strings.Contains(text, "tag handle"):
		constant = textYAMLRefs
	case strings.Contains(text, "invalid Unicode character escape code"):
		constant = textYAMLEscape
	}
	if match == nil {
		return refuse(constant)
	}
	line, _ := strconv.Atoi(match[1])
	return refuseAt(constant, "line", line)
}

// checkNodes refuses YAML features that JSON does not have.
func checkNodes(node *yaml.Node, depth int) error {
	if node.Kind == yaml.AliasNode || node.Anchor != "" || node.Style&yaml.TaggedStyle != 0 {
		return refuseAt(textYAMLRefs, "line", node.Line)
	}
	if depth > maxDepth && node.Kind != yaml.ScalarNode {
		return refuse(textTooDeep)
	}
	if node.Kind == yaml.SequenceNode && len(node.Content) > maxMembers || len(node.Content) > 2*maxMembers {
		return refuse(textTooMany)
	}
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 && child.Value == "<<" {
			return refuseAt(textYAMLMerge, "line", child.Line)
		}
		if err := checkNodes(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// writtenValue returns spec.value as written, nil if absent or null. Every occurrence is checked; the last one counts.
func writtenValue(root *yaml.Node) (*string, error) {
	var value *string
	for spec := range members(root, "spec") {
		value = nil
		if spec.Kind == yaml.ScalarNode && spec.Tag == "!!null" {
			continue
		}
		if spec.Kind != yaml.MappingNode {
			return nil, refuseType("spec", textMustBeObject)
		}
		for node := range members(spec, "value") {
			value = nil
			switch {
			case node.Kind != yaml.ScalarNode || !isPlainlyString(node) && node.Tag != "!!null":
				return nil, refuseType("spec.value", textMustBeQuoted)
			case node.Tag != "!!null":
				value = &node.Value
			}
		}
	}
	return value, nil
}

// members yields the values of a key in a mapping.
func members(mapping *yaml.Node, key string) func(yield func(*yaml.Node) bool) {
	return func(yield func(*yaml.Node) bool) {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			k := mapping.Content[i]
			if k.Kind == yaml.ScalarNode && k.Value == key && !yield(mapping.Content[i+1]) {
				return
			}
		}
	}
}

// otherYAML matches what is a number (1:30), a time or a default in YAML 1.1 but not for the parsers used here.
var otherYAML = regexp.MustCompile(
	`^(=|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?)$`)

// isPlainlyString reports whether the scalar is a string in every version of YAML.
func isPlainlyString(node *yaml.Node) bool {
	return node.Tag == "!!str" && (node.Style != 0 || !otherYAML.MatchString(node.Value))
}
