// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// commands are the additions to testscript's own.
func (s *suite) commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"sv":     s.sv,
		"shows":  s.shows,
		"code":   code,
		"type":   s.typed,
		"write":  write,
		"append": appendTo,
		"repeat": repeat,
		"opens":  s.opens,
	}
}

// sv ARG... runs `kubectl securevalue ARG...` and fails if its output contains a value.
func (s *suite) sv(ts *testscript.TestScript, neg bool, args []string) {
	run(ts, neg, args)
	clean(ts, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}

// shows ARG... is sv for commands that are meant to print the value.
func (*suite) shows(ts *testscript.TestScript, neg bool, args []string) { run(ts, neg, args) }

func run(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("kubectl-securevalue", args...)
	ts.Setenv("EXIT", strconv.Itoa(exitCode(ts, err)))
	expect(ts, neg, err)
}

func expect(ts *testscript.TestScript, neg bool, err error) {
	switch {
	case err != nil && !neg:
		ts.Fatalf("unexpected failure: %v", err)
	case err == nil && neg:
		ts.Fatalf("unexpected success")
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("running the plugin: %v", err)
	return 0
}

// clean fails if one of the outputs contains a value of the script.
func clean(ts *testscript.TestScript, outputs ...string) {
	for _, output := range outputs {
		if found := harness.Find([]byte(output), ts.Value(canariesKey{}).([]string)...); len(found) > 0 {
			ts.Fatalf("the output contains %q:\n%s", found, output)
		}
	}
}

// code N checks the exit code of the last sv, shows or type.
func code(ts *testscript.TestScript, _ bool, args []string) {
	if got := ts.Getenv("EXIT"); len(args) != 1 || got != args[0] {
		ts.Fatalf("exit code %s, want %v", got, args)
	}
}

// write FILE TEXT writes a text, with the escapes of Go, to a file and creates its directory.
func write(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	ts.Check(os.WriteFile(file, unescape(ts, args[1]), 0o600))
}

// append FILE TEXT appends a text, with the escapes of Go, to a file.
func appendTo(ts *testscript.TestScript, _ bool, args []string) {
	text := append([]byte(ts.ReadFile(args[0])), unescape(ts, args[1])...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

func unescape(ts *testscript.TestScript, text string) []byte {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	ts.Check(err)
	return []byte(text)
}

// repeat N TEXT FILE writes a text N times.
func repeat(ts *testscript.TestScript, _ bool, args []string) {
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), bytes.Repeat([]byte(args[1]), times), 0o600))
}

// opens [-line] NAME FILE has the service k6 open a value, and compares it with a file, or with the line in it.
func (s *suite) opens(ts *testscript.TestScript, neg bool, args []string) {
	line := args[0] == "-line"
	if line {
		args = args[1:]
	}
	want := ts.ReadFile(args[1])
	if line {
		want = strings.TrimSuffix(want, "\n")
	}
	got, status := s.decrypt(ts, args[0])
	if same := status == http.StatusOK && got == want; same == neg {
		ts.Fatalf("status %d, %d bytes, want %d bytes of %s (not: %t)", status, len(got), len(want), args[1], neg)
	}
}

func (s *suite) decrypt(ts *testscript.TestScript, name string) (string, int) {
	url := s.server.DecryptURL + "/decrypt/v1/namespaces/" + ts.Getenv("NAMESPACE") + "/secrets/" + name + "/decrypt"
	request, err := http.NewRequest(http.MethodGet, url, nil) //nolint:noctx // a script has no context
	ts.Check(err)
	request.Header.Set("Authorization", "Bearer "+harness.K6Token)
	request.Header.Set("Accept", "text/plain")
	response, err := s.server.HTTPClient().Do(request)
	ts.Check(err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	return string(body), response.StatusCode
}
