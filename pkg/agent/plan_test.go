// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPlanRefuses(t *testing.T) {
	for _, test := range []struct {
		name, want string
		o          options
	}{
		{"no name", "expected PATH=NAME", options{files: []string{"a"}}},
		{"a value instead of a name", "invalid name of a secure value", options{env: []string{"A=S3cr3t!"}}},
		{"two names for a path", "path a is used twice", options{files: []string{"a=x", "./a=y"}}},
		{"a file as a directory", "path a is a file and a directory", options{files: []string{"a=x", "a/b=y"}}},
		{"a directory as a file", "path a is used twice", options{files: []string{"a/b=x", "a=y"}}},
		{"an env file as a file", "path a is used twice", options{files: []string{"a=x"}, envFile: "a"}},
		{"two names for a variable", "variable A is set twice", options{env: []string{"A=x", "A=y"}}},
		{"no name of a variable", "invalid name of a variable", options{env: []string{"A B=x"}}},
		{"a path outside", "must be relative, must not leave the directory", options{files: []string{"../a=x"}}},
		{"a path that comes back", "must be relative, must not leave the directory", options{files: []string{"b/../../a=x"}}},
		{"an absolute path", "must be relative, must not leave the directory", options{files: []string{"/etc/a=x"}}},
		{"the directory", "must be relative, must not leave the directory", options{files: []string{".=x"}}},
		{"our own names", "nor start with two dots", options{files: []string{"..data/a=x"}}},
		{"an env file outside", "--env-file: path", options{envFile: "../a"}},
	} {
		_, err := newPlan(&test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "S3cr3t") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	o := options{files: []string{"a/b=x", "a/c=x", "d=y"}, env: []string{"A.b-C=x"}}
	if p, err := newPlan(&o); err != nil || !slices.Equal(p.names(), []string{"x", "x", "y", "x"}) {
		t.Errorf("%v, %v", p.names(), err)
	}
}

func TestEnvLineRefuses(t *testing.T) {
	for _, value := range []string{"", "it's", "a\x00b", "a\r\nb"} {
		if line, err := EnvLine("A", value); err == nil {
			t.Errorf("%q becomes %q", value, line)
		}
	}
	if line, err := EnvLine("A", "a\n\"$b\"\r"); err != nil || line != "A='a\n\"$b\"\r'\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// settled parses a command line of fetch with a configuration file.
func settled(t *testing.T, file string, args ...string) (*options, error) {
	t.Helper()
	o := newOptions()
	c := o.command("test", "", "", "", o.addFileFlags, o.addEnvFlag, o.addEnvFileFlag, o.addConnectionFlags, o.addTimeoutFlag)
	if file != "" {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return o, settle(c.Flags())
}

func TestFlagsWinOverVariablesOverTheFile(t *testing.T) {
	t.Setenv("SECRET_AGENT_NAMESPACE", "of-variable")
	t.Setenv("SECRET_AGENT_SERVER", "https://variable:1")
	t.Setenv("SECRET_AGENT_FILE", "a=variable,b=variable")
	t.Setenv("SECRET_AGENT_PORT", "tcp://10.0.0.1:80") // of a Service with this name
	t.Setenv("SECRET_AGENT_HELP", "true")
	o, err := settled(t, `
server: https://file:1
namespace: of-file
file: [a=file]
env: [A=file, B=file]
mode: "0400"
timeout: 5s
`, "--namespace=of-flag")
	if err != nil {
		t.Fatal(err)
	}
	if o.namespace != "of-flag" || o.server != "https://variable:1" || o.mode != 0o400 || o.timeout.Seconds() != 5 ||
		!slices.Equal(o.files, []string{"a=variable", "b=variable"}) || !slices.Equal(o.env, []string{"A=file", "B=file"}) {
		t.Errorf("%+v", o)
	}
}

func TestFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"serverr: x":      `unknown key "serverr"`,
		"help: true":      `unknown key "help"`,
		"config: x":       `unknown key "config"`,
		"dir: a\ndir: b":  "a key is repeated",
		"mode: 0440":      "mode: expected a string; quote numbers",
		`mode: "440"`:     "mode: expected 0400",
		`mode: "0666"`:    "mode: expected 0400",
		`mode: ""`:        "mode: expected 0400",
		"file: a=b":       "file: expected a list",
		"file: [{a: b}]":  "file: item 1 is not a string",
		"dir: [a]":        "dir: expected a string",
		"timeout: s3cr3t": "timeout: ",
		"- a":             "not a YAML mapping",
		"s3cr3t: [":       "not a YAML mapping",
	} {
		if _, err := settled(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	t.Setenv("SECRET_AGENT_MODE", "0777")
	if _, err := settled(t, ""); err == nil || !strings.Contains(err.Error(), "SECRET_AGENT_MODE: expected 0400") {
		t.Errorf("a bad variable: %v", err)
	}
}
