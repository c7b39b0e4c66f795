// SPDX-License-Identifier: Apache-2.0

// Package profile shows where the server's CPU time goes, operation by operation. It must never be taken for a
// measurement: the server that it runs is not the one that ships.
package profile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/world"
)

const (
	namespace = "profile"
	clients   = 16
)

// Options say what is profiled.
type Options struct {
	// Ops are run one after the other, each for For, on values of Size bytes, of which Objects are stored first.
	Ops     []string
	Size    int
	Objects int
	For     time.Duration
	// Side is the one of package world, Directory where the profiles go, Nodes how many lines are printed of each.
	Side      string
	Directory string
	Nodes     int
	// Server is the program that was started, for the names of functions; Address is where it serves profiles.
	Server, Address string
}

// Run fills a server and profiles it, and prints the tops.
func Run(ctx context.Context, w *world.World, o Options, out, log io.Writer) error {
	side, err := w.Start(ctx, o.Side)
	if err != nil {
		return err
	}
	fill := o.slice(side, load.Create)
	fill.Limit, fill.Prefix = int64(o.Objects), "stock"
	stock, err := fill.Run(ctx)
	if err != nil {
		return err
	}
	made := []string{}
	for number, op := range o.Ops {
		slice := o.slice(side, load.Op(op))
		slice.For, slice.Names, slice.Prefix = o.For, stock.Made, fmt.Sprintf("p%d", number)
		if slice.Op == load.Delete {
			slice.Names, slice.For = made, 0
		}
		if slice.Op == load.List || slice.Op == load.Page {
			slice.Clients, slice.Gzip = 1, true
		}
		_, _ = fmt.Fprintf(log, "profiling %s for %s\n", op, o.For)
		outcome, file, err := o.profile(ctx, slice)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		made = append(made, outcome.Made...)
		_, _ = fmt.Fprintf(out, "== %s of %d bytes, %s, %d clients: %.0f/s, failed %v, profile %s\n", op, o.Size, o.Side, slice.Clients,
			float64(outcome.OK)/outcome.Elapsed.Seconds(), outcome.Failed, file)
		if err := o.top(ctx, file, out); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) slice(side *world.Side, op load.Op) *load.Slice {
	return &load.Slice{
		Address: side.Address, TLS: side.Client, Kind: load.SecureValues, Encoding: load.Protobuf, Namespace: namespace,
		Op: op, Size: o.Size, Clients: clients,
	}
}

// profile runs a slice while the server records, which it does for o.For, and returns the file of the profile.
func (o Options) profile(ctx context.Context, slice *load.Slice) (*load.Outcome, string, error) {
	file := filepath.Join(o.Directory, fmt.Sprintf("%s-%d.pprof", slice.Op, o.Size))
	recorded := make(chan error, 1)
	go func() { recorded <- o.record(ctx, file) }()
	outcome, err := slice.Run(ctx)
	return outcome, file, errors.Join(err, <-recorded)
}

func (o Options) record(ctx context.Context, file string) error {
	address := fmt.Sprintf("http://%s/?seconds=%d", o.Address, max(1, int(o.For.Seconds())))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	profile, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("profiling: %s %s", response.Status, profile)
	}
	return errors.Join(err, os.WriteFile(file, profile, 0o600))
}

func (o Options) top(ctx context.Context, file string, out io.Writer) error {
	for _, order := range []string{"-flat", "-cum"} {
		command := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", order, fmt.Sprintf("-nodecount=%d", o.Nodes), o.Server, file) //nolint:gosec // fixed
		command.Stdout, command.Stderr = out, out
		if err := command.Run(); err != nil {
			return err
		}
	}
	return nil
}
