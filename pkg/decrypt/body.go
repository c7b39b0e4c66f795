// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// body is the JSON of a GET, but for the value: what the readers of the field expect (docs/decrypt.md).
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
}

type label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// jsonBody is the body of a GET. It is made in one allocation, so that wiping it wipes the value.
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
