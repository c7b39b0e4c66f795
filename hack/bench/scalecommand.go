// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/scale"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// scaleCommand is `make bench-scale`.
func scaleCommand(ctx context.Context, args []string) error {
	o, config := scale.Defaults(), world.Config{}
	flags := flag.NewFlagSet("bench scale", flag.ContinueOnError)
	flags.StringVar(&config.Dir, "dir", "", dirUsage)
	flags.StringVar(&config.Server, "server", defaultServer, "The secret-apiserver to measure.")
	out := flags.String("out", defaultOut, "Folder for the table and the figures as JSON; empty writes none.")
	flags.IntVar(&o.Objects, "objects", o.Objects, "Values to store.")
	flags.IntVar(&o.Size, "size", o.Size, "Bytes of a value.")
	flags.IntVar(&o.Writers, "writers", o.Writers, "Clients that store them.")
	flags.IntVar(&o.Listers, "listers", o.Listers, "Clients that list all at once.")
	flags.IntVar(&o.Watchers, "watchers", o.Watchers, "Clients that watch.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Objects < 1 || o.Writers < 1 || o.Listers < 1 || o.Watchers < 1 || o.Size < 1 || o.Size > secret.MaxValueBytes {
		return fmt.Errorf("--objects, --writers, --listers and --watchers must be 1 or more, --size from 1 to %d", secret.MaxValueBytes)
	}
	versions, err := report.Versions(config.Server)
	if err != nil {
		return err
	}
	return inWorld(config, func(w *world.World) error {
		r := report.NewScale("make bench-scale"+argsText(args), versions, o.Objects, o.Size)
		failure := (&scale.Run{Options: o, World: w, Report: r, Log: os.Stderr}).Do(ctx)
		r.Took = time.Since(r.Started).Round(time.Second).String()
		_, err := os.Stdout.WriteString(r.Markdown())
		failure = errors.Join(failure, err)
		if failure != nil || *out == "" {
			return failure
		}
		return r.Write(*out)
	})
}

const dirUsage = "Folder for the data, on the disk that is to be measured. The default is that of temporary files."

var (
	defaultServer   = filepath.Join("..", "..", "bin", "bench", "secret-apiserver")
	defaultBinaries = filepath.Join("..", "..", "bin", "e2e")
	defaultOut      = filepath.Join("..", "..", "docs", "performance")
)

// inWorld runs in a temporary folder, which is kept on failure.
func inWorld(config world.Config, run func(*world.World) error) error {
	dir, err := os.MkdirTemp(config.Dir, "secret-bench-")
	if err != nil {
		return err
	}
	config.Dir = dir
	w, err := world.New(config)
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := run(w); err != nil {
		return fmt.Errorf("%w; logs and data are in %s", err, dir)
	}
	w.Stop()
	return os.RemoveAll(dir)
}
