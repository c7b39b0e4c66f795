// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writerDir makes this test binary a process that writes one set after another until it is killed.
const writerDir = "AGENT_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		writeForever(dir)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *volume {
	t.Helper()
	v, err := openVolume(dir, 0o440)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.close)
	return v
}

// put writes and cleans.
func put(t *testing.T, v *volume, files map[string][]byte) (changed bool) {
	t.Helper()
	changed, err := v.write(files)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.clean(files); err != nil {
		t.Fatal(err)
	}
	return changed
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range found {
		name := entry.Name()
		if generation.MatchString(name) {
			name = "(set)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestVolume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	v := open(t, dir)
	first := map[string][]byte{"a": []byte("1"), "tls/key.pem": []byte("2"), "tls/sub/c": []byte("")}
	if !put(t, v, first) {
		t.Error("the first set is not a change")
	}
	if diff := cmp.Diff([]string{"(set)", "..data", "a", "tls"}, entries(t, dir)); diff != "" {
		t.Error(diff)
	}
	for path, want := range first {
		got, err := os.ReadFile(filepath.Join(dir, path))
		info, _ := os.Stat(filepath.Join(dir, path))
		if err != nil || string(got) != string(want) || info.Mode() != 0o440 {
			t.Errorf("%s: %q, %v, %v", path, got, err, info)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "tls", "sub")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a directory has %v (%v)", info.Mode(), err)
	}
	before, _ := os.Readlink(filepath.Join(dir, dataLink))
	if put(t, v, first) {
		t.Error("the same set is a change")
	}
	if after, _ := os.Readlink(filepath.Join(dir, dataLink)); after != before {
		t.Error("the same set moved the link")
	}
	if !put(t, v, map[string][]byte{"b": []byte("1")}) {
		t.Error("another set is not a change")
	}
	if diff := cmp.Diff([]string{"(set)", "..data", "b"}, entries(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// Files get the group of a volume with fsGroup, which the bit of its directory passes on.
func TestVolumeKeepsTheGroup(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	put(t, open(t, dir), map[string][]byte{"tls/key": []byte("x")})
	for _, path := range []string{dataLink, "tls"} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode()&fs.ModeSetgid == 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestVolumeOfAnother(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := openVolume(dir, 0o440); err == nil || !strings.Contains(err.Error(), "another secret-agent") {
		t.Errorf("two on one directory: %v", err)
	}
}

// After a failure the files are those from before, and nothing else remains.
func TestVolumeFailures(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	put(t, v, map[string][]byte{"a": []byte("old")})
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := entries(t, dir)
	for name, files := range map[string]map[string][]byte{
		"mine exists and was not created by": {"a": []byte("new"), "mine": []byte("new")},
		"file name too long":                 {"a": []byte("new"), "sub/" + strings.Repeat("x", 300): []byte("new")},
	} {
		if _, err := v.write(files); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := v.clean(map[string][]byte{"a": nil}); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != "old" {
			t.Errorf("%s: the file is %q, %v", name, got, err)
		}
		if diff := cmp.Diff(want, entries(t, dir)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A process that ended between a swap and what follows from it may not have told anybody: the next one says that it
// changed.
func TestVolumeAfterAnInterruption(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	files := map[string][]byte{"a": []byte("1")}
	put(t, v, files)
	if err := os.Mkdir(filepath.Join(dir, "..2026_01_02_03_04_05.6"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, newLink)); err != nil {
		t.Fatal(err)
	}
	if !put(t, v, files) {
		t.Error("not a change after an interruption")
	}
	if diff := cmp.Diff([]string{"(set)", "..data", "a"}, entries(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// writeForever writes sets whose files hold their number.
func writeForever(dir string) {
	v, err := openVolume(dir, 0o440)
	if err != nil {
		panic(err)
	}
	text, _ := v.root.ReadFile("a")
	number, _ := strconv.Atoi(string(text))
	for {
		number++
		files := map[string][]byte{}
		for _, path := range []string{"a", "b/c", "d"} {
			files[path] = []byte(strconv.Itoa(number))
		}
		if _, err := v.write(files); err != nil {
			panic(err)
		}
		if err := v.clean(files); err != nil {
			panic(err)
		}
	}
}

// readSet reads all files of the current set; ok is false if it was removed meanwhile.
func readSet(t *testing.T, dir string) (numbers []int, ok bool) {
	t.Helper()
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil {
		return nil, false
	}
	for _, path := range []string{"a", "b/c", "d"} {
		text, err := os.ReadFile(filepath.Join(dir, current, path))
		if err != nil {
			if now, _ := os.Readlink(filepath.Join(dir, dataLink)); now == current {
				t.Fatalf("the current set lacks a file: %v", err)
			}
			return nil, false
		}
		number, err := strconv.Atoi(string(text))
		if err != nil {
			t.Fatalf("%s is torn: %v", path, err)
		}
		numbers = append(numbers, number)
	}
	return numbers, true
}

// Whenever a writer is killed, a reader sees whole sets, and never an older one after a newer one.
func TestVolumeOfAKilledWriter(t *testing.T) {
	dir := t.TempDir()
	last, sets := 0, 0
	check := func() {
		t.Helper()
		numbers, ok := readSet(t, dir)
		if !ok {
			return
		}
		sets++
		if slices.Min(numbers) != slices.Max(numbers) || numbers[0] < last {
			t.Fatalf("read %v after %d", numbers, last)
		}
		last = numbers[0]
	}
	for range 25 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(writer.Environ(), fmt.Sprintf("%s=%s", writerDir, dir))
		writer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		for until := last + 1 + rand.IntN(20); last < until; {
			check()
		}
		if err := writer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = writer.Wait() // killed
		check()
	}
	put(t, open(t, dir), map[string][]byte{"a": []byte("end")})
	if diff := cmp.Diff([]string{"(set)", "..data", "a"}, entries(t, dir)); diff != "" {
		t.Errorf("left over by killed writers: %s", diff)
	}
	t.Logf("%d sets read, the last was number %d", sets, last)
}
