// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"strings"
	"testing"
)

// write is one request: a list, and whether a value came with it.
type write struct {
	user, list string
	value      bool
}

// history replays writes on an object that alice created.
func history(created string, writes ...write) (h DecrypterHistory, list []string) {
	annotations := map[string]string{AnnotationCreatedBy: "alice"}
	list = strings.Fields(created)
	for _, w := range writes {
		next := strings.Fields(w.list)
		annotations[AnnotationDecryptersAddedBy], annotations[AnnotationDecryptersKeptBy] =
			HistoryOf(annotations).Change(list, next, w.user, w.value).Annotations()
		list = next
	}
	return HistoryOf(annotations), list
}

func TestUnseenDecrypters(t *testing.T) {
	planted := write{"mallory", "a x", true}
	tests := []struct {
		name   string
		writes []write
		want   map[string]string // what each user has not seen
	}{
		{"created", nil, map[string]string{"alice": "", "bob": "a"}},
		{"value by another", []write{{"bob", "a", true}}, map[string]string{"alice": "", "bob": "", "carol": "a"}},
		{"description by another", []write{{"bob", "a", false}}, map[string]string{"bob": "a"}},
		{"planted with a value", []write{planted}, map[string]string{"alice": "x", "mallory": "", "bob": "a x"}},
		{"planted by extend", []write{{"mallory", "a x", false}}, map[string]string{"alice": "x", "mallory": "a"}},
		{"planted on a list that the writer knew", []write{{"bob", "a", true}, planted},
			map[string]string{"alice": "x", "bob": "a x"}},
		{"written once since", []write{planted, {"alice", "a x", true}}, map[string]string{"alice": "", "bob": "a x"}},
		{"written by an accomplice", []write{planted, {"eve", "a x", true}}, map[string]string{"alice": "x"}},
		{"value by the one who planted it", []write{planted, {"mallory", "a x", true}},
			map[string]string{"alice": "x"}},
		{"reordered by the owner", []write{planted, {"alice", "x a", false}}, map[string]string{"alice": "x"}},
		{"shortened by the owner", []write{planted, {"alice", "x", false}}, map[string]string{"alice": "x"}},
		{"lengthened by the owner without a value", []write{planted, {"alice", "a x b", false}},
			map[string]string{"alice": "x", "bob": "a x b"}},
		{"shortened by another", []write{{"alice", "a b", true}, {"mallory", "a", true}},
			map[string]string{"alice": ""}},
		{"planted, taken off and listed by the owner",
			[]write{planted, {"alice", "a", false}, {"alice", "a x", false}}, map[string]string{"alice": ""}},
		{"the owner's, taken off and listed again by another", []write{{"mallory", "", true}, {"mallory", "a", true}},
			map[string]string{"alice": "a"}},
		{"planted twice", []write{planted, {"alice", "a x", true}, {"mallory", "a x y", true}},
			map[string]string{"alice": "x y"}},
		{"extended by one who knows it", []write{planted, {"alice", "a x", true}, {"alice", "a x b", false}},
			map[string]string{"alice": "", "mallory": "a b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, list := history("a", tt.writes...)
			for user, want := range tt.want {
				if got := strings.Join(h.Unseen(list, user), " "); got != want {
					t.Errorf("%s has not seen %q, want %q", user, got, want)
				}
			}
		})
	}
}

// An object that nobody but its creator writes carries nothing more.
func TestHistoryOfOneUserIsEmpty(t *testing.T) {
	h, _ := history("a", write{"alice", "a b", true}, write{"alice", "b", false}, write{"alice", "b c", false})
	if addedBy, keptBy := h.Annotations(); addedBy != "" || keptBy != "" {
		t.Errorf("got %q and %q", addedBy, keptBy)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var writes []write
	for i := range 3 * maxKeptBy {
		writes = append(writes, write{fmt.Sprint("user-", i), "a", true})
	}
	h, list := history("a", writes...)
	if len(h.keptBy) != maxKeptBy || h.Unseen(list, "user-47") != nil || h.Unseen(list, "user-31") == nil {
		t.Errorf("got %v", h.keptBy)
	}
}

func TestHistoryThatCannotBeRead(t *testing.T) {
	h := HistoryOf(map[string]string{AnnotationCreatedBy: "alice", AnnotationDecryptersAddedBy: "{",
		AnnotationDecryptersKeptBy: `{"bob":1}`})
	if h.ListedBy("a") != "alice" || len(h.Unseen([]string{"a"}, "bob")) != 1 {
		t.Errorf("got %+v", h)
	}
	if HistoryOf(nil).Unseen([]string{"a"}, "bob") != nil {
		t.Error("nobody is known to have listed it")
	}
}
