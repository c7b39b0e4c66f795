// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

const sealCanary = "canary-5b1e of a value"

const sealable = head + "metadata:\n  name: db # the database\nspec:\n  description: Database\n" +
	"  decrypters: [k6-cloud, billing]\n  value: " + sealCanary + "\n"

// sealTest has a folder with the public key of a server and no cluster.
type sealTest struct {
	key *sealing.PrivateKey
	dir string
}

func newSealTest(t *testing.T) *sealTest {
	t.Helper()
	key, err := sealing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &sealTest{key: key, dir: t.TempDir()}
	t.Chdir(s.dir)
	t.Setenv("KUBECONFIG", filepath.Join(s.dir, "kubeconfig"))
	s.write(t, "kubeconfig", "contexts: [{name: c, context: {namespace: of-context}}]\ncurrent-context: c\n")
	s.write(t, "sealing.pub", base64.StdEncoding.EncodeToString(key.Public().Bytes())+"\n")
	return s
}

func (s *sealTest) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read returns a.yaml.
func (s *sealTest) read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// run runs the plugin. Neither the errors nor, unless it failed, the outputs may contain the value.
func run(t *testing.T, in string, args ...string) (out, errOut string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := NewCommand(genericiooptions.IOStreams{In: strings.NewReader(in), Out: &stdout, ErrOut: &stderr})
	command.SetArgs(args)
	err = command.ExecuteContext(t.Context())
	if err != nil && (strings.Contains(err.Error(), sealCanary) || stdout.Len() > 0) {
		t.Errorf("%v: failed with %d bytes on standard output: %v", args, stdout.Len(), err)
	}
	if strings.Contains(stdout.String()+stderr.String(), sealCanary) {
		t.Errorf("%v: an output contains the value", args)
	}
	return stdout.String(), stderr.String(), err
}

func (s *sealTest) seal(t *testing.T, in string, args ...string) (out, errOut string, err error) {
	t.Helper()
	return run(t, in, append([]string{"seal", "--public-key", "sealing.pub"}, args...)...)
}

