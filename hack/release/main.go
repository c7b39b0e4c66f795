// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// programs are those of cmd/.
var programs = []string{plugin, "secret-agent", "secret-apiserver", "secret-controller-manager"}

// plugin gets manual pages and completions beside it.
const plugin = "kubectl-securevalue"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	out       string
	platforms []platform
	programs  []string
	image     string
	dirty     bool
}

func parse(args []string) (options, error) {
	var o options
	var platforms, chosen string
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&o.out, "out", "dist", "the folder to write; what an earlier run left in it is removed")
	flags.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64", "what to build for")
	flags.StringVar(&chosen, "programs", strings.Join(programs, ","), "what to build")
	flags.StringVar(&o.image, "image", "", "the image, without a tag, that install.yaml names; that of deploy/overlays/production if empty")
	flags.BoolVar(&o.dirty, "dirty", false, "build from a tree with changes that no commit has, to try this program")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("takes no arguments, but was given %q", flags.Args())
	}
	for name := range strings.SplitSeq(platforms, ",") {
		system, arch, ok := strings.Cut(name, "/")
		if !ok || system == "" || arch == "" {
			return o, fmt.Errorf("-platforms: %q is not of the form linux/amd64", name)
		}
		o.platforms = append(o.platforms, platform{system, arch})
	}
	for name := range strings.SplitSeq(chosen, ",") {
		if !slices.Contains(programs, name) {
			return o, fmt.Errorf("-programs: there is no %q; there are %s", name, strings.Join(programs, ", "))
		}
		o.programs = append(o.programs, name)
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	t, err := readTree(ctx, o.dirty)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(o.out) {
		o.out = filepath.Join(t.root, o.out)
	}
	if err := emptyFolder(o.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp(o.out, ".work-") // below the tree, so that kustomize finds the overlay from there
	if err != nil {
		return fmt.Errorf("making a folder to work in: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // the next run removes it
	b, err := newBuilder(ctx, t, work)
	if err != nil {
		return err
	}
	if err := b.all(ctx, o); err != nil {
		return err
	}
	sums, err := writeSums(o.out)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "release: %s of commit %s, by %s: %d files in %s\n", t.version, t.commit, b.goVersion, sums, o.out)
	return nil
}

// emptyFolder empties the folder of an earlier run, and refuses one with anything else in it. The empty SHA256SUMS says
// whose it is when this run breaks off.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("looking at what -out has: %w", err)
	}
	sums := filepath.Join(dir, sumsFile)
	if _, err := os.Stat(sums); len(entries) > 0 && err != nil {
		return fmt.Errorf("-out %s has files but no %s, so no earlier run made it: empty it or name another folder", dir, sumsFile)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing what an earlier run wrote: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a release is for everybody
		return fmt.Errorf("making -out: %w", err)
	}
	return writeFile(sums, nil)
}
