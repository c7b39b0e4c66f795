// SPDX-License-Identifier: Apache-2.0

package sealing

import (
	"strconv"
	"strings"
	"testing"
)

// TestParseRefuses: one spelling for each text, and an error that names the part and quotes nothing.
func TestParseRefuses(t *testing.T) {
	const id, body = "0123456789abcdef", "QUJDREVGR0hJ"
	for text, want := range map[string]string{
		"":                                                     "four parts",
		"secretsecret":                                         "four parts",
		"sv1:" + id + ":" + body:                               "four parts",
		"sv1:" + id + "::" + body + ":":                        "four parts",
		"sv2:" + id + "::" + body:                              "unknown suite",
		"SV1:" + id + "::" + body:                              "unknown suite",
		" sv1:" + id + "::" + body:                             "unknown suite",
		"sv1:::" + body:                                        "key id",
		"sv1:0123456789ABCDEF::" + body:                        "key id",
		"sv1:" + id[1:] + "::" + body:                          "key id",
		"sv1:" + id + "0::" + body:                             "key id",
		"sv1:0123456789abcde\u00e9::" + body:                   "key id",
		"sv1:" + id + ":0:" + body:                             "notAfter",
		"sv1:" + id + ":01:" + body:                            "notAfter",
		"sv1:" + id + ":+1:" + body:                            "notAfter",
		"sv1:" + id + ":-1:" + body:                            "notAfter",
		"sv1:" + id + ":1e3:" + body:                           "notAfter",
		"sv1:" + id + ":1_0:" + body:                           "notAfter",
		"sv1:" + id + ": 1:" + body:                            "notAfter",
		"sv1:" + id + ":-62135596800:" + body:                  "notAfter", // Go's zero time
		"sv1:" + id + ":253402300800:" + body:                  "notAfter",
		"sv1:" + id + ":99999999999999999999999:":              "notAfter",
		"sv1:" + id + ":\u0661:" + body:                        "notAfter",    // a digit of another script
		"sv1:" + id + "::":                                     "was changed", // cut
		"sv1:" + id + "::QUJDRA==":                             "ciphertext",
		"sv1:" + id + "::QUJDRB":                               "was changed", // QUJDRA with a trailing bit
		"sv1:" + id + "::QUJD+/":                               "ciphertext",
		"sv1:" + id + "::QUJDR":                                "was changed",
		"sv1:" + id + "::QUJD\nQUJD":                           "ciphertext",
		"sv1:" + id + "::QUJD\r\n":                             "ciphertext",
		"sv1:" + id + "::QUJD ":                                "ciphertext",
		"sv1:" + id + "::QUJ\u00e9":                            "ciphertext",
		"sv1:" + id + "::" + strings.Repeat("A", MaxTextBytes): "too long",
	} {
		parsed, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an error about %q", text, err, want)
			continue
		}
		for part := range strings.SplitSeq(text, ":") {
			if len(part) > 3 && strings.TrimSpace(part) != Suite && strings.Contains(err.Error(), part) {
				t.Errorf("the error quotes the text: %v", err)
			}
		}
		if parsed.String() != "" || parsed.KeyID() != "" {
			t.Errorf("%.60q: refused, and returned", text)
		}
	}
}

func TestParseLimits(t *testing.T) {
	prefix := "sv1:0123456789abcdef:253402300799:"
	text := prefix + strings.Repeat("A", (MaxTextBytes-len(prefix))/4*4)
	parsed, err := Parse(text)
	if err != nil || parsed.NotAfter().Year() != 9999 || parsed.SizeClass() != 0 {
		t.Errorf("%d characters: %v, %v, class %d", len(text), err, parsed.NotAfter(), parsed.SizeClass())
	}
	if parsed, err = Parse("sv1:0123456789abcdef::QUJD"); err != nil || !parsed.NotAfter().IsZero() {
		t.Errorf("without a date: %v, %v", err, parsed.NotAfter())
	}
}

// FuzzParse: what parses is spelled in the only way that its parts can be.
func FuzzParse(f *testing.F) {
	f.Add("sv1:0123456789abcdef::QUJD")
	f.Add("sv1:0123456789abcdef:1798858445:QUJDRA")
	f.Add("sv1:0123456789abcdef:01:QUJD\n")
	f.Add(seal(f, newKey(f).Public(), "value", someBinding))
	key := newKey(f)
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		date := ""
		if !parsed.NotAfter().IsZero() {
			date = strconv.FormatInt(parsed.NotAfter().Unix(), 10)
		}
		if head := parsed.Suite() + ":" + parsed.KeyID() + ":" + date + ":"; !strings.HasPrefix(text, head) ||
			strings.Trim(text[len(head):], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" ||
			parsed.String() != text {
			t.Errorf("%q parses as %q", text, head)
		}
		if _, err := key.Open(parsed, Binding{Namespace: "a", Name: "b", NotAfter: parsed.NotAfter()}); err == nil {
			t.Errorf("%q opens", text)
		}
	})
}