// opens checks that the sealed values of a text open for their own manifests, and returns their number.
func (s *sealTest) opens(t *testing.T, text string) (n int) {
	t.Helper()
	_, err := editManifests("file", text, func(m *manifest) error {
		if m.Spec.SealedValue == nil {
			return nil
		}
		n++
		parsed, err := sealing.Parse(*m.Spec.SealedValue)
		if err != nil {
			return err
		}
		value, err := s.key.Open(parsed, sealing.Binding{Namespace: m.Metadata.Namespace, Name: m.Metadata.Name,
			Decrypters: m.Spec.Decrypters, NotAfter: parsed.NotAfter()})
		if string(value) != sealCanary {
			t.Errorf("%s opens to %d bytes: %v", m.at, len(value), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

func TestSealStdin(t *testing.T) {
	s := newSealTest(t)
	in := "# of Git\nkind: Other\n---\n" + sealable + "---\n" + strings.ReplaceAll(sealable, "name: db", "name: db2")
	out, errOut, err := s.seal(t, in, "-f", "-")
	if err != nil || s.opens(t, out) != 2 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kept := range []string{"# of Git\nkind: Other\n---\n",
		"  name: db # the database\n  namespace: of-context\n",
		"  decrypters: [k6-cloud, billing]\n  sealedValue: sv1:" + s.key.Public().ID() + "::"} {
		if !strings.Contains(out, kept) {
			t.Errorf("no %q in\n%s", kept, out)
		}
	}
	for _, want := range []string{s.key.Public().Fingerprint(), "values sealed: 2",
		"standard input: document 2: added metadata.namespace of-context"} {
		if !strings.Contains(errOut, want) {
			t.Errorf("no %q in\n%s", want, errOut)
		}
	}
	if out2, errOut, err := s.seal(t, out, "-f", "-"); err != nil || out2 != out ||
		!strings.Contains(errOut, "values sealed: 0") {
		t.Errorf("sealed again: %v, changed: %t\n%s", err, out2 != out, errOut)
	}
}

func TestSealInPlace(t *testing.T) {
	s := newSealTest(t)
	s.write(t, "a.yaml", sealable)
	s.write(t, "b.yaml", head+"metadata: {name: b}\nspec: {value: ''}\n")
	if err := os.Chmod("a.yaml", 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.yaml", "link.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.seal(t, "", "-f", "link.yaml", "-f", "b.yaml", "-w"); err == nil ||
		!strings.Contains(err.Error(), "b.yaml: document 1: ") || s.read(t) != sealable {
		t.Errorf("the first of two files was written although the second is invalid: %v", err)
	}
	out, _, err := s.seal(t, "", "-f", "link.yaml", "-w", "-n", "given", "--not-after", "90d")
	if err != nil || out != "" ||
		s.opens(t, s.read(t)) != 1 || !strings.Contains(s.read(t), "namespace: given") {
		t.Errorf("in place: %v\n%s%s", err, out, s.read(t))
	}
	info, err := os.Lstat("link.yaml")
	if err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if info, err := os.Stat("a.yaml"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info, err)
	}
	if _, _, err := s.seal(t, "", "-w", "-f", "-"); err == nil ||
		!strings.Contains(err.Error(), "--write requires files") {
		t.Errorf("standard input in place: %v", err)
	}
}

// TestSealFiles: several files on standard output are one stream of documents.
func TestSealFiles(t *testing.T) {
	s := newSealTest(t)
	s.write(t, "a.yaml", strings.TrimSuffix(sealable, "\n"))
	s.write(t, "b.yaml", "kind: Other\n")
	s.write(t, "c.yaml", "---\n"+sealable)
	out, _, err := s.seal(t, "", "-f", "a.yaml", "-f", "b.yaml", "-f", "c.yaml")
	if err != nil || s.opens(t, out) != 2 || len(splitDocuments(out)) != 3 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSealRefuses(t *testing.T) {
	s := newSealTest(t)
	s.write(t, "no.pub", sealCanary)
	s.write(t, "short.pub", "AAAA")
	change := func(old, with string) string { return strings.Replace(sealable, old, with, 1) }
	for what, c := range map[string]struct {
		in, want string
		args     []string
	}{
		"both":            {in: sealable + "  sealedValue: sv1:x\n", want: "spec.sealedValue are both set"},
		"generateName":    {in: change("name: db", "generateName: db-"), want: "metadata.generateName: a value"},
		"no name":         {in: change("name: db", "labels: {}"), want: "metadata.name"},
		"name":            {in: change("name: db", "name: DB"), want: "metadata.name: Invalid value"},
		"no description":  {in: change("  description: Database\n", ""), want: "spec.description: Required"},
		"decrypter":       {in: change("billing", "b/c/d"), want: "spec.decrypters[1]"},
		"empty":           {in: change(sealCanary, `""`), want: "the value is empty"},
		"not UTF-8":       {in: change(sealCanary, `"\xff`+"\xff\""), want: "invalid YAML"},
		"too long":        {in: change(sealCanary, strings.Repeat("x", 24577)), want: "longer than 24576"},
		"second document": {in: "a: b\n---\n" + change("name: db", "name: DB"), want: "standard input: document 2: "},
		"other namespace": {in: change("name: db", "name: db\n  namespace: ns"), want: `metadata.namespace is "ns"`,
			args: []string{"-n", "other"}},
		"no key":      {in: sealable, want: "--public-key: expected", args: []string{"--public-key", "no.pub"}},
		"short key":   {in: sealable, want: "invalid public key", args: []string{"--public-key", "short.pub"}},
		"absent key":  {in: sealable, want: "--public-key: ", args: []string{"--public-key", "absent.pub"}},
		"absent file": {in: sealable, want: "absent.yaml", args: []string{"-f", "absent.yaml"}},
		"past":        {in: sealable, want: "--not-after", args: []string{"--not-after", "2020-01-01T00:00:00Z"}},
		"no duration": {in: sealable, want: "--not-after expects", args: []string{"--not-after", "soon"}},
		"superfluous": {in: sealable, want: "seal takes no arguments", args: []string{sealCanary}},
	} {
		if _, _, err := s.seal(t, c.in, append([]string{"-f", "-"}, c.args...)...); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	if _, _, err := s.seal(t, sealable); err == nil || !strings.Contains(err.Error(), "-f FILE") {
		t.Errorf("no files: %v", err)
	}
}

// TestSealNotesWhatRemains: a copy of the value in a comment would go to Git.
func TestSealNotesWhatRemains(t *testing.T) {
	s := newSealTest(t)
	var out, errOut bytes.Buffer
	command := NewCommand(genericiooptions.IOStreams{In: strings.NewReader(sealable + "# old: " + sealCanary + "\n"),
		Out: &out, ErrOut: &errOut})
	command.SetArgs([]string{"seal", "--public-key", "sealing.pub", "-f", "-"})
	if err := command.ExecuteContext(t.Context()); err != nil || strings.Contains(errOut.String(), sealCanary) ||
		!strings.Contains(errOut.String(), "standard input: document 1: the value, or a line of it, also stands") {
		t.Errorf("%v\n%s", err, errOut.String())
	}
	if _, errOut, err := s.seal(t, sealable, "-f", "-"); err != nil || strings.Contains(errOut, "also stands") {
		t.Errorf("%v\n%s", err, errOut)
	}
}

func TestParseNotAfter(t *testing.T) {
	now := time.Date(2026, 12, 1, 10, 0, 0, 999, time.UTC)
	for text, want := range map[string]string{
		"90d": "2027-03-01T10:00:00Z", "36h": "2026-12-02T22:00:00Z",
		"2027-01-31T01:00:00+01:00": "2027-01-31T00:00:00Z",
		"1500ms":                    "2026-12-01T10:00:01Z",
	} {
		if got, err := parseNotAfter(text, now); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0d", "-1d", "-1h", "1ns", "9999999d", "2026-12-01T10:00:00Z", "2027-01-31", "d"} {
		if got, err := parseNotAfter(text, now); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestInspect(t *testing.T) {
	s := newSealTest(t)
	sealed, _, err := s.seal(t, sealable, "-f", "-", "--not-after", "2999-12-31T23:59:59Z")
	if err != nil {
		t.Fatal(err)
	}
	never, err := s.key.Public().Seal(bytes.Repeat([]byte("x"), 300), sealing.Binding{Namespace: "ns", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	other := head + "metadata: {name: a, namespace: ns}\nspec: {sealedValue: "
	in := sealed + "---\n" + other + never + "}\n---\n" + other + "'sv1:0123456789abcdef:1:QUJD'}\n---\n" + sealable
	out, errOut, err := run(t, in, "inspect", "-f", "-")
	if err != nil || !strings.Contains(errOut, "note: standard input: document 4: spec.value is not sealed") {
		t.Errorf("%v\n%s", err, errOut)
	}
	id := s.key.Public().ID()
	want := [][]string{{"NAMESPACE", "NAME", "SUITE", "KEY", "EXPIRES", "SIZE", "DECRYPTERS"},
		{"of-context", "db", "sv1", id, "2999-12-31T23:59:59Z", "at", "most", "256", "k6-cloud,billing"},
		{"ns", "a", "sv1", id, "never", "at", "most", "512", "none"},
		{"ns", "a", "sv1", "0123456789abcdef", "1970-01-01T00:00:01Z", "(expired)", "cut", "none"}}
	for i, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if i >= len(want) || strings.Join(strings.Fields(line), " ") != strings.Join(want[i], " ") {
			t.Errorf("line %d: %s", i, line)
		}
	}
	if out, _, err := run(t, in, "inspect", "-f", "-", "-o", "json"); err != nil ||
		!strings.Contains(out, `"maxValueBytes": 512`) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := run(t, other+"sv2:0123456789abcdef::QUJD}\n", "inspect", "-f", "-"); err == nil ||
		!strings.Contains(err.Error(), "document 1: spec.sealedValue: unknown suite") {
		t.Errorf("%v", err)
	}
}
