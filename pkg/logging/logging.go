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

// formatFlag says how log lines are written.
const formatFlag = "logging-format"

// AddFlags adds the flags that need no feature gate.
func AddFlags(o *logs.Options, fs *pflag.FlagSet) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	logsapi.AddFlags(o, all)
	for _, name := range []string{"v", "vmodule", formatFlag, "log-flush-frequency"} {
		fs.AddFlag(all.Lookup(name))
	}
}

// Apply applies the log flags of a command. On a terminal quiet leaves out what is no warning, unless -v is given.
func Apply(o *logs.Options, command *cobra.Command, quiet bool) error {
	streams := logsapi.LoggingOptions{InfoStream: os.Stdout, ErrorStream: os.Stderr}
	if quiet && !command.Flags().Changed("v") && term.IsTerminal(int(os.Stderr.Fd())) {
		streams.ErrorStream = warnings{os.Stderr}
	}
	if err := logsapi.ValidateAndApplyWithOptions(o, &streams, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("log flags: %w; see --help", err)
	}
	return nil
}

// warnings passes on log lines but those of level info. It is given whole lines.
type warnings struct{ io.Writer }

func (w warnings) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("I")) {
		return len(line), nil
	}
	return w.Writer.Write(line)
}

// WriteError writes why a program ended: one line, for whoever reads it and for whatever collects it. It is in the form of the
// log lines before it, as far as the command line could be read.
func WriteError(w io.Writer, command *cobra.Command, err error) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if format := command.Flags().Lookup(formatFlag); format == nil || format.Value.String() != logsapi.JSONLogFormat {
		_, _ = fmt.Fprintln(w, "error:", text) // there is nowhere else to say it
		return
	}
	_ = json.NewEncoder(w).Encode(struct { // as above
		Time    float64 `json:"ts"` // milliseconds, as in the lines before
		Message string  `json:"msg"`
		Error   string  `json:"err"`
	}{float64(time.Now().UnixMicro()) / 1e3, "Ended with an error", text})
}
