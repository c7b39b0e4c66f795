// SPDX-License-Identifier: Apache-2.0

package auditlog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/tools/auditlog"
)

// writeLog makes a log of some records and returns its folder, its key and its head.
func writeLog(t *testing.T) (dir, keyFile string, head audit.Head) {
	t.Helper()
	base := t.TempDir()
	c := audit.NewConfig()
	c.Path, c.KeyFile, c.GenerateKey, c.Instance = filepath.Join(base, "log", "decrypt.log"), filepath.Join(base, "audit.key"), true, "pod-0"
	c.MaxSize, c.DenyBurst, c.DenyRate = 2000, 2, 0.001
	log, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		name := fmt.Sprint("n-", i)
		err := log.Record(t.Context(),
			audit.Record{User: "k6", Namespace: "default", Name: name, Decision: audit.Allow, Reason: audit.ReasonGranted},
			audit.Record{User: "mallory", Namespace: "default", Name: name, Decision: audit.Deny, Reason: audit.ReasonAbsent})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(c.Path), c.KeyFile, log.Head()
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := auditlog.New()
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetErr(&out)
	command.SetArgs(append([]string{"verify"}, args...))
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

func TestGoodLog(t *testing.T) {
	dir, key, head := writeLog(t)
	out, err := run(t, dir, "--key-file", key, "--head", head.String(), "--head", head.String()[:len(head.String())-40])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"The log verifies: 12 lines in 2 files", "instance    pod-0", "first line  1 at 20", head.String(), "7 allowed, 2 denied, 5 more denied and only counted"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "No --head") {
		t.Errorf("output:\n%s", out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	out, err = run(t, append([]string{"--key-file", key}, files...)...)
	if err != nil || !strings.Contains(out, "No --head was given") {
		t.Errorf("without a head: %v\n%s", err, out)
	}
}

func TestBadLogs(t *testing.T) {
	dir, key, head := writeLog(t)
	last := filepath.Join(dir, "decrypt.log")
	good, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"edited":  {bytes.Replace(good, []byte("pod-0"), []byte("pod-1"), 1), "decrypt.log:1"},
		"cut off": {good[:bytes.LastIndexByte(good[:len(good)-1], '\n')+1], "it was cut off"},
		"torn":    {good[:len(good)-1], "the last line is not complete"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(last, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, dir, "--key-file", key, "--head", head.String())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "the log does not verify: ") || out != "" {
				t.Errorf("error %v, output %q; want %q", err, out, test.want)
			}
		})
	}
}

func TestBadUse(t *testing.T) {
	dir, key, _ := writeLog(t)
	loose := filepath.Join(t.TempDir(), "loose.key")
	data, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(loose, data, 0o600); err != nil { //nolint:gosec // in the folder of this test
		t.Fatal(err)
	}
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no file":           {[]string{"--key-file", key}, "requires at least 1 arg"},
		"no key":            {[]string{dir}, `"key-file" not set`},
		"key is missing":    {[]string{dir, "--key-file", key + "x"}, "--key-file: "},
		"key is readable":   {[]string{dir, "--key-file", loose}, "can be read by every user"},
		"bad head":          {[]string{dir, "--key-file", key, "--head", "12"}, "--head: "},
		"bad known fault":   {[]string{dir, "--key-file", key, "--known-fault", "0"}, "--known-fault 0: "},
		"no such log":       {[]string{dir + "x", "--key-file", key}, "no such file"},
		"unknown flag":      {[]string{dir, "--verbose"}, "unknown flag"},
		"the key as a file": {[]string{key, "--key-file", key}, "or this is another file"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) || out != "" {
				t.Errorf("error %v, output %q; want %q", err, out, test.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.TrimSpace(string(data))) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}
