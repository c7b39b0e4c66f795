// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// maxEnvBytes limits the size of a .env file.
const maxEnvBytes = 8 << 20

// fromEnvFile makes an entry of each line NAME=VALUE of a file.
func fromEnvFile(path string) ([]entry, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("--from-env-file: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	data, err := io.ReadAll(io.LimitReader(f, maxEnvBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--from-env-file: %w", err)
	case len(data) > maxEnvBytes:
		return nil, fmt.Errorf("--from-env-file: %s is larger than %d bytes", path, maxEnvBytes)
	case !utf8.Valid(data):
		return nil, fmt.Errorf("--from-env-file: %s is not UTF-8 text", path)
	}
	entries, err := parseEnv(string(data))
	if err != nil {
		return nil, fmt.Errorf("--from-env-file: %s: %w", path, err)
	}
	return entries, nil
}

// parseEnv parses the format that the help of import describes. An unquoted value ends with its line, without
// surrounding white space. Errors name the line and quote nothing.
func parseEnv(text string) ([]entry, error) {
	var entries []entry
	seen := map[string]bool{}
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n") // editors on Windows write both
	for line := 1; text != ""; {
		start := line
		statement, rest, _ := strings.Cut(text, "\n")
		trimmed := strings.TrimSpace(statement)
		if trimmed == "" || trimmed[0] == '#' {
			text, line = rest, line+1
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "export "))
		if !ok || !variableName.MatchString(name) {
			return nil, fmt.Errorf("line %d is not NAME=VALUE", start)
		}
		if seen[name] {
			return nil, fmt.Errorf("line %d sets a variable again", start)
		}
		parsed, rest, err := envValue(value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", start, err)
		}
		line += strings.Count(text[:len(text)-len(rest)], "\n")
		text, seen[name] = rest, true
		entries = append(entries, entry{kind: "variable", origin: name, value: sensitive.Value(parsed)})
	}
	return entries, nil
}

// envValue parses the value at the start of text and returns what follows its line.
func envValue(text string) (value, rest string, err error) {
	text = strings.TrimLeft(text, " \t")
	if text == "" || (text[0] != '\'' && text[0] != '"') {
		value, rest, _ = strings.Cut(text, "\n")
		value = strings.TrimSpace(value)
		if strings.HasPrefix(value, "#") || strings.Contains(value, " #") || strings.Contains(value, "\t#") {
			return "", "", errors.New("the value has a # that some programs treat as a comment; " +
				"put the value in single quotes, or the comment on a separate line")
		}
		return value, rest, nil
	}
	value, rest, err = quoted(text)
	if err != nil {
		return "", "", err
	}
	end, rest, _ := strings.Cut(rest, "\n")
	if end = strings.TrimSpace(end); end != "" && end[0] != '#' {
		return "", "", errors.New("unexpected text after the closing quote")
	}
	return value, rest, nil
}

// quoted parses a value in quotes and returns what follows them.
func quoted(text string) (value, rest string, err error) {
	var b strings.Builder
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return b.String(), text[i+1:], nil
		case c == '\\' && quote == '"':
			i++
			escaped := strings.IndexByte(`nrt"\$`, charAt(text, i))
			if escaped < 0 {
				return "", "", errors.New(`invalid escape in double quotes; use single quotes, or write \\`)
			}
			b.WriteByte("\n\r\t\"\\$"[escaped])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("the closing quote is missing")
}

// charAt returns 0 after the end.
func charAt(text string, i int) byte {
	if i < len(text) {
		return text[i]
	}
	return 0
}
