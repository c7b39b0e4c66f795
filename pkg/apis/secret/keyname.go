// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// UnreadableKey stands in status.key for a name that must not be shown: bytes out of etcd may be anything, a control
// sequence for a terminal included. It cannot be confused with a name, which has a slash.
const UnreadableKey = "unreadable"

// KMSHashLength is how many hexadecimal digits of a KMS key id's SHA-256 end the name of its key.
const KMSHashLength = 8

// MaxKeyName is the longest name of a key, in bytes.
const MaxKeyName = 253

// IsKeyName reports whether name is [A-Za-z0-9._-]{1,253}, which every place that names a key can hold: the prefix of an
// envelope ends at a colon, status.key is split at slashes, and terminals, metrics and logs take it as it is.
func IsKeyName(name string) bool {
	return name != "" && len(name) <= MaxKeyName && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) < 0
}

// IsPrintable reports whether text has only characters that leave a terminal, a log line and a metric in order.
func IsPrintable(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// ShowKey returns a status.key as it may be shown: as it is, or UnreadableKey.
func ShowKey(key string) string {
	if !IsPrintable(key) {
		return UnreadableKey
	}
	return key
}

// CoversKey reports whether a key as a configuration or a person names it (PROVIDER/NAME) is, or stands for, the one of a
// stored value: kms/NAME stands for all keys of that KMS, whose names have a hash after it.
func CoversKey(asked, stored string) bool {
	hash, ok := strings.CutPrefix(stored, asked+"/")
	return asked == stored || ok && strings.HasPrefix(asked, "kms/") && len(hash) == KMSHashLength && !strings.Contains(hash, "/")
}
