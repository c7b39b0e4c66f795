// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
)

// sbomTool builds the pinned cyclonedx-gomod.
func (b *builder) sbomTool(ctx context.Context) (string, error) {
	path := filepath.Join(b.work, "cyclonedx-gomod")
	_, err := output(ctx, filepath.Join(b.root, "hack", "sbom"), b.env, "go", "build", "-trimpath", "-buildvcs=false",
		"-o", path, "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod")
	return path, err
}

// sbom writes what a binary is made of, in CycloneDX: what Go's linker recorded in it, the standard library too, with
// checksums and licences. It works without a network, since what was built is in the module cache.
func (b *builder) sbom(ctx context.Context, tool, binary, path string) error {
	env := append(slices.Clone(b.env), "GOPROXY=off", "GOSUMDB=off", "GOFLAGS=-mod=mod") // go.sum was checked before
	raw, err := output(ctx, b.work, env, tool, "bin", "-json", "-noserial", "-notimestamp", "-std", "-licenses", "-version", b.version, binary)
	if err != nil {
		return fmt.Errorf("listing what %s is made of: %w", filepath.Base(binary), err)
	}
	document, err := settle([]byte(raw), b.date)
	if err != nil {
		return fmt.Errorf("the SBOM of %s: %w", filepath.Base(binary), err)
	}
	return writeFile(path, document)
}

// settle makes an SBOM the same on every machine: it has the date of the commit, this project's licence without a
// module proxy being asked for it, one for every part, and no checksums of the tool that wrote it.
func settle(raw []byte, date time.Time) ([]byte, error) {
	var document map[string]any
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	metadata, _ := document["metadata"].(map[string]any)
	component, _ := metadata["component"].(map[string]any)
	tools, _ := metadata["tools"].([]any)
	components, _ := document["components"].([]any)
	if component == nil || len(tools) != 1 || len(components) == 0 {
		return nil, fmt.Errorf("it is not of the form that cyclonedx-gomod of hack/sbom writes")
	}
	metadata["timestamp"] = date.Format(time.RFC3339)
	license(component, "Apache-2.0")
	if tool, ok := tools[0].(map[string]any); ok {
		delete(tool, "hashes")
	}
	for _, item := range components {
		part, _ := item.(map[string]any)
		if part["name"] == "std" {
			license(part, "BSD-3-Clause") // Go's own is in no module
		}
		if part["evidence"] == nil && part["licenses"] == nil {
			return nil, fmt.Errorf("no licence is known of %v %v, so that the next run might write another file", part["name"], part["version"])
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("writing it: %w", err)
	}
	return out.Bytes(), nil
}

func license(component map[string]any, id string) {
	component["licenses"] = []any{map[string]any{"license": map[string]any{"id": id}}}
	delete(component, "evidence")
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// notices are the licences of what is in a binary, which most of them ask to come with it: each text once, under the
// modules that have it.
func (b *builder) notices(binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("reading what is in a binary: %w", err)
	}
	holders := map[string][]string{}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		path, pathErr := module.EscapePath(dep.Path)
		version, err := module.EscapeVersion(dep.Version)
		if pathErr != nil || err != nil {
			return nil, fmt.Errorf("%s is built with %s %s, which is not in the module cache", filepath.Base(binary), dep.Path, dep.Version)
		}
		name := dep.Path + " " + dep.Version
		if err := addLicences(holders, name, filepath.Join(b.modules, filepath.FromSlash(path)+"@"+version)); err != nil {
			return nil, err
		}
	}
	if err := addLicences(holders, "Go and its standard library "+info.GoVersion, b.goRoot); err != nil {
		return nil, err
	}
	return printNotices(filepath.Base(binary), holders), nil
}

// addLicences notes a module under each text of its root folder; one without any is an error, since nobody may hand it
// on.
func addLicences(holders map[string][]string, name, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking for the licence of %s: %w", name, err)
	}
	found := false
	for _, item := range entries {
		if !item.Type().IsRegular() || !licenceFile.MatchString(item.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, item.Name())) //nolint:gosec // of the module cache
		if err != nil {
			return fmt.Errorf("reading the licence of %s: %w", name, err)
		}
		key := strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
		holders[key] = append(holders[key], name)
		found = true
	}
	if !found {
		return fmt.Errorf("%s has no licence in %s: it may not be released", name, dir)
	}
	return nil
}

func printNotices(binary string, holders map[string][]string) []byte {
	type notice struct{ names, text string }
	var notices []notice
	for text, names := range holders {
		slices.Sort(names)
		notices = append(notices, notice{strings.Join(slices.Compact(names), "\n"), text})
	}
	slices.SortFunc(notices, func(a, b notice) int { return strings.Compare(a.names+a.text, b.names+b.text) })
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s contains the following software of others, under the licences below.\n", binary)
	rule := strings.Repeat("=", 80)
	for _, n := range notices {
		fmt.Fprintf(&out, "\n%s\n%s\n%s\n\n%s\n", rule, n.names, rule, n.text)
	}
	return out.Bytes()
}
