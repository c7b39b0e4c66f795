// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testPort = 8443

// prepare is one start of a server on dir.
func prepare(t *testing.T, dir string, change ...func(*Config)) *Data {
	t.Helper()
	d, err := tryPrepare(dir, change...)
	if err != nil {
		t.Fatalf("Prepare(%s): %v", dir, err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func tryPrepare(dir string, change ...func(*Config)) (*Data, error) {
	cfg := Config{DataDir: dir, BindAddress: "127.0.0.1", Port: testPort}
	for _, c := range change {
		c(&cfg)
	}
	return Prepare(cfg)
}

// filled is a directory that has seen one start.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := prepare(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// snapshot maps every file but the lock to its mode and content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == "lock" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		files[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			files[rel] += " " + read(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	d := prepare(t, dir)
	want := map[string]string{
		".": "drwx------", "pki": "drwx------",
		"pki/ca.crt": "-rw-------", "pki/ca.key": "-rw-------", "pki/serving.crt": "-rw-------", "pki/serving.key": "-rw-------",
		"encryption.yaml": "-rw-------", "admin.kubeconfig": "-rw-------", "admin-token.sha256": "-rw-------",
	}
	got := map[string]string{}
	for name, text := range snapshot(t, dir) {
		got[name] = strings.SplitN(text, " ", 2)[0]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, "lock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("lock: %v, %v; want mode 0600", info, err)
	}
	if d.Dir() != dir || d.EtcdDir() != filepath.Join(dir, "etcd") {
		t.Errorf("Dir() = %s, EtcdDir() = %s", d.Dir(), d.EtcdDir())
	}
}

func TestSecondStartReusesEveryByte(t *testing.T) {
	dir := filled(t)
	before := snapshot(t, dir)
	prepare(t, dir)
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("the second start changed files (-before +after):\n%s", diff)
	}
}

func TestTwoDirectoriesShareNothing(t *testing.T) {
	one, two := snapshot(t, filled(t)), snapshot(t, filled(t))
	for name, text := range one {
		if strings.Contains(text, "\n") && text == two[name] {
			t.Errorf("%s is the same in two directories", name)
		}
	}
}

func TestRelativeDirectory(t *testing.T) {
	parent := t.TempDir()
	t.Chdir(parent)
	d := prepare(t, "data")
	if want := filepath.Join(parent, "data", "admin.kubeconfig"); d.Kubeconfig() != want {
		t.Errorf("Kubeconfig() = %s, want %s", d.Kubeconfig(), want)
	}
}

// A file that is there and wrong is named, with the way out, and nothing changes.
func TestWrongContentIsRefusedAndKept(t *testing.T) {
	secretFiles := []string{
		"pki/ca.crt", "pki/ca.key", "pki/serving.crt", "pki/serving.key", "encryption.yaml", "admin.kubeconfig", "admin-token.sha256",
	}
	for _, name := range secretFiles {
		for kind, text := range map[string]string{"empty": "", "garbage": "canary-51c7: [\x00", "text": "canary-51c7"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				dir := filled(t)
				write(t, filepath.Join(dir, name), text)
				refused(t, dir, filepath.Join(dir, name))
			})
		}
	}
}

// refused wants a one-line error with each of words, no content of a file, and an unchanged directory.
func refused(t *testing.T, dir string, words ...string) {
	t.Helper()
	before := snapshot(t, dir)
	_, err := tryPrepare(dir)
	if err == nil {
		t.Fatal("Prepare succeeded")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has more than one line: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), tokenPrefix) {
		t.Errorf("the error quotes a file: %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("the refused start changed files (-before +after):\n%s", diff)
	}
}

func TestMissingOrMixedUpParts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		words []string
	}{
		{"authority without key", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "pki/ca.key"))
		}, []string{"pki/ca.crt has no key", "delete "}},
		{"serving certificate without key", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "pki/serving.key"))
		}, []string{"pki/serving.crt has no key", "delete "}},
		{"serving key of another", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "pki/serving.key"), read(t, filepath.Join(filled(t), "pki/serving.key")))
		}, []string{"does not belong to", "delete "}},
		{"authority of another", func(t *testing.T, dir string) {
			other := filled(t)
			for _, f := range []string{"pki/ca.crt", "pki/ca.key"} {
				write(t, filepath.Join(dir, f), read(t, filepath.Join(other, f)))
			}
		}, []string{"serving.crt is not signed by", "delete "}},
		{"no authority in ca.crt", func(t *testing.T, dir string) {
			for _, ext := range []string{".crt", ".key"} {
				write(t, filepath.Join(dir, "pki/ca"+ext), read(t, filepath.Join(dir, "pki/serving"+ext)))
			}
		}, []string{"ca.crt is not a certificate authority"}},
		{"key lost, data there", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "encryption.yaml"))
			if err := os.MkdirAll(filepath.Join(dir, "etcd", "member"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"encryption.yaml is missing", "restore it"}},
		{"hash lost", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "admin-token.sha256"))
		}, []string{"admin-token.sha256 is missing", "delete ", "admin.kubeconfig"}},
		{"hash of another token", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "admin-token.sha256"), read(t, filepath.Join(filled(t), "admin-token.sha256")))
		}, []string{"is not the one of", "delete "}},
		{"kubeconfig without token", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "admin.kubeconfig"), "apiVersion: v1\nkind: Config\n")
		}, []string{"no user \"admin\"", "delete it"}},
		{"symbolic link", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "encryption.yaml")
			if err := os.Rename(path, filepath.Join(dir, "elsewhere")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("elsewhere", path); err != nil {
				t.Fatal(err)
			}
		}, []string{"encryption.yaml is not a regular file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filled(t)
			tc.spoil(t, dir)
			refused(t, dir, tc.words...)
		})
	}
}

// A crash during the first start leaves a prefix of the files; the next start completes them and keeps what is there.
func TestInterruptedFirstStart(t *testing.T) {
	order := []string{
		"pki/ca.key", "pki/ca.crt", "pki/serving.key", "pki/serving.crt", "encryption.yaml", "admin-token.sha256", "admin.kubeconfig",
	}
	for n := range order {
		t.Run(order[n], func(t *testing.T) {
			dir := filled(t)
			for _, name := range order[n:] {
				remove(t, filepath.Join(dir, name))
			}
			before := snapshot(t, dir)
			prepare(t, dir)
			after := snapshot(t, dir)
			for name, text := range before {
				if name != "admin-token.sha256" && after[name] != text {
					t.Errorf("%s was changed", name)
				}
			}
			for _, name := range order {
				if after[name] == "" {
					t.Errorf("%s is missing after the second start", name)
				}
			}
		})
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := filled(t)
	before := snapshot(t, dir)
	write(t, filepath.Join(dir, ".encryption.yaml.tmp-123"), "half")
	write(t, filepath.Join(dir, "pki", ".ca.key.tmp-9"), "")
	write(t, filepath.Join(dir, "notes.txt"), "the owner's")
	prepare(t, dir)
	before["notes.txt"] = "-rw------- the owner's"
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestForeignKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := prepare(t, dir, func(c *Config) { c.ForeignKeys = true })
	if _, err := os.Stat(d.EncryptionConfig()); !os.IsNotExist(err) {
		t.Errorf("encryption.yaml was made although another file is configured: %v", err)
	}
}
