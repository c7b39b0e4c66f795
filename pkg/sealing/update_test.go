// SPDX-License-Identifier: Apache-2.0

package sealing

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// writeVectors makes a new key and seals with it: all texts of the file change.
func writeVectors(t *testing.T) {
	t.Helper()
	key := newKey(t)
	public := key.Public()
	v := vectors{PrivateKey: hex.EncodeToString(key.Bytes()), PublicKey: public.Bytes(), KeyID: public.ID(),
		Fingerprint: public.Fingerprint()}
	date := someDate.Unix()
	for _, text := range []vector{
		{Name: "one byte", Namespace: "ns", Object: "a", Value: []byte("x")},
		{Name: "decrypters and date", Namespace: "prod", Object: "db", Decrypters: []string{"billing", "k6-cloud"},
			NotAfter: date, Value: []byte("s3cr3t")},
		{Name: "decrypters in another order, twice", Namespace: "prod", Object: "db", NotAfter: date,
			Decrypters: []string{"k6-cloud", "billing", "k6-cloud"}, Value: []byte("s3cr3t")},
		{Name: "sorted by bytes", Namespace: "ns", Object: "a", Value: []byte("x"),
			Decrypters: []string{"a", "B", "a.b", "a-b", "aa", "10", "9"}},
		{Name: "last date", Namespace: "ns", Object: "a", NotAfter: maxNotAfter, Value: []byte("x")},
		{Name: "first date", Namespace: "ns", Object: "a", NotAfter: 1, Value: []byte("x")},
		{Name: "longest names", Value: []byte("x"),
			Namespace: strings.Repeat("n", 63), Object: strings.Repeat("o", 253)},
		{Name: "more than ASCII", Namespace: "ns", Object: "a", Value: []byte("Grüße, 世界\n\x00")},
		{Name: "256 bytes", Namespace: "ns", Object: "a", Value: []byte(strings.Repeat("x", 256))},
		{Name: "257 bytes", Namespace: "ns", Object: "a", Value: []byte(strings.Repeat("x", 257))},
		{Name: "513 bytes", Namespace: "ns", Object: "a", Value: []byte(strings.Repeat("x", 513))},
		{Name: "1025 bytes", Namespace: "ns", Object: "a", Value: []byte(strings.Repeat("x", 1025))},
		{Name: "longest value", Namespace: "ns", Object: "a", Value: []byte(strings.Repeat("x", MaxValueBytes))},
		{Name: "opens, and is refused by a server: empty", Namespace: "ns", Object: "a"},
		{Name: "opens, and is refused by a server: not UTF-8", Namespace: "ns", Object: "a", Value: []byte("\xff\xfe")},
	} {
		text.Text = seal(t, public, string(text.Value), text.binding())
		parsed := parse(t, text.Text)
		written, _ := formatNotAfter(parsed.NotAfter())
		text.Info = hex.EncodeToString(text.binding().info(v.KeyID, written))
		text.SizeClass = parsed.SizeClass()
		v.Texts = append(v.Texts, text)
	}
	base := vector{Namespace: "prod", Object: "db", Decrypters: []string{"billing", "k6-cloud"}, NotAfter: date}
	good := seal(t, public, "s3cr3t", base.binding())
	refuse := func(name, text string, change func(*vector)) {
		refused := base
		refused.Name, refused.Text = name, text
		change(&refused)
		v.Refused = append(v.Refused, refused)
	}
	as := func(*vector) {}
	refuse("another namespace", good, func(v *vector) { v.Namespace = "prod2" })
	refuse("another name", good, func(v *vector) { v.Object = "db2" })
	refuse("a character moved from the name to the namespace", good, func(v *vector) {
		v.Namespace, v.Object = "prodd", "b"
	})
	refuse("a decrypter added", good, func(v *vector) { v.Decrypters = []string{"a", "billing", "k6-cloud"} })
	refuse("a decrypter removed", good, func(v *vector) { v.Decrypters = []string{"billing"} })
	refuse("decrypters joined", good, func(v *vector) { v.Decrypters = []string{"billingk6-cloud"} })
	refuse("a later date", good, func(v *vector) { v.NotAfter++ })
	refuse("the date removed from the text", strings.Replace(good, ":1798859045:", "::", 1), func(v *vector) {
		v.NotAfter = 0
	})
	refuse("cut", cut(good, 1395), as)
	refuse("cut to nothing but enc", cut(good, 1120), as)
	refuse("changed at the end", good[:len(good)-4]+"AAAA", as)
	refuse("changed at the start", good[:34]+"AAAA"+good[38:], as)
	for name, plaintext := range map[string]string{
		"padding that is not zero":            "\x00\x00\x00\x02ab" + strings.Repeat("\x00", 253) + "x",
		"padded to the next size class":       "\x00\x00\x00\x02ab" + strings.Repeat("\x00", 510),
		"no padding":                          "\x00\x00\x00\x02ab",
		"a length greater than what is there": "\x00\x00\x01\x01" + strings.Repeat("x", 256),
	} {
		refuse(name, sealRaw(t, public, plaintext, base.binding()), as)
	}
	head, body := "sv1:"+v.KeyID, good[strings.LastIndex(good, ":")+1:]
	for name, text := range map[string]string{
		"unknown suite":            "sv2:" + v.KeyID + "::" + body,
		"three parts":              head + ":" + body,
		"upper case":               strings.ToUpper(head) + "::" + body,
		"key id too short":         head[:19] + "::" + body,
		"date 0":                   head + ":0:" + body,
		"date with a leading zero": head + ":01798859045:" + body,
		"date with a sign":         head + ":+1798859045:" + body,
		"date in the year 10000":   head + ":253402300800:" + body,
		"no ciphertext":            head + "::",
		"standard base64":          head + "::" + "QUJD+w",
		"padding of base64":        head + "::" + "QUJDRA==",
		"trailing bits of base64":  head + "::" + "QUJDRB",
		"a line break in base64":   head + "::" + body[:64] + "\n" + body[64:],
		"a space at the end":       good + " ",
		"a character beyond ASCII": good + "é",
	} {
		v.Malformed = append(v.Malformed, vector{Name: name, Text: text})
	}
	raw, err := json.MarshalIndent(v, "", "  ") //nolint:gosec // the private key of the vectors is public
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(raw, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
