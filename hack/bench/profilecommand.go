// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/profile"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

// profileCommand is `make bench-profile`.
func profileCommand(ctx context.Context, args []string) error {
	var config world.Config
	o := profile.Options{Ops: []string{"create", "get", "update", "patch", "list", "delete"}}
	flags := flag.NewFlagSet("bench profile", flag.ContinueOnError)
	flags.StringVar(&config.Dir, "dir", "", dirUsage)
	flags.StringVar(&config.Binaries, "binaries", defaultBinaries, "Folder with etcd.")
	flags.StringVar(&o.Directory, "profiles", filepath.Join("..", "..", "bin", "bench", "profiles"), "Folder for the profiles.")
	flags.StringVar(&o.Side, "side", world.Ours, "ours, with a separate etcd, or embedded.")
	flags.IntVar(&o.Size, "size", 256, "Bytes of a value.")
	flags.IntVar(&o.Objects, "objects", 3000, "Values to store first.")
	flags.IntVar(&o.Nodes, "nodes", 40, "Lines of each top.")
	flags.DurationVar(&o.For, "for", 10*time.Second, "How long each operation is profiled.")
	flags.Func("ops", "Comma-separated: "+strings.Join(o.Ops, ", ")+", page.", list(&o.Ops, text))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Side != world.Ours && o.Side != world.Embedded {
		return fmt.Errorf("--side must be %s or %s, not %q", world.Ours, world.Embedded, o.Side)
	}
	var err error
	if o.Directory, err = filepath.Abs(o.Directory); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Directory, 0o700); err != nil {
		return err
	}
	o.Server = filepath.Join("..", "..", "bin", "bench", "profiled")
	config.Server, config.ServerArgs = o.Server, []string{"--cpu-profile-dir=" + o.Directory}
	return inWorld(config, func(w *world.World) error { return profile.Run(ctx, w, o, os.Stdout, os.Stderr) })
}
