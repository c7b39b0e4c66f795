// SPDX-License-Identifier: Apache-2.0

// Command bench measures secret-apiserver against the Secrets of kube-apiserver: `make bench`. With the argument scale
// it measures many values in a standalone server: `make bench-scale`. With profile it shows where the time goes: `make
// bench-profile`. docs/performance tells how to read what it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/compare"
	"github.com/securevalue/secret-apiserver/hack/bench/profile"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/scale"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, []string) error{"scale": scaleCommand, "profile": profileCommand}
	if len(args) > 0 && commands[args[0]] != nil {
		return commands[args[0]](ctx, args[1:])
	}
	return compareCommand(ctx, args)
}

// compareCommand is `make bench`.
func compareCommand(ctx context.Context, args []string) error {
	options, config, out, name, err := compareFlags(args)
	if err != nil {
		return err
	}
	versions, err := report.Versions(config.Server, filepath.Join(config.Binaries, "kube-apiserver"), filepath.Join(config.Binaries, "etcd"))
	if err != nil {
		return err
	}
	return inWorld(config, func(w *world.World) error {
		r := report.New("make bench"+argsText(args), versions)
		r.Settings["kube-apiserver"] = "priority and fairness off, admission plugins that look at Secrets off"
		if config.Stock {
			r.Settings["kube-apiserver"] = "as an installer leaves it"
		}
		failure := (&compare.Run{Options: options, World: w, Report: r, Log: os.Stderr}).Do(ctx)
		r.Close()
		_, err := os.Stdout.WriteString(r.Markdown())
		failure = errors.Join(failure, err)
		if failure != nil || out == "" {
			return failure
		}
		return r.Write(out, name)
	})
}

func compareFlags(args []string) (o compare.Options, config world.Config, out, name string, err error) {
	o, name = compare.Full(), "full"
	for _, arg := range args {
		if arg == "--quick" || arg == "-quick" {
			o, name = compare.Quick(), "quick"
		}
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Bool("quick", false, "Only what shows the aims: less than 3 minutes instead of less than 20.")
	flags.StringVar(&config.Dir, "dir", "", dirUsage)
	flags.StringVar(&config.Binaries, "binaries", defaultBinaries, "Folder with kube-apiserver and etcd.")
	flags.StringVar(&config.Server, "server", defaultServer, "The secret-apiserver to measure.")
	flags.BoolVar(&config.Stock, "stock", false, "Leave kube-apiserver's admission plugins and its priority and fairness on.")
	flags.StringVar(&out, "out", defaultOut, "Folder for the tables, the figures as JSON and the plot; empty writes none.")
	flags.IntVar(&o.Objects, "objects", o.Objects, "Objects in each namespace.")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "Turns of each side in a cell.")
	flags.DurationVar(&o.Slice, "slice", o.Slice, "Length of a turn.")
	flags.DurationVar(&o.Budget, "budget", o.Budget, "When no further cell is started; what is left out is named.")
	flags.BoolVar(&o.Gzip, "gzip", o.Gzip, "Ask for compressed lists, as client-go does.")
	flags.Func("sides", "Comma-separated: core, ours, embedded.", list(&o.Sides, text))
	flags.Func("ops", "Comma-separated: create, get, update, patch, delete, list, page, watch.", list(&o.Ops, text))
	flags.Func("sizes", "Comma-separated sizes of values in bytes.", list(&o.Sizes, strconv.Atoi))
	flags.Func("clients", "Comma-separated numbers of clients.", list(&o.Clients, strconv.Atoi))
	flags.Func("watchers", "Comma-separated numbers of watchers.", list(&o.Watchers, strconv.Atoi))
	if err := flags.Parse(args); err != nil {
		return o, config, out, name, err
	}
	if o.Objects < 1 || o.Rounds < 1 || o.Slice < 10*time.Millisecond || len(o.Sizes) == 0 {
		return o, config, out, name, fmt.Errorf("--objects and --rounds must be 1 or more, --slice 10ms or more, and --sizes not empty")
	}
	return o, config, out, name, nil
}

func text(s string) (string, error) { return s, nil }

// list reads a comma-separated flag.
func list[T any](target *[]T, parse func(string) (T, error)) func(string) error {
	return func(value string) error {
		var all []T
		for part := range strings.SplitSeq(value, ",") {
			one, err := parse(part)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		*target = all
		return nil
	}
}

func argsText(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return ` ARGS="` + strings.Join(args, " ") + `"`
}

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
	port, err := controlplane.FreePort()
	if err != nil {
		return err
	}
	o.Address = fmt.Sprintf("127.0.0.1:%d", port)
	config.Server, config.ServerArgs = o.Server, []string{"--cpu-profile-address=" + o.Address}
	return inWorld(config, func(w *world.World) error { return profile.Run(ctx, w, o, os.Stdout, os.Stderr) })
}

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
		r.Close()
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
