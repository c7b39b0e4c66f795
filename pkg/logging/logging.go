// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
