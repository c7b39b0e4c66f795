// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var date = time.Unix(1_700_000_000, 0).UTC()

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The order in which files were found, their modes and their dates leave no trace.
func TestArchiveIsReproducible(t *testing.T) {
	dir := t.TempDir()
	binary := write(t, filepath.Join(dir, "a", "program"), "binary")
	entries := []entry{
		{name: "program", file: binary, executable: true}, {name: "LICENSE", data: []byte("terms")}, {name: "alias", link: "program"},
	}
	first, second := filepath.Join(dir, "1.tar.gz"), filepath.Join(dir, "2.tar.gz")
	if err := writeArchive(first, "top", date, entries); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(binary, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(binary, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := writeArchive(second, "top", date, []entry{entries[2], entries[1], entries[0]}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, first), read(t, second)) {
		t.Error("the same content gives different archives")
	}
	want := []string{
		"top/LICENSE 644 root 1700000000 -> terms", "top/alias 777 root 1700000000 program-> ", "top/program 755 root 1700000000 -> binary",
	}
	if diff := cmp.Diff(want, list(t, first)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// list shows what is in an archive.
func list(t *testing.T, path string) []string {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	if zipped.Name != "" || !zipped.ModTime.IsZero() {
		t.Errorf("gzip's header has name %q and date %s", zipped.Name, zipped.ModTime)
	}
	var lines []string
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %o %s %d %s-> %s", header.Name, header.Mode, header.Uname, header.ModTime.Unix(), header.Linkname, content))
	}
}

func TestSumsAreThoseOfSha256sum(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b"), "abc")
	write(t, filepath.Join(dir, "a"), "")
	write(t, filepath.Join(dir, sumsFile), "old")
	write(t, filepath.Join(dir, "folder", "c"), "not of the release")
	count, err := writeSums(dir)
	if err != nil || count != 2 {
		t.Fatalf("%d files, %v; want 2", count, err)
	}
	want := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n" +
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
	if diff := cmp.Diff(want, string(read(t, filepath.Join(dir, sumsFile)))); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
}

// A folder with somebody's files is left alone; that of an earlier run, finished or not, is emptied.
func TestEmptyFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dist")
	file := write(t, filepath.Join(dir, "thesis.txt"), "years of work")
	if err := emptyFolder(dir); err == nil || !strings.Contains(err.Error(), "-out") {
		t.Errorf("a folder with a file in it: %v", err)
	}
	read(t, file)
	write(t, filepath.Join(dir, sumsFile), "")
	for range 2 {
		if err := emptyFolder(dir); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("left: %v, %v", entries, err)
		}
	}
}
