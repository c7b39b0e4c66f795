// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// sourceHelp is the part of the help that create and set share.
const sourceHelp = `The value is prompted for twice on the terminal, without echo, unless --from-file, --from-stdin,
--from-env or --generate is given. --from-file and --from-stdin keep every byte, including a trailing newline, unless
--trim-newline is given. The value is never an argument.

A value has 1 to 24576 bytes of UTF-8. No output of this command contains it, except with --generate --show-once.`

var (
	errArgument = errors.New("--value is refused: a command line stays in your shell history, " +
		"and every user of this machine can read it in the process list. Omit it to be prompted, " +
		"or use --from-file, --from-stdin, --from-env or --generate. " +
		"If the value was real, consider it compromised and change it")
	errEmpty   = errors.New("the value is empty")
	errTooLong = fmt.Errorf("the value is longer than %d bytes, the maximum; "+
		"split it, or store an encryption key and keep the rest elsewhere", secret.MaxValueBytes)
	errNotUTF8 = errors.New("the value is not UTF-8 text; " +
		"encode it, for example with base64, and decode it where it is used")
)

// variableName is what a shell can export. Anything else may be the value itself, written as --from-env "$NAME".
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// source is where a value comes from, by flags.
type source struct {
	fromFile    string
	fromStdin   bool
	fromEnv     string
	generate    bool
	length      int
	alphabet    string
	showOnce    bool
	trimNewline bool
	argument    bool
	flags       *pflag.FlagSet
}

func (s *source) addFlags(fs *pflag.FlagSet) {
	s.flags = fs
	fs.StringVar(&s.fromFile, "from-file", "", "Path of the `file` with the value, read byte for byte.")
	fs.BoolVar(&s.fromStdin, "from-stdin", false, "Read the value from standard input, byte for byte.")
	fs.StringVar(&s.fromEnv, "from-env", "", "Environment variable with the value, by `name`.")
	fs.BoolVar(&s.trimNewline, "trim-newline", false,
		"Remove one trailing newline from the value of --from-file or --from-stdin.")
	fs.BoolVar(&s.generate, "generate", false, "Generate a random value. It is not shown unless --show-once is given.")
	fs.IntVar(&s.length, "length", 32, "Number of characters to generate.")
	fs.StringVar(&s.alphabet, "alphabet", "alphanumeric",
		"Characters to generate, all equally likely: "+alphabetHelp()+".")
	fs.BoolVar(&s.showOnce, "show-once", false,
		"Print the generated value to standard output after the server stored it. It cannot be shown later.")
	fs.Func("value", "Refused.", func(string) error {
		s.argument = true
		return nil
	})
	fs.Lookup("value").Hidden = true
}

// validate checks that the flags name one source, and that flags for another one are absent.
func (s *source) validate() error {
	if s.argument {
		return errArgument
	}
	var sources []string
	for _, name := range []string{"from-file", "from-stdin", "from-env", "generate"} {
		if s.flags.Changed(name) {
			sources = append(sources, "--"+name)
		}
	}
	if len(sources) > 1 {
		return fmt.Errorf("%s are several sources of one value; give only one of them", strings.Join(sources, " and "))
	}
	errs := []error{s.validateGenerate()}
	if s.flags.Changed("trim-newline") && s.fromFile == "" && !s.fromStdin {
		errs = append(errs, errors.New("--trim-newline requires --from-file or --from-stdin"))
	}
	for _, flag := range []string{"length", "alphabet", "show-once"} {
		if s.flags.Changed(flag) && !s.generate {
			errs = append(errs, fmt.Errorf("--%s requires --generate", flag))
		}
	}
	return errors.Join(errs...)
}

// read returns the value, checked. It prompts on the terminal when no flag names a source.
func (s *source) read(ctx context.Context, streams genericiooptions.IOStreams) (value sensitive.Value, err error) {
	switch {
	case s.flags.Changed("from-file"):
		value, err = readFile("--from-file", s.fromFile)
	case s.fromStdin:
		value, err = readStdin(streams.In)
	case s.flags.Changed("from-env"):
		value, err = readEnv(s.fromEnv)
	case s.generate:
		value, err = generate(s.length, s.characters())
	default:
		value, err = prompt(ctx, streams)
	}
	if err != nil {
		return "", err
	}
	if s.trimNewline {
		value = trimNewline(value)
	} else if (s.fromFile != "" || s.fromStdin) && strings.HasSuffix(value.Expose(), "\n") {
		const note = "note: the value ends with a newline, which is kept; --trim-newline removes it"
		fmt.Fprintln(streams.ErrOut, note) //nolint:errcheck // a note
	}
	return value, checkValue(value)
}

// checkValue applies the limits of the API. Its errors are errEmpty, errTooLong and errNotUTF8.
func checkValue(value sensitive.Value) error {
	switch {
	case len(value) == 0:
		return errEmpty
	case len(value) > secret.MaxValueBytes:
		return errTooLong
	case !utf8.ValidString(value.Expose()):
		return errNotUTF8
	}
	return nil
}

// trimNewline removes one newline, LF or CRLF, from the end of a value.
func trimNewline(value sensitive.Value) sensitive.Value {
	text, cut := strings.CutSuffix(value.Expose(), "\n")
	if !cut {
		return value
	}
	return sensitive.Value(strings.TrimSuffix(text, "\r"))
}

// readFile reads a value from a file that a flag names.
func readFile(flag, path string) (sensitive.Value, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	return readAll(flag, f)
}

func readStdin(in io.Reader) (sensitive.Value, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "", errors.New("--from-stdin: standard input is a terminal, which would show what you type; " +
			"leave the flag out to be prompted, or use a pipe")
	}
	return readAll("--from-stdin", in)
}

// readAll stops reading when a value is too long.
func readAll(flag string, in io.Reader) (sensitive.Value, error) {
	const limit = secret.MaxValueBytes + len("\r\n") + 1 // --trim-newline may shorten it
	data, err := io.ReadAll(io.LimitReader(in, int64(limit)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(data) == limit {
		return "", errTooLong
	}
	value := sensitive.Value(data)
	clear(data)
	return value, nil
}

func readEnv(name string) (sensitive.Value, error) {
	if !variableName.MatchString(name) {
		return "", errors.New("--from-env expects the name of a variable, without $, not its content")
	}
	value, ok := os.LookupEnv(name)
	if !ok {
		return "", errors.New("--from-env: environment variable not found; export it, and give its name, not its value")
	}
	return sensitive.Value(value), nil
}
