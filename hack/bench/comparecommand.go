// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/compare"
	"github.com/securevalue/secret-apiserver/hack/bench/report"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

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
