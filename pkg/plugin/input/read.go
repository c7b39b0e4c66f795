// SPDX-License-Identifier: Apache-2.0

package input

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// readLimit is one byte more than a value and a newline behind it can have.
const readLimit = secret.MaxValueBytes + len("\r\n") + 1

// Why a value cannot be stored.
var (
	ErrEmpty   = errors.New("the value is empty")
	ErrTooLong = fmt.Errorf("the value is longer than %d bytes, the most that can be stored; split it, or store a key to it and keep the rest elsewhere", secret.MaxValueBytes)
	ErrNotUTF8 = errors.New("the value is not UTF-8 text; encode it, as by base64, and decode it where it is used")
)

// Check holds a value to the limits of the API: 1 to 24576 bytes of UTF-8. Its errors are ErrEmpty, ErrTooLong and ErrNotUTF8.
func Check(value sensitive.Value) error {
	switch {
	case len(value) == 0:
		return ErrEmpty
	case len(value) > secret.MaxValueBytes:
		return ErrTooLong
	case !utf8.ValidString(value.Expose()):
		return ErrNotUTF8
	}
	return nil
}

// ReadFile reads a value from a file that a flag names. What is too long is not read to its end: ErrTooLong.
func ReadFile(flag, path string) (sensitive.Value, error) {
	f, err := os.Open(path) //nolint:gosec // the person names the file
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	return readAll(flag, f)
}

// TrimNewline cuts one newline, LF or CRLF, off the end of a value.
func TrimNewline(value sensitive.Value) sensitive.Value {
	text, cut := strings.CutSuffix(value.Expose(), "\n")
	if !cut {
		return value
	}
	return sensitive.Value(strings.TrimSuffix(text, "\r"))
}

func readStdin(in io.Reader) (sensitive.Value, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "", errors.New("--from-stdin: standard input is a terminal, which would show what you type; leave the flag out to be asked, or use a pipe")
	}
	return readAll("--from-stdin", in)
}

// readAll reads no more than it takes to know that a value is too long.
func readAll(flag string, in io.Reader) (sensitive.Value, error) {
	data, err := io.ReadAll(io.LimitReader(in, int64(readLimit)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(data) == readLimit {
		return "", ErrTooLong
	}
	value := sensitive.Value(data)
	clear(data)
	return value, nil
}

// VariableName is what a shell can export. Anything else may be the value itself, written as --from-env "$NAME".
var VariableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func readEnv(name string) (sensitive.Value, error) {
	if !VariableName.MatchString(name) {
		return "", errors.New("--from-env takes the name of a variable, without $ and not its content")
	}
	value, ok := os.LookupEnv(name)
	if !ok {
		return "", errors.New("--from-env: there is no environment variable of that name; is it exported, and did you give its name and not its content?")
	}
	return sensitive.Value(value), nil
}
