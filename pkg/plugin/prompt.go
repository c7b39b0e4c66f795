// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

var (
	errNoTerminal = errors.New("no value: standard input is not a terminal to prompt on; " +
		"use --from-stdin, --from-file, --from-env or --generate")
	errDiffer      = errors.New("the two entries differ; nothing was written, try again")
	errControl     = errors.New("control characters require --from-file or --from-stdin; nothing was written")
	errInterrupted = withExitCode(errors.New("interrupted; nothing was written"), exitInterrupted)
)

// prompt asks for the value twice, without echo.
func prompt(ctx context.Context, streams genericiooptions.IOStreams) (sensitive.Value, error) {
	terminal, ok := terminalOf(streams)
	if !ok {
		return "", errNoTerminal
	}
	first, err := readHidden(ctx, terminal, streams.ErrOut, "Value (hidden): ")
	if err != nil {
		return "", err
	}
	if err := checkValue(first); err != nil {
		return "", err
	}
	second, err := readHidden(ctx, terminal, streams.ErrOut, "Repeat value: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errDiffer
	}
	return first, nil
}

func terminalOf(streams genericiooptions.IOStreams) (*os.File, bool) {
	terminal, ok := streams.In.(*os.File)
	return terminal, ok && term.IsTerminal(int(terminal.Fd()))
}

// confirm asks a question on the terminal and reports whether the answer is yes.
func confirm(ctx context.Context, streams genericiooptions.IOStreams, question string) (bool, error) {
	terminal, ok := terminalOf(streams)
	if !ok {
		return false, errNoTerminal
	}
	fmt.Fprint(streams.ErrOut, question) //nolint:errcheck // the answer is what matters
	line, err := interruptible(ctx, func() ([]byte, error) {
		line := make([]byte, 4096)    // the longest line of a terminal
		n, err := terminal.Read(line) // one line, or EOF for Ctrl-D
		return line[:n], err
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(string(line)))
	return answer == "y" || answer == "yes", nil
}

// interruptible stops waiting for a line when ctx ends; the read itself only ends with the process.
func interruptible(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := read()
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return nil, errInterrupted
	case a := <-got:
		return a.line, a.err
	}
}

// readHidden reads one line without echo and always restores the terminal.
func readHidden(ctx context.Context, terminal *os.File, out io.Writer, question string) (sensitive.Value, error) {
	fd := int(terminal.Fd())
	state, err := term.MakeRaw(fd) // a terminal in line mode truncates lines at 4096 bytes and hides Ctrl-D
	if err != nil {
		return "", fmt.Errorf("prompting on the terminal: %w", err)
	}
	defer fmt.Fprintln(out)                        //nolint:errcheck // the typed newline is hidden as well
	defer func() { _ = term.Restore(fd, state) }() // nothing can be done about it
	fmt.Fprint(out, question)                      //nolint:errcheck // the answer is what matters
	line, err := interruptible(ctx, func() ([]byte, error) { return readLine(terminal) })
	defer clear(line)
	return sensitive.Value(line), err
}

// Keys that the program handles on a terminal in raw mode.
const (
	keyInterrupt = 'C' - '@'
	keyEnd       = 'D' - '@'
	keyKill      = 'U' - '@'
	keyBackspace = '\b'
	keyDelete    = 0x7f
)

// readLine reads up to Enter. Ctrl-C, Ctrl-D and the end of the terminal return errInterrupted.
func readLine(terminal io.Reader) ([]byte, error) {
	line := make([]byte, 0, secret.MaxValueBytes+utf8.UTFMax) // never reallocated, so that clearing it clears the value
	var err error
	for key := make([]byte, 1); ; {
		if n, readErr := terminal.Read(key); n == 0 || readErr != nil {
			return line, errInterrupted
		}
		switch c := key[0]; {
		case c == '\r' || c == '\n':
			return line, err
		case c == keyInterrupt || c == keyEnd:
			return line, errInterrupted
		case c == keyKill:
			line = line[:0]
		case c == keyBackspace || c == keyDelete:
			_, size := utf8.DecodeLastRune(line)
			line = line[:len(line)-size]
		case c < ' ' && c != '\t':
			err = errControl
		case len(line) > secret.MaxValueBytes:
			err = errTooLong
		default:
			line = append(line, c)
		}
	}
}
