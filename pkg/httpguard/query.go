// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// hidden replaces what was removed.
const hidden = "REDACTED"

// selectorParameter is the query parameter that selects by fields.
const selectorParameter = "fieldSelector"

// selectableFields are the fields that a client may select by: their values are not secret.
var selectableFields = sets.New("metadata.name", "metadata.namespace", "spec.decrypter")

// knownParameters are the query parameters of the Kubernetes API, and of the health paths.
var knownParameters = optionNames(
	metav1.ListOptions{}, metav1.GetOptions{}, metav1.CreateOptions{}, metav1.UpdateOptions{},
	metav1.PatchOptions{}, metav1.DeleteOptions{}, metav1.TableOptions{},
).Insert("kind", "apiVersion", "timeout", "pretty", "verbose", "exclude")

var (
	// fieldPath matches what looks like the name of a field and not like a value.
	fieldPath = regexp.MustCompile(`^(metadata|spec|status)(\.[A-Za-z]{1,32}){0,3}$`)
)

// optionNames collects the JSON names of the fields of API options.
func optionNames(options ...any) sets.Set[string] {
	names := sets.New[string]()
	for _, option := range options {
		for field := range reflect.TypeOf(option).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && name != "-" {
				names.Insert(name)
			}
		}
	}
	return names
}

// IsSecretPath reports whether a decoded URL path may be one of this API group or of the decrypt service.
func IsSecretPath(path string) bool {
	return strings.Contains(strings.ToLower(path), secret.GroupName) ||
		strings.HasPrefix(strings.TrimLeft(path, "/"), "decrypt")
}

// ScrubURI removes from a request URI what may be a value: see ScrubQuery. One that cannot be parsed keeps its path
// only.
func ScrubURI(uri string) string {
	prefix, query, found := strings.Cut(uri, "?")
	if !found {
		return uri
	}
	parsed, err := url.ParseRequestURI(uri)
	if err != nil {
		return prefix + "?" + hidden
	}
	return prefix + "?" + ScrubQuery(parsed.Path, query)
}

// ScrubQuery removes from a raw query what may be a value: terms of a field selector on fields that are not selectable
// (the request fails later), parameters unknown to Kubernetes, and what cannot be decoded. The name of a field is kept
// if it looks like one, that of a parameter if it is known: a secret may be pasted in place of a name. Other queries
// are returned unchanged.
func ScrubQuery(path, rawQuery string) string {
	if rawQuery == "" {
		return rawQuery
	}
	secretPath := IsSecretPath(path)
	openAPI := strings.HasPrefix(path, "/openapi/")
	segments := strings.Split(rawQuery, "&")
	kept := segments[:0]
	for _, segment := range segments {
		// With a stale hash upstream redirects; without one it serves the document.
		if openAPI && strings.HasPrefix(segment, "hash=") {
			continue
		}
		kept = append(kept, scrubSegment(segment, secretPath))
	}
	return strings.Join(kept, "&")
}

// scrubSegment scrubs one name=value of a raw query.
func scrubSegment(segment string, secretPath bool) string {
	rawName, rawValue, hasValue := strings.Cut(segment, "=")
	name, err := url.QueryUnescape(rawName)
	if segment == "" {
		return segment
	}
	if err != nil || strings.Contains(rawName, ";") {
		return hidden // upstream drops it as well, but logs it
	}
	value, err := url.QueryUnescape(rawValue)
	// As in url.ParseQuery, which drops what has a semicolon.
	undecodable := err != nil || strings.Contains(rawValue, ";")
	switch {
	case name == selectorParameter:
		if undecodable {
			return selectorParameter + "=" + url.QueryEscape(hidden+"="+hidden)
		}
		if scrubbed := scrubSelector(value); scrubbed != value {
			return selectorParameter + "=" + url.QueryEscape(scrubbed)
		}
		return segment
	case knownParameters.Has(name) && !undecodable, !secretPath && !undecodable:
		return segment
	case knownParameters.Has(name) && hasValue:
		return name + "=" + hidden
	}
	return hidden
}

// scrubSelector replaces the values of terms on fields that are not selectable.
func scrubSelector(text string) string {
	selector, err := fields.ParseSelector(text)
	if err != nil {
		return hidden + "=" + hidden
	}
	unknown := false
	var terms []string
	for _, term := range selector.Requirements() {
		field, value := term.Field, term.Value
		if !selectableFields.Has(field) {
			unknown = true
			value = hidden
			if !fieldPath.MatchString(field) {
				field = hidden
			}
		}
		terms = append(terms, field+string(term.Operator)+fields.EscapeValue(value))
	}
	if !unknown {
		return text
	}
	slices.Sort(terms) // as the parser does, so that scrubbing is idempotent
	return strings.Join(terms, ",")
}
