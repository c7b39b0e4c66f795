// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"cmp"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"

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

// get is the face for readers that speak plain HTTP: one value for one GET.
type get struct {
	service  *Service
	refusals *refusals
}

// splitGetPath takes a path apart. It knows no escapes: what has to be escaped is no name.
func splitGetPath(path string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(path, getPrefix)
	if !ok {
		return "", "", false
	}
	rest, ok = strings.CutSuffix(rest, getSuffix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, getMiddle)
	if !ok || namespace == "" || name == "" || strings.Contains(namespace, "/") || strings.Contains(name, "/") {
		return "", "", false
	}
	return namespace, name, true
}

// ServeHTTP answers for a path that splitGetPath takes apart.
func (h *get) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		writeStatus(w, http.StatusMethodNotAllowed, "only GET reads a value")
		return
	}
	namespace, name, _ := splitGetPath(r.URL.Path)
	answer, err := h.service.Decrypt(r.Context(), newRequest(r.Context(), r.RemoteAddr, namespace, name))
	if err == nil {
		err = answer.Results[0].refusal()
	}
	if err != nil {
		h.refuse(w, r, err)
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

// accepted is how an Accept header takes a media type: with which weight, how closely the range that matches it best names
// it (0 for no match to 3 for its full name), and the position of that range.
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

// prefersPlain reports whether Accept headers prefer text/plain to application/json (RFC 9110, 12.5.1): by weight, then by
// how closely they name it, then by what comes first. A caller that takes neither gets JSON.
func prefersPlain(headers []string) bool {
	ranges := strings.Split(strings.Join(headers, ","), ",")
	json, plain := acceptedBy(ranges, typeJSON), acceptedBy(ranges, typePlain)
	return plain.weight > 0 && cmp.Or(cmp.Compare(plain.weight, json.weight),
		cmp.Compare(plain.closeness, json.closeness), cmp.Compare(json.position, plain.position)) > 0
}

func (h *get) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*connect.Error](err)
	if !ok {
		refusal = connect.NewError(connect.CodeInternal, errors.New("internal error"))
	}
	h.refusals.write(w, r, refusal)
}

// refusal is the error of a single name.
func (r *Result) refusal() error {
	code := connect.CodeInternal
	switch r.Outcome {
	case Released:
		return nil
	case NotAuthorized:
		code = connect.CodePermissionDenied
	case NotFound:
		code = connect.CodeNotFound
	case KeyUnavailable:
		code = connect.CodeUnavailable
	default:
	}
	return connect.NewError(code, errors.New(r.Outcome.Message()))
}

// writeValue writes a body with a value in it and wipes the body.
func writeValue(w http.ResponseWriter, contentType string, body []byte) {
	defer clear(body)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the caller may be gone
}

// appendQuoted appends a value as a JSON string. encoding/json would leave a copy of it in a buffer that it uses again. A
// value is valid UTF-8, so only quotes, backslashes and control characters need an escape.
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
