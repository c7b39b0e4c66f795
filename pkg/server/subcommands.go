// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
)

// addCommands adds the commands that work beside the server. The help of the server names them; they have cobra's own
// help, since that of the server is about its flags.
func addCommands(root *cobra.Command, commands ...*cobra.Command) {
	root.CompletionOptions.HiddenDefaultCmd = true
	var list strings.Builder
	for _, command := range commands {
		root.AddCommand(command)
		command.PersistentPreRun = quiet
		if command.LocalFlags().HasFlags() { // one that does something by itself, and has a help of its own
			fmt.Fprintf(&list, "\n  %-32s %s", command.CommandPath(), command.Short)
		} else {
			ownHelp(command)
		}
		for _, leaf := range command.Commands() {
			fmt.Fprintf(&list, "\n  %-32s %s", leaf.CommandPath(), leaf.Short)
		}
	}
	root.Long += "\n\nBeside the server:\n" + list.String()
}

// quiet drops what the libraries of a tool log: its output is its own, and it reports what failed itself.
func quiet(*cobra.Command, []string) {
	klog.SetLogger(logr.Discard())
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

// ownHelp gives a command cobra's help, without the flags of the log: they are no use where nothing is logged.
func ownHelp(command *cobra.Command) {
	standard := &cobra.Command{}
	command.SetUsageFunc(standard.UsageFunc())
	command.SetHelpFunc(func(asked *cobra.Command, args []string) {
		asked.InheritedFlags().VisitAll(func(flag *pflag.Flag) { flag.Hidden = true })
		standard.HelpFunc()(asked, args)
	})
}
