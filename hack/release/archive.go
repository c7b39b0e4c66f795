// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sumsFile is what sha256sum -c reads.
const sumsFile = "SHA256SUMS"

// entry is a file of an archive.
type entry struct {
	// name is where it is in the archive, with slashes.
	name string
	// file is where it is read from; data is the content if file is empty; link is where a symbolic link leads.
	file, link string
	data       []byte
	executable bool
}

// writeArchive writes a tar.gz of the entries below one folder. The same content gives the same bytes: sorted by name,
// of the given date, owned by root, with no mode but 0644 and 0755, and with no name or date in the header of gzip.
func writeArchive(path, folder string, date time.Time, entries []entry) (err error) {
	file, err := os.Create(path) //nolint:gosec // below -out
	if err != nil {
		return fmt.Errorf("making an archive: %w", err)
	}
	zipped := gzip.NewWriter(file)
	archive := tar.NewWriter(zipped)
	defer func() {
		for _, closer := range []io.Closer{archive, zipped, file} {
			err = cmp.Or(err, closer.Close())
		}
		if err != nil {
			err = fmt.Errorf("writing %s: %w", filepath.Base(path), err)
		}
	}()
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range entries {
		if err := e.write(archive, folder, date); err != nil {
			return err
		}
	}
	return nil
}

func (e entry) write(archive *tar.Writer, folder string, date time.Time) error {
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: folder + "/" + e.name, Mode: 0o644, ModTime: date, Format: tar.FormatPAX,
		Uname: "root", Gname: "root",
	}
	if e.executable {
		header.Mode = 0o755
	}
	if e.link != "" {
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		return archive.WriteHeader(header)
	}
	data := e.data
	if e.file != "" {
		var err error
		if data, err = os.ReadFile(e.file); err != nil {
			return err
		}
	}
	header.Size = int64(len(data))
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(data)
	return err
}

// files lists the regular files below a folder as entries of the same names below another.
func files(dir, below string) ([]entry, error) {
	var found []entry
	err := filepath.WalkDir(dir, func(path string, item fs.DirEntry, err error) error {
		if err != nil || !item.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found = append(found, entry{name: filepath.ToSlash(filepath.Join(below, name)), file: path})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing files for an archive: %w", err)
	}
	return found, nil
}

// writeSums writes the SHA-256 of every file of a folder as sha256sum does, sorted by name, and returns their number.
func writeSums(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("listing what was built: %w", err)
	}
	var sums strings.Builder
	count := 0
	for _, item := range entries {
		if !item.Type().IsRegular() || item.Name() == sumsFile {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, item.Name())) //nolint:gosec // below -out
		if err != nil {
			return 0, fmt.Errorf("computing a checksum: %w", err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), item.Name())
		count++
	}
	return count, writeFile(filepath.Join(dir, sumsFile), []byte(sums.String()))
}

func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o644); err != nil { //nolint:gosec // a release is for everybody
		return fmt.Errorf("writing a file of the release: %w", err)
	}
	return nil
}
