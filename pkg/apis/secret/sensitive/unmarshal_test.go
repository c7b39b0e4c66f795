// SPDX-License-Identifier: Apache-2.0

package sensitive_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

func TestUnmarshalJSON(t *testing.T) {
	tests := []struct {
		name, raw, want string
		err             error
	}{
		{name: "plain", raw: `"hunter2"`, want: "hunter2"},
		{name: "empty", raw: `""`, want: ""},
		{name: "two-byte escapes", raw: `"\"\\\/\b\f\n\r\t"`, want: "\"\\/\b\f\n\r\t"},
		{name: "escaped backslash before u", raw: `"\\ud800"`, want: `\ud800`},
		{name: "escaped backslash twice before u", raw: `"\\\\ud800"`, want: `\\ud800`},
		{name: "unicode escape", raw: `"\u00e9\u0000"`, want: "é\x00"},
		{name: "surrogate pair", raw: `"\ud83d\ude00"`, want: "😀"},
		{name: "surrogate pair in capitals", raw: `"\uD83D\uDE00"`, want: "😀"},
		{name: "two pairs", raw: `"\ud83d\ude00\ud83d\ude01"`, want: "😀😁"},
		{name: "first and last code points of the pairs", raw: `"\ud800\udc00\udbff\udfff"`,
			want: "\U00010000\U0010ffff"},
		{name: "neighbours of the surrogates", raw: `"\ud7ff\ue000"`, want: "\ud7ff\ue000"},
		{name: "U+FFFD as the writer gave it", raw: `"\ufffd` + "\ufffd" + `"`, want: "\ufffd\ufffd"},
		{name: "raw UTF-8", raw: `"日本語😀"`, want: "日本語😀"},

		{name: "lone high", raw: `"\ud800"`, err: sensitive.ErrNotUTF8},
		{name: "lone high before text", raw: `"\ud800abcdef"`, err: sensitive.ErrNotUTF8},
		{name: "lone high before an escape", raw: `"\ud800\n"`, err: sensitive.ErrNotUTF8},
		{name: "lone high before a plain unit", raw: `"\ud800\u0041"`, err: sensitive.ErrNotUTF8},
		{name: "two highs", raw: `"\ud800\ud800\udc00"`, err: sensitive.ErrNotUTF8},
		{name: "lone low", raw: `"\udc00"`, err: sensitive.ErrNotUTF8},
		{name: "two lows", raw: `"\udc00\udc00"`, err: sensitive.ErrNotUTF8},
		{name: "lone low after a pair", raw: `"\ud83d\ude00\ude00"`, err: sensitive.ErrNotUTF8},
		{name: "reversed pair", raw: `"\udc00\ud800"`, err: sensitive.ErrNotUTF8},
		{name: "lone after an escaped backslash", raw: `"\\\ud800"`, err: sensitive.ErrNotUTF8},
		{name: "invalid UTF-8", raw: "\"a\xffb\"", err: sensitive.ErrNotUTF8},
		{name: "truncated UTF-8", raw: "\"\xe6\x97\"", err: sensitive.ErrNotUTF8},
		{name: "surrogate in UTF-8", raw: "\"\xed\xa0\x80\"", err: sensitive.ErrNotUTF8},
		{name: "overlong UTF-8", raw: "\"\xc0\x80\"", err: sensitive.ErrNotUTF8},

		{name: "number", raw: `123456`, err: sensitive.ErrNotString},
		{name: "big number", raw: `1e400`, err: sensitive.ErrNotString},
		{name: "true", raw: `true`, err: sensitive.ErrNotString},
		{name: "false", raw: `false`, err: sensitive.ErrNotString},
		{name: "null", raw: `null`, err: sensitive.ErrNotString},
		{name: "object", raw: `{"a":"hunter2"}`, err: sensitive.ErrNotString},
		{name: "array", raw: `["hunter2"]`, err: sensitive.ErrNotString},
		{name: "nothing", raw: ``, err: sensitive.ErrNotString},
		{name: "one quote", raw: `"`, err: sensitive.ErrNotString},
		{name: "truncated", raw: `"hunter2`, err: sensitive.ErrNotString},
		{name: "truncated escape", raw: `"\u12"`, err: sensitive.ErrNotString},
		{name: "unknown escape", raw: `"\x41"`, err: sensitive.ErrNotString},
		{name: "trailing data", raw: `"a""b"`, err: sensitive.ErrNotString},
		{name: "control character", raw: "\"a\nb\"", err: sensitive.ErrNotString},
		{name: "bare quote inside", raw: `"a"b"`, err: sensitive.ErrNotString},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := sensitive.Value("before")
			err := v.UnmarshalJSON([]byte(tt.raw))
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if err == nil && v.Expose() != tt.want {
				t.Errorf("got %q, want %q", v.Expose(), tt.want)
			}
			if err != nil && v.Expose() != "before" {
				t.Error("a refused value was taken over")
			}
		})
	}
}

