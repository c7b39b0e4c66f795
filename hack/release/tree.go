// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// tree is the commit that is released.
type tree struct {
	root, commit string
	// version is that of this project, as v0.1.0; ldflags append it to that of Kubernetes.
	version, ldflags string
	// date is when the commit was made: that of every file.
	date time.Time
}

var versionStamp = regexp.MustCompile(`component-base/version\.gitVersion=v[0-9.]+\+(\S+)`)

// readTree reads the commit that the current folder has checked out, and refuses changes that no commit has unless
// dirty.
func readTree(ctx context.Context, dirty bool) (tree, error) {
	var t tree
	root, err := output(ctx, "", os.Environ(), "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return t, fmt.Errorf("a release is built in a git clone, for its version and its date: %w", err)
	}
	t.root = root
	changes, err := output(ctx, root, os.Environ(), "git", "status", "--porcelain")
	if err != nil {
		return t, err
	}
	if changes != "" && !dirty {
		return t, fmt.Errorf("the tree has changes that no commit has:\n%s\ncommit or stash them, or give -dirty to build them as they are, "+
			"which cannot be released", changes)
	}
	if t.commit, err = output(ctx, root, os.Environ(), "git", "rev-parse", "HEAD"); err != nil {
		return t, err
	}
	if t.date, err = commitDate(ctx, root); err != nil {
		return t, err
	}
	if t.ldflags, err = output(ctx, root, os.Environ(), filepath.Join(root, "hack", "version-ldflags.sh")); err != nil {
		return t, err
	}
	found := versionStamp.FindStringSubmatch(t.ldflags)
	if found == nil {
		return t, fmt.Errorf("hack/version-ldflags.sh stamps no version: %s", t.ldflags)
	}
	t.version = found[1]
	return t, nil
}

// commitDate is when the commit was made. SOURCE_DATE_EPOCH of somebody's environment has no say: it would change the
// bytes.
func commitDate(ctx context.Context, root string) (time.Time, error) {
	epoch, err := output(ctx, root, os.Environ(), "git", "log", "-1", "--format=%ct")
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the date of the commit: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// output runs a program and returns what it prints, without white space at the end; its errors hold what it says.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...) //nolint:gosec // programs of this file's callers
	command.Dir, command.Env = dir, env
	out, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return strings.TrimRight(string(out), "\n\t "), nil
}
