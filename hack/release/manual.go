// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra/doc"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	kubectlplugin "github.com/securevalue/secret-apiserver/pkg/plugin"
)

// manual returns the manual pages and completions of the plugin, which are the same on every platform, and the link by
// which kubectl completes it. The pages are written below work.
func manual(version string, date time.Time, work string) ([]entry, error) {
	root := kubectlplugin.NewCommand(genericiooptions.IOStreams{Out: io.Discard, ErrOut: io.Discard})
	root.InitDefaultVersionFlag()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true                                             // it would have today's date
	root.PersistentFlags().Lookup("cache-dir").DefValue = "$HOME/.kube/cache" // not the home directory of the build
	pages := filepath.Join(work, "man1")
	if err := os.Mkdir(pages, 0o750); err != nil {
		return nil, fmt.Errorf("creating the directory of the manual pages: %w", err)
	}
	header := &doc.GenManHeader{
		Section: "1", Date: &date, Source: plugin + " " + version, Manual: "kubectl securevalue",
	}
	if err := doc.GenManTree(root, header, pages); err != nil {
		return nil, fmt.Errorf("generating the manual pages: %w", err)
	}
	entries, err := files(pages, "man/man1")
	if err != nil {
		return nil, err
	}
	completions := map[string]func(io.Writer) error{
		"bash": func(out io.Writer) error { return root.GenBashCompletionV2(out, true) },
		"fish": func(out io.Writer) error { return root.GenFishCompletion(out, true) },
		"zsh":  root.GenZshCompletion,
	}
	for shell, generate := range completions {
		var script bytes.Buffer
		if err := generate(&script); err != nil {
			return nil, fmt.Errorf("generating the completion for %s: %w", shell, err)
		}
		entries = append(entries, entry{name: "completions/" + plugin + "." + shell, data: script.Bytes()})
	}
	return append(entries, entry{name: "kubectl_complete-securevalue", link: plugin}), nil
}
