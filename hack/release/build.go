// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// platform is what a binary runs on.
type platform struct{ os, arch string }

// builder builds one commit.
type builder struct {
	tree
	work string
	// goVersion is that of the compiler, modules the folder of the module cache.
	goVersion, modules, goRoot string
	// env is the environment of every program that is started.
	env []string
}

// kept are the settings of Go that say where to get modules and toolchains and where to cache, and so change no byte.
var kept = []string{
	"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GONOPROXY", "GONOSUMDB", "GOSUMDB", "GOPRIVATE", "GOINSECURE", "GOTOOLCHAIN", "GOVCS", "GOTMPDIR",
}

// fixed are the settings that would change bytes.
var fixed = []string{
	"GOENV=off", "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off",
}

func newBuilder(ctx context.Context, t tree, work string) (*builder, error) {
	settings, err := output(ctx, t.root, os.Environ(), "go", append([]string{"env", "-json"}, kept...)...)
	if err != nil {
		return nil, err
	}
	var values map[string]string
	if err := json.Unmarshal([]byte(settings), &values); err != nil {
		return nil, fmt.Errorf("reading go env: %w", err)
	}
	b := &builder{tree: t, work: work, env: environment(os.Environ(), values, t)}
	for name, value := range map[string]*string{"GOVERSION": &b.goVersion, "GOMODCACHE": &b.modules, "GOROOT": &b.goRoot} {
		if *value, err = output(ctx, t.root, b.env, "go", "env", name); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// environment is that of this process with none of Go's settings but those given and the fixed ones.
func environment(all []string, settings map[string]string, t tree) []string {
	env := slices.DeleteFunc(slices.Clone(all), func(item string) bool {
		name, _, _ := strings.Cut(item, "=")
		return strings.HasPrefix(name, "GO") && name != "GOROOT" && name != "GOMAXPROCS" || strings.HasPrefix(name, "CGO_") ||
			name == "LC_ALL" || name == "TZ" || name == "KUBECONFIG"
	})
	for name, value := range settings {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	env = append(env, fixed...)
	return append(env, "LC_ALL=C", "TZ=UTC", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", t.date.Unix()))
}

// all builds everything but the checksums.
func (b *builder) all(ctx context.Context, o options) error {
	pages, err := manual(b.version, b.date, b.work) //nolint:contextcheck // describes commands and runs none
	if err != nil {
		return err
	}
	sbom, err := b.sbomTool(ctx)
	if err != nil {
		return err
	}
	for _, p := range o.platforms {
		fmt.Fprintf(os.Stderr, "release: building %s for %s/%s\n", b.version, p.os, p.arch)
		dir := filepath.Join(b.work, p.os+"_"+p.arch)
		if err := b.compile(ctx, p, dir, o.programs...); err != nil {
			return err
		}
		for _, program := range o.programs {
			name := fmt.Sprintf("%s_%s_%s_%s", program, b.version, p.os, p.arch)
			entries, err := b.contents(filepath.Join(dir, program))
			if err != nil {
				return err
			}
			if program == plugin {
				entries = append(entries, pages...)
			}
			path := filepath.Join(o.out, name+".tar.gz")
			if err := writeArchive(path, name, b.date, entries); err != nil {
				return err
			}
			if err := b.sbom(ctx, sbom, filepath.Join(dir, program), path+".cdx.json"); err != nil {
				return err
			}
		}
	}
	return b.manifests(ctx, o)
}

// compile builds programs of cmd/ into a folder.
func (b *builder) compile(ctx context.Context, p platform, dir string, names ...string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making a folder to build in: %w", err)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", b.ldflags, "-o", dir + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, "./cmd/"+name)
	}
	env := append(slices.Clone(b.env), "GOOS="+p.os, "GOARCH="+p.arch)
	if _, err := output(ctx, b.root, env, "go", args...); err != nil {
		return fmt.Errorf("building for %s/%s: %w", p.os, p.arch, err)
	}
	return nil
}

// contents are the files that every archive of a program has.
func (b *builder) contents(binary string) ([]entry, error) {
	notices, err := b.notices(binary)
	if err != nil {
		return nil, err
	}
	return []entry{
		{name: filepath.Base(binary), file: binary, executable: true},
		{name: "LICENSE", file: filepath.Join(b.root, "LICENSE")},
		{name: "README.md", file: filepath.Join(b.root, "README.md")},
		{name: "THIRD_PARTY_LICENSES.txt", data: notices},
	}, nil
}
