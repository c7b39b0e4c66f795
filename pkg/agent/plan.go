// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

// values are decrypted values by name.
type values = map[string]client.Value

// target is a file or a variable that gets the value of a secure value.
type target struct{ to, name string }

// plan says what is written from which secure values.
type plan struct {
	files, variables []target
	// envFile is the file of the variables; empty when a child process gets them.
	envFile string
}

var (
	secureValueName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	variableName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

// newPlan checks the options. Errors do not quote what follows "=": it may be a value by mistake.
func newPlan(o *options) (plan, error) {
	p := plan{}
	var errs []error
	files, variables := map[string]bool{}, map[string]bool{}
	for _, text := range o.files {
		t, err := parseTarget(text)
		if err == nil {
			t.to, err = addPath(files, t.to)
		}
		errs, p.files = append(errs, wrap("--file", err)), append(p.files, t)
	}
	if o.envFile != "" {
		var err error
		p.envFile, err = addPath(files, o.envFile)
		errs = append(errs, wrap("--env-file", err))
	}
	for _, text := range o.env {
		t, err := parseTarget(text)
		switch {
		case err != nil:
		case !variableName.MatchString(t.to):
			err = fmt.Errorf("invalid name of a variable %q", t.to)
		case variables[t.to]:
			err = fmt.Errorf("variable %s is set twice", t.to)
		}
		variables[t.to] = true
		errs, p.variables = append(errs, wrap("--env", err)), append(p.variables, t)
	}
	return p, errors.Join(errs...)
}

func wrap(flag string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", flag, err)
	}
	return err
}

func parseTarget(text string) (target, error) {
	to, name, ok := strings.Cut(text, "=")
	if !ok || to == "" {
		return target{}, errors.New("expected PATH=NAME or VAR=NAME, where NAME is that of a secure value")
	}
	if !secureValueName.MatchString(name) {
		return target{}, fmt.Errorf("%s=: invalid name of a secure value", to)
	}
	return target{to, name}, nil
}

// addPath checks a path in the directory and adds it and its parents to paths, where only files are true.
func addPath(paths map[string]bool, path string) (string, error) {
	clean := filepath.Clean(path)
	if !filepath.IsLocal(path) || clean == "." || strings.HasPrefix(clean, "..") {
		return "", fmt.Errorf("path %q must be relative, must not leave the directory, nor start with two dots", path)
	}
	if _, ok := paths[clean]; ok {
		return "", fmt.Errorf("path %s is used twice", clean)
	}
	for parent := filepath.Dir(clean); parent != "."; parent = filepath.Dir(parent) {
		if paths[parent] {
			return "", fmt.Errorf("path %s is a file and a directory", parent)
		}
		paths[parent] = false
	}
	paths[clean] = true
	return clean, nil
}

// names returns the names of the secure values. They may repeat.
func (p plan) names() []string {
	var names []string
	for _, t := range p.files {
		names = append(names, t.name)
	}
	for _, t := range p.variables {
		names = append(names, t.name)
	}
	return names
}

// content returns the files with their content by path.
func (p plan) content(values values) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, t := range p.files {
		files[t.to] = []byte(values[t.name].Expose())
	}
	if p.envFile == "" {
		return files, nil
	}
	var text strings.Builder
	var errs []error
	for _, t := range p.variables {
		line, err := EnvLine(t.to, values[t.name].Expose())
		if err != nil {
			errs = append(errs, fmt.Errorf("secure value %s: %w; use --file", t.name, err))
		}
		text.WriteString(line)
	}
	files[p.envFile] = []byte(text.String())
	return files, errors.Join(errs...)
}

// EnvLine returns VAR='value' as the kubelet reads it for fileKeyRef: without escapes, so that some values cannot be
// written.
func EnvLine(variable, value string) (string, error) {
	switch {
	case value == "":
		return "", errors.New("an env file cannot hold an empty value")
	case strings.Contains(value, "'"):
		return "", errors.New("an env file cannot hold a single quote")
	case strings.Contains(value, "\x00"):
		return "", errors.New("an env file cannot hold a NUL byte")
	case strings.Contains(value, "\r\n"):
		return "", errors.New("an env file loses a carriage return at the end of a line")
	}
	return variable + "='" + value + "'\n", nil
}

// environ returns the variables of a child process.
func (p plan) environ(values values) ([]string, error) {
	var environ []string
	var errs []error
	for _, t := range p.variables {
		value := values[t.name].Expose()
		if strings.Contains(value, "\x00") {
			errs = append(errs, fmt.Errorf("secure value %s: a variable cannot hold a NUL byte; use --file", t.name))
		}
		environ = append(environ, t.to+"="+value)
	}
	return environ, errors.Join(errs...)
}
