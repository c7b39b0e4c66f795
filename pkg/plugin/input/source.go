// SPDX-License-Identifier: Apache-2.0

package input

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// errArgument is what --value is for.
var errArgument = errors.New("--value is refused: what stands on a command line stays in the history of your shell, and every user of this machine " +
	"can see it in the list of processes. Leave it out to be asked, or use --from-file, --from-stdin, --from-env or --generate. " +
	"If what you gave was real, take it for known to others and change it")

// Source is where a value comes from, by flags.
type Source struct {
	fromFile    string
	fromStdin   bool
	fromEnv     string
	generate    bool
	length      int
	alphabet    string
	showOnce    bool
	trimNewline bool
	argument    refused
	flags       *pflag.FlagSet
}

// AddFlags adds the flags.
func (s *Source) AddFlags(fs *pflag.FlagSet) {
	s.flags = fs
	fs.StringVar(&s.fromFile, "from-file", "", "Take the value from this `file`, byte for byte.")
	fs.BoolVar(&s.fromStdin, "from-stdin", false, "Take the value from standard input, byte for byte.")
	fs.StringVar(&s.fromEnv, "from-env", "", "Take the value from the environment variable of this `name`.")
	fs.BoolVar(&s.trimNewline, "trim-newline", false, "Cut one newline off the end of what --from-file or --from-stdin read. Without it, it is kept.")
	fs.BoolVar(&s.generate, "generate", false, "Generate the value from the random generator of the system. It is shown to nobody, unless --show-once is given.")
	fs.IntVar(&s.length, "length", 32, "How many characters --generate makes.")
	fs.StringVar(&s.alphabet, "alphabet", "alphanumeric", "Characters that --generate takes, each with the same chance: "+alphabetHelp()+".")
	fs.BoolVar(&s.showOnce, "show-once", false, "Print the generated value, once the server has it, to standard output. It cannot be shown later.")
	fs.Var(&s.argument, "value", "Refused.")
	fs.Lookup("value").Hidden = true
}

// Validate checks that the flags name one source, and that flags for another one are absent.
func (s *Source) Validate() error {
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
		return fmt.Errorf("%s name several sources of one value; give one of them", strings.Join(sources, " and "))
	}
	return errors.Join(s.without("trim-newline", "--from-file or --from-stdin", s.fromFile != "" || s.fromStdin),
		s.without("length", "--generate", s.generate), s.without("alphabet", "--generate", s.generate),
		s.without("show-once", "--generate", s.generate), s.validateGenerate())
}

// without refuses a flag that has no effect without another.
func (s *Source) without(flag, needed string, there bool) error {
	if !s.flags.Changed(flag) || there {
		return nil
	}
	return fmt.Errorf("--%s has a meaning only with %s", flag, needed)
}

// ShowOnce says whether the value is to be printed.
func (s *Source) ShowOnce() bool { return s.showOnce }

// Read gets the value and checks it. It asks on the terminal when no flag names a source.
func (s *Source) Read(ctx context.Context, streams genericiooptions.IOStreams) (sensitive.Value, error) {
	value, err := s.read(ctx, streams)
	if err != nil {
		return "", err
	}
	if err := Check(value); err != nil {
		return "", err
	}
	return value, nil
}

func (s *Source) read(ctx context.Context, streams genericiooptions.IOStreams) (sensitive.Value, error) {
	switch {
	case s.flags.Changed("from-file"):
		value, err := ReadFile("--from-file", s.fromFile)
		return s.trim(value, streams), err
	case s.fromStdin:
		value, err := readStdin(streams.In)
		return s.trim(value, streams), err
	case s.flags.Changed("from-env"):
		return readEnv(s.fromEnv)
	case s.generate:
		return generate(s.length, s.characters())
	default:
		return prompt(ctx, streams)
	}
}

// trim cuts one newline off, or says that there is one: it is seldom meant.
func (s *Source) trim(value sensitive.Value, streams genericiooptions.IOStreams) sensitive.Value {
	if s.trimNewline {
		return TrimNewline(value)
	}
	if !strings.HasSuffix(value.Expose(), "\n") {
		return value
	}
	fmt.Fprintln(streams.ErrOut, "note: the value ends with a newline, which is kept; --trim-newline cuts it off") //nolint:errcheck // a note
	return value
}

// refused is a flag whose value is never kept.
type refused bool

// Set forgets what it is given.
func (r *refused) Set(string) error {
	*r = true
	return nil
}

// String is the default.
func (*refused) String() string { return "" }

// Type is shown in the help.
func (*refused) Type() string { return "string" }
