// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kyaml "sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// manifest is a SecureValue in a file, as kubectl reads it.
type manifest struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Description string           `json:"description"`
		Decrypters  []string         `json:"decrypters"`
		Value       *sensitive.Value `json:"value"`
		SealedValue *string          `json:"sealedValue"`
	} `json:"spec"`
	// at is where it stands, for people: a file, a number of a document and one of an item.
	at   string
	node *yaml.Node
	text *editor
}

// files is the flag -f, and --write for commands that change manifests.
type files struct {
	names []string
	write bool
}

func (f *files) addFlags(c *cobra.Command, write bool) {
	c.Flags().StringArrayVarP(&f.names, "filename", "f", nil,
		"Path of a `file` with manifests in YAML or JSON, - for standard input. May be repeated.")
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json") // defined above
	if write {
		c.Flags().BoolVarP(&f.write, "write", "w", false, "Change the files, instead of printing them.")
	}
}

func (f *files) validate() error {
	for _, name := range f.names {
		if name == "-" && f.write {
			return errors.New("--write requires files; omit it to read standard input")
		}
	}
	if len(f.names) == 0 {
		return errors.New("expected files with -f FILE, or standard input with -f -")
	}
	return nil
}

// edit passes every manifest of the files to change, and writes or prints the files once all of them are changed; out
// may be nil for neither. With the first error nothing is written.
func (f *files) edit(in io.Reader, out io.Writer, change func(*manifest) error) error {
	texts := make([]string, len(f.names))
	for i, name := range f.names {
		text, err := readManifests(name, in)
		if err != nil {
			return err
		}
		if texts[i], err = editManifests(name, text, change); err != nil {
			return err
		}
	}
	if out == nil {
		return nil
	}
	for i, name := range f.names {
		if f.write {
			if err := rewrite(name, texts[i]); err != nil {
				return err
			}
			continue
		}
		if i > 0 && !isSeparator(strings.SplitAfterN(texts[i], "\n", 2)[0]) {
			texts[i] = "---\n" + texts[i]
		}
		if i < len(texts)-1 && !strings.HasSuffix(texts[i], "\n") {
			texts[i] += "\n"
		}
		if _, err := io.WriteString(out, texts[i]); err != nil {
			return err
		}
	}
	return nil
}

func readManifests(name string, in io.Reader) (string, error) {
	if name != "-" {
		text, err := os.ReadFile(name) //nolint:gosec // the user names the file
		return string(text), err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	return string(text), nil
}

// rewrite replaces a file, or the one that a link names, and keeps its mode.
func rewrite(name, text string) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(name, []byte(text)); err != nil {
		return err
	}
	return os.Chmod(name, info.Mode().Perm())
}

// editManifests returns a text with its manifests changed and everything else as it was, byte for byte.
func editManifests(name, text string, change func(*manifest) error) (string, error) {
	if name == "-" {
		name = "standard input"
	}
	var edited strings.Builder
	number := 0
	for _, document := range splitDocuments(text) {
		at := fmt.Sprintf("%s: document %d", name, number+1)
		editor, err := newEditor(document)
		if err != nil {
			return "", fmt.Errorf("%s: %w", at, err)
		}
		if editor.root == nil { // comments only
			edited.WriteString(document)
			continue
		}
		number++
		manifests, err := readDocument(at, editor)
		if err != nil {
			return "", err
		}
		for _, m := range manifests {
			if err := change(m); err != nil {
				return "", fmt.Errorf("%s: %w", m.at, err)
			}
		}
		changed, err := editor.apply()
		if err != nil {
			return "", fmt.Errorf("%s: %w", at, err)
		}
		edited.WriteString(changed)
	}
	return edited.String(), nil
}

// isSeparator reports whether a line separates documents, for YAML and for kubectl.
func isSeparator(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n"))
}

// splitDocuments cuts a text before each separator.
func splitDocuments(text string) (documents []string) {
	start, at := 0, 0
	for line := range strings.SplitAfterSeq(text, "\n") {
		if isSeparator(line) && at > start {
			documents, start = append(documents, text[start:at]), at
		}
		at += len(line)
	}
	return append(documents, text[start:])
}

// errAmbiguous is a field that is not one string for every parser of YAML.
var errAmbiguous = errors.New("spec.value must be one string that every YAML parser reads the same: put it in double " +
	"quotes, without anchors, aliases and tags")

// readDocument returns the SecureValues of a document: itself, or the items of a List.
func readDocument(at string, e *editor) ([]*manifest, error) {
	// kubectl drops what stands on the line of a separator.
	if first, _, _ := strings.Cut(e.text, "\n"); isSeparator(first) && e.root.Line == 1 {
		return nil, fmt.Errorf("%s: move what follows --- to its own line", at)
	}
	read, err := kyaml.YAMLToJSONStrict([]byte(e.text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, yamlError(err))
	}
	if m, err := newManifest(at, read, e.root, e); m != nil || err != nil {
		return []*manifest{m}, err
	}
	var list struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	_, items := fieldOf(e.root, "items")
	if json.Unmarshal(read, &list) != nil || !strings.HasSuffix(list.Kind, "List") || items == nil {
		return nil, nil //nolint:nilerr // another kind
	}
	var manifests []*manifest
	for i, item := range list.Items {
		m, err := newManifest(fmt.Sprintf("%s, item %d", at, i+1), item, items.Content[i], e)
		if err != nil {
			return nil, err
		}
		if m != nil {
			manifests = append(manifests, m)
		}
	}
	return manifests, nil
}

// newManifest returns nil for other kinds. Its errors quote nothing.
func newManifest(at string, read []byte, node *yaml.Node, e *editor) (*manifest, error) {
	var kind metav1.TypeMeta
	if json.Unmarshal(read, &kind) != nil || kind.Kind != "SecureValue" ||
		kind.GroupVersionKind().Group != v1beta1.GroupName {
		return nil, nil //nolint:nilerr // another kind
	}
	m := &manifest{at: at, node: node, text: e}
	err := json.Unmarshal(read, m)
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("%s: %s has the wrong type", at, typed.Field)
	}
	_, spec := fieldOf(node, "spec")
	_, value := fieldOf(spec, "value")
	if err != nil || (value == nil) != (m.Spec.Value == nil) ||
		value != nil && (value.Anchor != "" || value.Style&yaml.TaggedStyle != 0 ||
			value.Kind != yaml.ScalarNode || value.Value != m.Spec.Value.Expose()) {
		return nil, fmt.Errorf("%s: %w", at, errAmbiguous)
	}
	return m, nil
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// yamlError replaces an error of a parser, which may quote a value.
func yamlError(err error) error {
	what := "invalid YAML"
	if strings.Contains(err.Error(), "already set in map") {
		what = "duplicate field"
	}
	if line := yamlLine.FindString(err.Error()); line != "" {
		what += " at " + line + " of the document"
	}
	return errors.New(what)
}

// check reports what a server would refuse before it looks at the value, and names that a text cannot be sealed for.
func (m *manifest) check() error {
	if m.Metadata.GenerateName != "" {
		return errors.New("metadata.generateName: a value is sealed for one name; set metadata.name instead")
	}
	sv := &v1beta1.SecureValue{}
	sv.Namespace, sv.Name, sv.Labels = m.Metadata.Namespace, m.Metadata.Name, m.Metadata.Labels
	sv.Spec.Description, sv.Spec.Decrypters = m.Spec.Description, m.Spec.Decrypters
	return violations(sv).ToAggregate()
}
