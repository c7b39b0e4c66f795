// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"
)

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// notices are the licences of what is in a binary, which most of them ask to come with it: each text once, under the modules that have it.
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

// addLicences notes a module under each text of its root folder; one without any is an error, since nobody may hand it on.
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
