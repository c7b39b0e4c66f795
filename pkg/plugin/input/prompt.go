// SPDX-License-Identifier: Apache-2.0

package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

var (
	errNoValue = errors.New("there is no value: standard input is no terminal to ask on; use --from-stdin, --from-file, --from-env or --generate")
	errDiffer  = errors.New("the two entries differ; nothing was written, try again")
	errLine    = errors.New("the line is as long as a terminal can pass on, so its end may be missing; use --from-file or --from-stdin")
)

// ErrNoTerminal is returned by Confirm when there is nobody to ask.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// terminalLine is how many bytes a terminal passes on of one line, without its end. It cuts longer ones off in silence: Linux keeps
// 4095 (N_TTY_BUF_SIZE), others promise no more than MAX_CANON.
func terminalLine() int {
	if runtime.GOOS == "linux" {
		return 4095
	}
	return 1023
}

// prompt asks twice on the terminal and shows nothing of what is typed.
func prompt(ctx context.Context, streams genericiooptions.IOStreams) (sensitive.Value, error) {
	terminal, ok := terminalOf(streams)
	if !ok {
		return "", errNoValue
	}
	first, err := ask(ctx, terminal, streams.ErrOut, "Value (it is not shown): ")
	if err != nil {
		return "", err
	}
	if err := Check(first); err != nil {
		return "", err
	}
	second, err := ask(ctx, terminal, streams.ErrOut, "The same once more: ")
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
		line := make([]byte, terminalLine()+1)
		n, err := terminal.Read(line) // a terminal gives one line, and the end of the input for Ctrl-D
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
		return nil, errors.New("interrupted; nothing was written")
	case a := <-got:
		if a.err != nil {
			return a.line, fmt.Errorf("asking on the terminal: %w", a.err)
		}
		return a.line, nil
	}
}

// ask reads one line. The end of ctx, which Ctrl-C brings, leaves the terminal as it was.
func ask(ctx context.Context, terminal *os.File, out io.Writer, question string) (sensitive.Value, error) {
	fd := int(terminal.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("asking on the terminal: %w", err)
	}
	defer fmt.Fprintln(out)                        //nolint:errcheck // the newline that was typed is not shown either
	defer func() { _ = term.Restore(fd, state) }() // there is nothing to be done about it
	fmt.Fprint(out, question)                      //nolint:errcheck // the answer is what matters
	line, err := interruptible(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	defer func() { clear(line) }()
	switch {
	case err != nil:
		return "", err
	case len(line) >= terminalLine():
		return "", errLine
	}
	return sensitive.Value(line), nil
}
