// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/plugin/access"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
	"github.com/securevalue/secret-apiserver/pkg/plugin/importing"
	"github.com/securevalue/secret-apiserver/pkg/plugin/keyuse"
	"github.com/securevalue/secret-apiserver/pkg/plugin/manual"
	"github.com/securevalue/secret-apiserver/pkg/plugin/write"
	"github.com/securevalue/secret-apiserver/pkg/tools/auditlog"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const long = `Write secure values without a trace of them in the history of a shell, and tell who may open one.

A value is never an argument. It comes from a prompt that shows nothing, a file, standard input, an environment variable, or is
generated. All flags of kubectl that name a cluster, a user and a namespace work here too.`

// NewCommand returns the root command.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-securevalue",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl securevalue"},
		Short:         "Write secure values and tell who may open them",
		Long:          long,
		Example:       rootExample,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(hint.Flags)
	factory := cluster.New(streams)
	factory.AddFlags(root.PersistentFlags())
	root.AddCommand(
		write.NewCreate(factory), write.NewSet(factory),
		importing.New(factory),
		access.NewWhoCanDecrypt(factory), access.NewCanDecrypt(factory),
		keyuse.New(factory), newAudit(), manual.New(), newVersion(),
	)
	return root
}

const rootExample = `  # Asks for the value twice and shows nothing.
  kubectl securevalue create api-key -d "External API key" --decrypter synthetic-monitoring

  # A new value for it.
  kubectl securevalue set api-key

  # Who reads it?
  kubectl securevalue who-can-decrypt api-key`

// newVersion prints what --version does, for those who look for a command.
func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version of this plugin",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(command.OutOrStdout(), command.Root().DisplayName(), "version", command.Root().Version)
			return err
		},
	}
}

// newAudit is the server's command `audit`, under the name of the plugin.
func newAudit() *cobra.Command {
	command := auditlog.New()
	for _, leaf := range command.Commands() {
		leaf.Example = strings.ReplaceAll(leaf.Example, "secret-apiserver audit", "kubectl securevalue audit")
	}
	return command
}
