// SPDX-License-Identifier: Apache-2.0

package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

var (
	errNoTerminal = errors.New("there is no value: standard input is no terminal to ask on; use --from-stdin, --from-file, --from-env or --generate")
	errDiffer     = errors.New("the two entries differ; nothing was written, try again")
	errLine       = errors.New("the line is as long as a terminal can pass on, so its end may be missing; use --from-file or --from-stdin")
)

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
	terminal, ok := streams.In.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", errNoTerminal
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
	type answer struct {
		line []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		read <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", errors.New("interrupted; nothing was written")
	case got := <-read:
		defer clear(got.line)
		switch {
		case got.err != nil:
			return "", fmt.Errorf("asking on the terminal: %w", got.err)
		case len(got.line) >= terminalLine():
			return "", errLine
		}
		return sensitive.Value(got.line), nil
	}
}
