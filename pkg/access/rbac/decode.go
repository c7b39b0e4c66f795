// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// list is a List of core v1 or one of the typed lists. Its items are decoded one by one.
type list struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []json.RawMessage `json:"items"`
}

// decodeFile returns the objects of a file and all its faults. An object with a fault is returned too, so that a
// binding to it is not another fault.
func decodeFile(f file) ([]*item, []error) {
	docs := []document{{number: 1, line: 1, data: f.data}}
	isJSON := filepath.Ext(f.path) == ".json"
	var err error
	if !isJSON {
		docs, err = split(f.data)
	} else if !utf8.Valid(f.data) {
		err = errNotUTF8
	}
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", f.path, err)}
	}
	var items []*item
	var errs []error
	for _, doc := range docs {
		at := fmt.Sprintf("%s, document %d (line %d)", f.path, doc.number, doc.line)
		found, faults := decodeDocument(at, doc.data, isJSON)
		items, errs = append(items, found...), append(errs, faults...)
	}
	return items, errs
}

func decodeDocument(at string, data []byte, isJSON bool) ([]*item, []error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	if !isJSON {
		var err error
		if data, err = yaml.YAMLToJSONStrict(data); err != nil {
			return nil, []error{fmt.Errorf("%s: %w", at, cleanYAML(err))}
		}
		if string(data) == "null" {
			return nil, nil
		}
	}
	return decodeObject(at, data, metav1.TypeMeta{}, true)
}

// cleanYAML returns a YAML error on one line. Its text contains lines and keys, not values.
func cleanYAML(err error) error {
	return errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
}

// decodeObject decodes one object or a list. fallback is the type of an object without kind and apiVersion, as items of
// a typed list may be.
func decodeObject(at string, data []byte, fallback metav1.TypeMeta, mayBeList bool) ([]*item, []error) {
	var meta metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &meta); err != nil {
		return nil, []error{fmt.Errorf("%s: not a Kubernetes object: %w", at, err)}
	}
	if meta == (metav1.TypeMeta{}) {
		meta = fallback
	}
	if itemMeta, ok := listOf(meta); ok && mayBeList {
		return decodeList(at, data, itemMeta)
	}
	object := newObject(meta)
	if object == nil {
		return nil, []error{fmt.Errorf("%s: kind %q of apiVersion %q is not supported; only Role, ClusterRole, "+
			"RoleBinding "+
			"and ClusterRoleBinding of %s, and lists of them, may be in this folder", at, meta.Kind, meta.APIVersion,
			rbacv1.SchemeGroupVersion)}
	}
	strict, err := kjson.UnmarshalStrict(data, object)
	i := newItem(at, object)
	if err != nil {
		i.broken = true
		return []*item{i}, []error{i.errorf("%w%s", err, quoteHint(err))}
	}
	errs := make([]error, 0, len(strict))
	for _, fault := range strict {
		errs = append(errs, i.errorf("%w; correct or remove it", fault))
	}
	return []*item{i}, errs
}

// quoteHint helps with plain YAML scalars that are not strings, such as n, on and 1.
func quoteHint(err error) string {
	if strings.HasSuffix(err.Error(), "of type string") {
		return "; put it in quotes"
	}
	return ""
}

func decodeList(at string, data []byte, fallback metav1.TypeMeta) ([]*item, []error) {
	var l list
	strict, err := kjson.UnmarshalStrict(data, &l)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", at, err)}
	}
	var items []*item
	var errs []error
	for _, fault := range strict {
		errs = append(errs, fmt.Errorf("%s: %s: %w; correct or remove it", at, l.Kind, fault))
	}
	for n, raw := range l.Items {
		found, faults := decodeObject(fmt.Sprintf("%s, items[%d]", at, n), raw, fallback, false)
		items, errs = append(items, found...), append(errs, faults...)
	}
	return items, errs
}

// listOf reports whether an object is a list, and the type of items that do not name theirs.
func listOf(meta metav1.TypeMeta) (metav1.TypeMeta, bool) {
	if meta.APIVersion == "v1" && meta.Kind == "List" {
		return metav1.TypeMeta{}, true
	}
	kind, ok := strings.CutSuffix(meta.Kind, "List")
	of := metav1.TypeMeta{APIVersion: meta.APIVersion, Kind: kind}
	return of, ok && newObject(of) != nil
}

// newObject returns an empty object of a supported type, or nil.
func newObject(meta metav1.TypeMeta) any {
	if meta.APIVersion != rbacv1.SchemeGroupVersion.String() {
		return nil
	}
	switch meta.Kind {
	case kindRole:
		return &rbacv1.Role{}
	case kindClusterRole:
		return &rbacv1.ClusterRole{}
	case kindRoleBinding:
		return &rbacv1.RoleBinding{}
	case kindClusterRoleBinding:
		return &rbacv1.ClusterRoleBinding{}
	}
	return nil
}

// document is one YAML or JSON document of a file.
type document struct {
	number, line int // from 1; line is where the document starts
	data         []byte
}

var (
	errNotUTF8   = errors.New("is not UTF-8 text; save it as UTF-8")
	errLineBreak = errors.New("contains a byte order mark or line breaks other than LF and CRLF, which could hide a " +
		"document; remove them")
	errAfterEnd = errors.New("contains text after the document end marker `...`; start the " +
		"next document with a line `---`")
)

// split splits a YAML stream into documents. The YAML library reads the first document of its input and ignores the
// rest, so every form of separator must be recognized here: `---` with a comment after it, and `...` too. (The reader
// of apimachinery's util/yaml does not know `...` and reports no line.)
func split(data []byte) ([]document, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if oddBreak(data) {
		return nil, errLineBreak
	}
	var docs []document
	current := document{number: 1, line: 1}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		ends := marker(text, "...")
		if ends && !blank(text[len("..."):]) {
			return nil, errAfterEnd
		}
		if (ends || marker(text, "---")) && !blank(current.data) {
			docs = append(docs, current)
			current = document{number: current.number + 1, line: line}
		}
		if !ends {
			current.data = append(current.data, text...)
		}
	}
	return append(docs, current), nil
}

// marker reports whether a line is a document marker, alone or followed by white space.
func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// oddBreak reports whether text contains what is a line break for YAML and not for split.
func oddBreak(data []byte) bool {
	withoutCRLF := bytes.ReplaceAll(data, []byte("\r\n"), nil)
	return bytes.ContainsAny(withoutCRLF, "\r\u0085\u2028\u2029\ufeff")
}

// blank reports whether a document contains nothing but comments.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		text := bytes.TrimSpace(line)
		if len(text) > 0 && text[0] != '#' {
			return false
		}
	}
	return true
}
