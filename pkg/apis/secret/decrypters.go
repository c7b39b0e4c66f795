// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxKeptBy is the maximum number of users in DecrypterHistory: with more, the first one is dropped, and warned again.
const maxKeptBy = 16

// +k8s:deepcopy-gen=false

// DecrypterHistory records who listed which decrypter of an object, and who has written a value since the list last
// grew. It tells whether a writer makes a value readable by decrypters that another user listed. Removals and
// reordering add no reader and are not recorded.
type DecrypterHistory struct {
	createdBy string
	addedBy   map[string]string
	keptBy    []string
}

// HistoryOf reads the annotations of an object. An invalid one counts as absent.
func HistoryOf(annotations map[string]string) DecrypterHistory {
	h := DecrypterHistory{createdBy: annotations[AnnotationCreatedBy]}
	_ = json.Unmarshal([]byte(annotations[AnnotationDecryptersAddedBy]), &h.addedBy)
	_ = json.Unmarshal([]byte(annotations[AnnotationDecryptersKeptBy]), &h.keptBy)
	return h
}

// ListedBy returns the user who listed a decrypter, "" if unknown. The creator listed what the object was created with:
// deleting an object and creating it with a longer list is like extending the list.
func (h DecrypterHistory) ListedBy(decrypter string) string {
	if user, ok := h.addedBy[decrypter]; ok {
		return user
	}
	return h.createdBy
}

// Unseen returns those of the decrypters that other users listed since this user last wrote a value for the list.
func (h DecrypterHistory) Unseen(decrypters []string, user string) []string {
	if slices.Contains(h.keptBy, user) {
		return nil
	}
	return h.ofOthers(decrypters, user)
}

func (h DecrypterHistory) ofOthers(decrypters []string, user string) []string {
	var others []string
	for _, decrypter := range decrypters {
		if by := h.ListedBy(decrypter); by != "" && by != user {
			others = append(others, decrypter)
		}
	}
	return others
}

// Describe names decrypters and who listed each: `a (listed by "x"), b (listed by "y")`.
func (h DecrypterHistory) Describe(decrypters []string) string {
	described := make([]string, len(decrypters))
	for i, decrypter := range decrypters {
		described[i] = fmt.Sprintf("%s (listed by %q)", decrypter, h.ListedBy(decrypter))
	}
	return strings.Join(described, ", ")
}

// Change records that a user changed the list, and whether the user wrote a value with it.
func (h DecrypterHistory) Change(before, after []string, user string, wroteValue bool) DecrypterHistory {
	next := DecrypterHistory{createdBy: h.createdBy, addedBy: maps.Clone(h.addedBy), keptBy: slices.Clone(h.keptBy)}
	if next.addedBy == nil {
		next.addedBy = map[string]string{}
	}
	maps.DeleteFunc(next.addedBy, func(decrypter, _ string) bool { return !slices.Contains(after, decrypter) })
	for _, decrypter := range after {
		if slices.Contains(before, decrypter) {
			continue
		}
		next.keptBy = slices.DeleteFunc(next.keptBy, func(kept string) bool { return kept != user })
		if user != h.createdBy {
			next.addedBy[decrypter] = user
		}
	}
	if wroteValue && len(next.ofOthers(after, user)) > 0 {
		next.keptBy = append(slices.DeleteFunc(next.keptBy, func(kept string) bool { return kept == user }), user)
		next.keptBy = next.keptBy[max(0, len(next.keptBy)-maxKeptBy):]
	}
	return next
}

// Annotations returns AnnotationDecryptersAddedBy and AnnotationDecryptersKeptBy, each "" if there is nothing to
// record.
func (h DecrypterHistory) Annotations() (addedBy, keptBy string) {
	if len(h.addedBy) > 0 {
		data, _ := json.Marshal(h.addedBy) // strings always encode
		addedBy = string(data)
	}
	if len(h.keptBy) > 0 {
		data, _ := json.Marshal(h.keptBy)
		keptBy = string(data)
	}
	return addedBy, keptBy
}
