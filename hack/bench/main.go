// SPDX-License-Identifier: Apache-2.0

// Command bench measures secret-apiserver against the Secrets of kube-apiserver: `make bench`. With the argument scale
// it measures many values in a standalone server: `make bench-scale`. With profile it shows where the time goes: `make
// bench-profile`. docs/performance tells how to read what it prints.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
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
