// SPDX-License-Identifier: Apache-2.0

package input

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
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

var (
	errNoValue = errors.New("there is no value: standard input is no terminal to ask on; use --from-stdin, --from-file, --from-env or --generate")
	errDiffer  = errors.New("the two entries differ; nothing was written, try again")
	errControl = errors.New("a control character was typed; nothing was written, use --from-file or --from-stdin for such a value")
	errEnded   = hint.WithExitCode(errors.New("interrupted; nothing was written"), hint.Interrupted)
)

// ErrNoTerminal is returned by Confirm when there is nobody to ask.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// prompt asks twice on the terminal and shows nothing of what is typed.
func prompt(ctx context.Context, streams genericiooptions.IOStreams) (sensitive.Value, error) {
	terminal, ok := terminalOf(streams)
	if !ok {
		return "", errNoValue
	}
	first, err := ask(ctx, terminal, streams.ErrOut, "Value (hidden): ")
	if err != nil {
		return "", err
	}
	if err := Check(first); err != nil {
		return "", err
	}
	second, err := ask(ctx, terminal, streams.ErrOut, "Repeat value: ")
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

// Confirm asks a question on the terminal and reports whether the answer is yes.
func Confirm(ctx context.Context, streams genericiooptions.IOStreams, question string) (bool, error) {
	terminal, ok := terminalOf(streams)
	if !ok {
		return false, ErrNoTerminal
	}
	fmt.Fprint(streams.ErrOut, question) //nolint:errcheck // the answer is what matters
	line, err := interruptible(ctx, func() ([]byte, error) {
		line := make([]byte, 4096)    // the longest that a terminal passes on
		n, err := terminal.Read(line) // one line, and the end of the input for Ctrl-D
		return line[:n], err
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(string(line)))
	return answer == "y" || answer == "yes", nil
}

// interruptible ends the wait for a line when ctx ends. The read itself goes on until the process ends.
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
		return nil, errEnded
	case a := <-got:
		return a.line, a.err
	}
}

// ask reads one line without echo. However it ends, the terminal is left as it was.
func ask(ctx context.Context, terminal *os.File, out io.Writer, question string) (sensitive.Value, error) {
	fd := int(terminal.Fd())
	state, err := term.MakeRaw(fd) // raw, since a terminal's own lines are cut at 4096 bytes and hide Ctrl-D
	if err != nil {
		return "", fmt.Errorf("asking on the terminal: %w", err)
	}
	defer fmt.Fprintln(out)                        //nolint:errcheck // the newline that was typed is not shown either
	defer func() { _ = term.Restore(fd, state) }() // there is nothing to be done about it
	fmt.Fprint(out, question)                      //nolint:errcheck // the answer is what matters
	line, err := interruptible(ctx, func() ([]byte, error) { return readLine(terminal) })
	defer clear(line)
	return sensitive.Value(line), err
}

// The keys that a terminal in raw mode leaves to the program.
const (
	keyInterrupt = 'C' - '@'
	keyEnd       = 'D' - '@'
	keyKill      = 'U' - '@'
	keyBackspace = '\b'
	keyDelete    = 0x7f
)

// readLine reads what is typed up to Enter. Ctrl-C, Ctrl-D and the end of the terminal are errEnded.
func readLine(terminal io.Reader) ([]byte, error) {
	line := make([]byte, 0, secret.MaxValueBytes+utf8.UTFMax) // never moved, so that clearing it clears the value
	var err error
	for key := make([]byte, 1); ; {
		if n, readErr := terminal.Read(key); n == 0 || readErr != nil {
			return line, errEnded
		}
		switch c := key[0]; {
		case c == '\r' || c == '\n':
			return line, err
		case c == keyInterrupt || c == keyEnd:
			return line, errEnded
		case c == keyKill:
			line = line[:0]
		case c == keyBackspace || c == keyDelete:
			_, size := utf8.DecodeLastRune(line)
			line = line[:len(line)-size]
		case c < ' ' && c != '\t':
			err = errControl
		case len(line) > secret.MaxValueBytes:
			err = ErrTooLong
		default:
			line = append(line, c)
		}
	}
}
