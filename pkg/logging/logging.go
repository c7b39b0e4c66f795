// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // for --logging-format=json
)

const formatFlag = "logging-format"

// AddFlags adds the log flags that need no feature gate.
func AddFlags(o *logs.Options, fs *pflag.FlagSet) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	logsapi.AddFlags(o, all)
	for _, name := range []string{"v", "vmodule", formatFlag, "log-flush-frequency"} {
		fs.AddFlag(all.Lookup(name))
	}
}

// Apply applies the log flags of a command. On a terminal, quiet drops text lines of level info unless -v or --vmodule
// is given.
func Apply(o *logs.Options, command *cobra.Command, quiet bool) error {
	streams := logsapi.LoggingOptions{InfoStream: os.Stdout, ErrorStream: os.Stderr}
	asked := command.Flags().Changed("v") || command.Flags().Changed("vmodule")
	if quiet && !asked && term.IsTerminal(int(os.Stderr.Fd())) {
		streams.ErrorStream = warnings{os.Stderr}
	}
	if err := logsapi.ValidateAndApplyWithOptions(o, &streams, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("log flags: %w; see --help", err)
	}
	return nil
}

// warnings drops text lines of level info, which start with I. Each write is a whole line.
type warnings struct{ io.Writer }

func (w warnings) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("I")) {
		return len(line), nil
	}
	return w.Writer.Write(line)
}

// WriteError writes why a program ended as one line in the format of the log, if the command line could be parsed.
func WriteError(w io.Writer, command *cobra.Command, err error) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if format := command.Flags().Lookup(formatFlag); format == nil || format.Value.String() != logsapi.JSONLogFormat {
		_, _ = fmt.Fprintln(w, "error:", text) // nowhere else to report it
		return
	}
	_ = json.NewEncoder(w).Encode(struct { // as above
		Time    float64 `json:"ts"` // milliseconds, as in the lines before
		Message string  `json:"msg"`
		Error   string  `json:"err"`
	}{float64(time.Now().UnixMicro()) / 1e3, "Ended with an error", text})
}