// The texts reach clients and logs, so they are fixed and hold nothing of the input.
func TestUnmarshalErrorsAreConstant(t *testing.T) {
	for raw, want := range map[string]string{
		`{"hunter2":1}`:     "spec.value must be a string",
		`"hunter2\ud800"`:   "spec.value must be valid UTF-8 without lone surrogate escapes",
		"\"hunter2\xff\"":   "spec.value must be valid UTF-8 without lone surrogate escapes",
		`"hunter2\u12"`:     "spec.value must be a string",
		`31337`:             "spec.value must be a string",
		`["hunter2", true]`: "spec.value must be a string",
	} {
		var v sensitive.Value
		if err := v.UnmarshalJSON([]byte(raw)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %q", raw, err, want)
		}
	}
}

func TestUnmarshalInStruct(t *testing.T) {
	type spec struct {
		Value *sensitive.Value `json:"value,omitempty"`
	}
	for raw, isNil := range map[string]bool{`{}`: true, `{"value":null}`: true, `{"value":""}`: false,
		`{"value":"x"}`: false} {
		var s spec
		if err := json.Unmarshal([]byte(raw), &s); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if (s.Value == nil) != isNil {
			t.Errorf("%s: nil is %t, want %t", raw, s.Value == nil, isNil)
		}
	}
	for _, raw := range []string{`{"value":1}`, `{"value":{}}`, `{"value":[]}`, `{"value":true}`} {
		if err := json.Unmarshal([]byte(raw), new(spec)); !errors.Is(err, sensitive.ErrNotString) {
			t.Errorf("%s: got %v, want ErrNotString", raw, err)
		}
	}
}

// FuzzUnmarshalJSON holds the type to encoding/json: the same value where both accept, and never a replacement
// character that the writer did not give.
func FuzzUnmarshalJSON(f *testing.F) {
	for _, seed := range []string{
		`"a"`, `""`, `"\ud83d\ude00"`, `"\ud800"`, `"\udc00\ud800"`, `"\\ud800"`, `"\u00e9"`, `"\uFFFD"`, "\"\xff\"",
		"\"\ufffd\"",
		`1`, `null`, `{}`, `[]`, `"`, `"\`, `"\u`, `"\ud800\`, `"\ud800\u`, ` "a"`, `"a" `, `"\ud800\udbff\udfff"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var v sensitive.Value
		err := v.UnmarshalJSON(raw)
		var want string
		wantErr := json.Unmarshal(raw, &want)
		if err != nil {
			if !errors.Is(err, sensitive.ErrNotString) && !errors.Is(err, sensitive.ErrNotUTF8) {
				t.Fatalf("the error is not one of the constants: %v", err)
			}
			mustHaveReason(t, raw, want, wantErr)
			return
		}
		if wantErr != nil || v.Expose() != want {
			t.Fatalf("%q: got %q, encoding/json %q and %v", raw, v.Expose(), want, wantErr)
		}
		if !utf8.ValidString(want) {
			t.Fatalf("%q: accepted a value that is not UTF-8", raw)
		}
		given := strings.Count(string(raw), "\ufffd") + strings.Count(strings.ToLower(string(raw)), `\ufffd`)
		if strings.Count(want, "\ufffd") > given {
			t.Fatalf("%q: a replacement character appeared", raw)
		}
	})
}

// mustHaveReason says that a refused input is one that encoding/json refuses as well, or would alter, or is not a bare
// string literal.
func mustHaveReason(t *testing.T, raw []byte, decoded string, err error) {
	t.Helper()
	if err != nil || len(raw) == 0 || raw[0] != '"' || !utf8.Valid(raw) || strings.Contains(decoded, "\ufffd") {
		return
	}
	t.Fatalf("%q: refused without a reason", raw)
}
