// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// The path of a GET is getPrefix NAMESPACE getMiddle NAME getSuffix.
const (
	getPrefix = "/decrypt/v1/namespaces/"
	getMiddle = "/secrets/"
	getSuffix = "/decrypt"
)

const (
	typeJSON  = "application/json"
	typePlain = "text/plain"
)

// splitGetPath parses a path. It decodes no escapes: what has to be escaped is not a name.
func splitGetPath(path string) (namespace, name string, ok bool) {
	rest, prefixed := strings.CutPrefix(path, getPrefix)
	rest, suffixed := strings.CutSuffix(rest, getSuffix)
	namespace, name, split := strings.Cut(rest, getMiddle)
	if !prefixed || !suffixed || !split || namespace == "" || name == "" ||
		strings.Contains(namespace, "/") || strings.Contains(name, "/") {
		return "", "", false
	}
	return namespace, name, true
}

// get is the handler for readers that use plain HTTP: one value per GET.
type get struct {
	service *Service
}

// ServeHTTP serves the paths that splitGetPath parses.
func (h *get) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		writeStatus(w, http.StatusMethodNotAllowed, "only GET reads a value")
		return
	}
	namespace, name, _ := splitGetPath(r.URL.Path)
	answer, err := h.service.Decrypt(r.Context(), newRequest(r.Context(), r.RemoteAddr, namespace, name))
	if err == nil {
		err = answer.Results[0].err()
	}
	if err != nil {
		refusal, ok := errors.AsType[*connect.Error](err)
		if !ok {
			refusal = connect.NewError(connect.CodeInternal, errors.New("internal error"))
		}
		refuse(w, r, refusal)
		return
	}
	result := &answer.Results[0]
	w.Header().Set(HeaderRevision, strconv.FormatInt(answer.Revision, 10))
	if prefersPlain(r.Header.Values("Accept")) {
		writeValue(w, typePlain+"; charset=utf-8", []byte(result.Value.Expose()))
		return
	}
	writeValue(w, typeJSON, jsonBody(result))
}

// accepted is how an Accept header matches a media type: the weight and closeness of the best range (0 for no match to
// 3 for its full name), and its position.
type accepted struct {
	weight              float64
	closeness, position int
}

func acceptedBy(ranges []string, mediaType string) accepted {
	var best accepted
	group, _, _ := strings.Cut(mediaType, "/")
	for i, mediaRange := range ranges {
		name, params, err := mime.ParseMediaType(mediaRange)
		closeness := 1 + slices.Index([]string{"*/*", group + "/*", mediaType}, name)
		if err != nil || closeness <= best.closeness {
			continue
		}
		weight, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			weight = 1
		}
		best = accepted{weight, closeness, i}
	}
	return best
}

// prefersPlain reports whether Accept headers prefer text/plain to application/json (RFC 9110, 12.5.1): by weight, then
// closeness, then position. A caller that accepts neither gets JSON.
func prefersPlain(headers []string) bool {
	ranges := strings.Split(strings.Join(headers, ","), ",")
	json, plain := acceptedBy(ranges, typeJSON), acceptedBy(ranges, typePlain)
	return plain.weight > 0 && cmp.Or(cmp.Compare(plain.weight, json.weight),
		cmp.Compare(plain.closeness, json.closeness), cmp.Compare(json.position, plain.position)) > 0
}

// writeValue writes a body with a value in it and wipes the body.
func writeValue(w http.ResponseWriter, contentType string, body []byte) {
	defer clear(body)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the caller may be gone
}

// body is the JSON of a GET without the value, as the readers of the field expect it (docs/decrypt.md).
type body struct {
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Labels      []label `json:"labels"`
	UUID        string  `json:"uuid"`
	OrgID       int64   `json:"org_id,omitempty"`
	StackID     int64   `json:"stack_id,omitempty"`
	CreatedBy   string  `json:"created_by"`
	CreatedAt   int64   `json:"created_at"`  // Unix seconds
	ModifiedAt  int64   `json:"modified_at"` // Unix seconds
	Version     int64   `json:"version"`     // status.version, which secretwatch.v1 sends
}

type label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// jsonBody returns the body of a GET in one allocation, so that wiping it wipes the value.
func jsonBody(r *Result) []byte {
	described, err := json.Marshal(describe(r.Object))
	if err != nil {
		described = []byte("{}") // strings and numbers always marshal
	}
	const worst = len(`\u0000`) // of one byte of a value
	out := make([]byte, 0, len(described)+len(`,"plaintext":""`)+worst*len(r.Value))
	out = append(out, described[:len(described)-1]...)
	out = append(out, `,"plaintext":`...)
	out = appendQuoted(out, r.Value)
	return append(out, '}')
}

func describe(sv *secret.SecureValue) body {
	created := sv.CreationTimestamp.Unix()
	out := body{
		Name: sv.Name, Description: sv.Spec.Description, Labels: make([]label, 0, len(sv.Labels)), UUID: string(sv.UID),
		OrgID: numberAfter(sv.Namespace, "org-"), StackID: numberAfter(sv.Namespace, "stacks-"),
		CreatedBy: sv.Annotations[secret.AnnotationCreatedBy], CreatedAt: created, ModifiedAt: created,
		Version: sv.Status.Version,
	}
	if sv.Namespace == "default" {
		out.OrgID = 1 // as Grafana maps it
	}
	if updated, err := time.Parse(time.RFC3339, sv.Annotations[secret.AnnotationUpdatedTimestamp]); err == nil {
		out.ModifiedAt = updated.Unix()
	}
	for _, name := range slices.Sorted(maps.Keys(sv.Labels)) {
		out.Labels = append(out.Labels, label{name, sv.Labels[name]})
	}
	return out
}

// numberAfter returns the id in a namespace such as stacks-42, and 0, which is left out, for any other namespace.
func numberAfter(namespace, prefix string) int64 {
	rest, ok := strings.CutPrefix(namespace, prefix)
	if !ok {
		return 0
	}
	id, err := strconv.ParseInt(rest, 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return id
}

// appendQuoted appends a value as a JSON string. encoding/json would leave a copy of it in a pooled buffer. A value is
// valid UTF-8, so only quotes, backslashes and control characters need an escape.
func appendQuoted(dst []byte, v sensitive.Value) []byte {
	const hex = "0123456789abcdef"
	s := v.Expose()
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
