// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func TestBackupNeverOverwrites(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	fill(t, s, 1, 0)
	taken, dir := file(t), t.TempDir()
	harness.WriteFile(t, taken, "precious")
	link := filepath.Join(t.TempDir(), "dangling")
	if err := os.Symlink(filepath.Join(dir, "absent"), link); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{taken, dir, link} {
		refused(t, target+" exists already, and a backup never overwrites", "backup", "--data-dir="+s.DataDir, "--to="+target)
	}
	if content := string(harness.ReadFile(t, taken)); content != "precious" {
		t.Errorf("the file holds %q", content)
	}
	refused(t, "no such file or directory", "backup", "--data-dir="+s.DataDir, "--to="+filepath.Join(dir, "absent", "backup.db"))
	if entries, err := os.ReadDir(filepath.Dir(taken)); err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

// withSum puts a checksum behind content, as somebody who edits a backup with care would.
func withSum(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(append([]byte{}, content...), sum[:]...)
}

// cut returns the first n bytes.
func cut(whole []byte, n int) []byte { return append([]byte{}, whole[:n]...) }

// flip changes one bit.
func flip(whole []byte, at int) []byte {
	changed := append([]byte{}, whole...)
	changed[at] ^= 1
	return changed
}

// foreign is a sound database that is not etcd's.
func foreign(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("other"))
		return err
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	return harness.ReadFile(t, path)
}

// What is not a whole backup is refused by one line, and nothing is restored of it.
func TestDamagedBackupsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	stored := fill(t, s, 40, 2000)
	backup := file(t)
	must(t, "backup", "--data-dir="+s.DataDir, "--to="+backup)
	whole := harness.ReadFile(t, backup)
	database := whole[:len(whole)-sha256.Size]
	page := os.Getpagesize()

	const none, sum, unsound = "not a backup, or cut", "its checksum does not match", "not a valid etcd database"
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":                           {nil, none},
		"one byte short":                  {cut(whole, len(whole)-1), none},
		"without its checksum":            {database, none},
		"a sector short":                  {cut(whole, len(whole)-512), sum},
		"half":                            {cut(whole, len(whole)/2/512*512+sha256.Size), sum},
		"longer":                          {append(cut(whole, len(whole)), 0), none},
		"a sector longer":                 {append(cut(whole, len(whole)), make([]byte, 512)...), sum},
		"twice":                           {append(cut(whole, len(whole)), database...), sum},
		"a bit at the start":              {flip(whole, 20), sum},
		"a bit in the middle":             {flip(whole, len(whole)/2), sum},
		"a bit of the checksum":           {flip(whole, len(whole)-1), sum},
		"text":                            {[]byte(strings.Repeat("not a backup\n", 100)), none},
		"text of the right length":        {[]byte(strings.Repeat("x", 1024+sha256.Size)), sum},
		"a key file":                      {harness.ReadFile(t, keys(s.DataDir)), none},
		"zeros with a good checksum":      {withSum(make([]byte, 64<<10)), unsound},
		"cut, with a good checksum":       {withSum(database[:len(database)/2/page*page]), unsound},
		"both meta pages, good checksum":  {withSum(flip(flip(database, 24), page+24)), unsound},
		"another database, good checksum": {withSum(foreign(t)), unsound},
		"a page lost, good checksum":      {withSum(lose(database, page)), unsound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			damaged, target := file(t), filepath.Join(t.TempDir(), "target")
			if err := os.WriteFile(damaged, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			output := refused(t, test.want, "restore", "--from="+damaged, "--data-dir="+target)
			output += refused(t, test.want, "backup", "verify", "--from="+damaged, "--encryption-provider-config="+keys(s.DataDir))
			if left := tree(t, target); left != "" {
				t.Errorf("the restore left\n%s", left)
			}
			noCanary(t, "output", []byte(output), stored)
		})
	}
	target := filepath.Join(t.TempDir(), "target")
	refused(t, "not a backup", "restore", "--from="+t.TempDir(), "--data-dir="+target)
}

// lose overwrites most pages behind the first four with zeros.
func lose(database []byte, page int) []byte {
	changed := append([]byte{}, database...)
	clear(changed[4*page:])
	return changed
}
