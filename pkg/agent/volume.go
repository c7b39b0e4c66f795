// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	// dataLink leads to the directory with the current files, as in volumes of the kubelet.
	dataLink = "..data"
	newLink  = dataLink + "_tmp"
)

// generation matches the directories that dataLink leads to.
var generation = regexp.MustCompile(`^\.\.\d{4}_\d\d_\d\d_`)

// volume is a directory of files that change together: PATH is a symbolic link to ..data/PATH, and ..data one to the
// directory with the current files. A reader of ..data never gets files of two sets, also when a writer is killed.
type volume struct {
	dir  string
	mode fs.FileMode
	root *os.Root // a link in the volume does not lead out of it
	lock *os.File
}

// openVolume creates the directory if it does not exist, and locks it. It fails when another process has it open.
func openVolume(dir string, mode fs.FileMode) (*volume, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // other containers read it
		return nil, fmt.Errorf("--dir: %w", err)
	}
	lock, err := os.Open(dir) //nolint:gosec // the user names it
	if err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("--dir: another secret-agent writes to %s; give each a --dir", dir)
		}
		return nil, fmt.Errorf("--dir: locking %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("--dir: %w", err)
	}
	return &volume{dir: dir, mode: mode, root: root, lock: lock}, nil
}

// close unlocks the directory. The files stay.
func (v *volume) close() {
	_ = v.root.Close()
	_ = v.lock.Close()
}

// write makes files, by path, the content of the volume. It returns false if they are so already and no earlier process
// was interrupted between its write and its clean. After an error the files are those from before.
func (v *volume) write(files map[string][]byte) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing to %s: %w", v.dir, err)
		}
	}()
	if err := v.link(files); err != nil {
		return false, err
	}
	if v.holds(files) {
		stale, err := v.stale(files)
		return len(stale) > 0, err
	}
	set := time.Now().UTC().Format("..2006_01_02_15_04_05.") + rand.Text()
	if err = v.fill(set, files); err == nil {
		err = v.swap(set)
	}
	if err != nil {
		return false, errors.Join(err, v.root.RemoveAll(set))
	}
	return true, nil
}

// put writes and cleans.
func (v *volume) put(p plan, values values) (changed bool, err error) {
	files, err := p.content(values)
	if err != nil {
		return false, err
	}
	changed, err = v.write(files)
	if err != nil {
		return false, err
	}
	return changed, v.clean(files)
}

// empty reports whether there was never a set.
func (v *volume) empty() bool {
	_, err := v.root.Readlink(dataLink)
	return err != nil
}

// clean removes what the current files do not need: earlier sets, and links to files that are in no set any more.
func (v *volume) clean(files map[string][]byte) error {
	stale, err := v.stale(files)
	for _, name := range stale {
		err = errors.Join(err, v.root.RemoveAll(name))
	}
	return err
}

func (v *volume) stale(files map[string][]byte) ([]string, error) {
	entries, err := fs.ReadDir(v.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	wanted, stale := tops(files), []string(nil)
	current, _ := v.root.Readlink(dataLink) // none before the first set
	for _, entry := range entries {
		name := entry.Name()
		link, _ := v.root.Readlink(name) // empty for what is not a link
		if name == newLink || name != current && generation.MatchString(name) ||
			!wanted[name] && link == filepath.Join(dataLink, name) {
			stale = append(stale, name)
		}
	}
	return stale, nil
}

// tops returns the entries of the directory that the paths of files go through.
func tops(files map[string][]byte) map[string]bool {
	names := map[string]bool{}
	for path := range files {
		name, _, _ := strings.Cut(path, string(filepath.Separator))
		names[name] = true
	}
	return names
}

// link creates the links of paths. Those of the first set lead nowhere until the swap, so that all appear together.
func (v *volume) link(files map[string][]byte) error {
	for name := range tops(files) {
		to := filepath.Join(dataLink, name)
		err := v.root.Symlink(to, name)
		if found, _ := v.root.Readlink(name); errors.Is(err, fs.ErrExist) && found != to {
			return fmt.Errorf("%s exists and was not created by secret-agent; remove it or use another --dir", name)
		} else if err != nil && found != to {
			return err
		}
	}
	return nil
}

var errDiffers = errors.New("differs")

// holds reports whether the current files are these.
func (v *volume) holds(files map[string][]byte) bool {
	data, err := v.root.OpenRoot(dataLink)
	if err != nil {
		return false
	}
	defer data.Close() //nolint:errcheck // opened for reading
	current, count := data.FS(), 0
	err = fs.WalkDir(current, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		count++
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := fs.ReadFile(current, path)
		if want, ok := files[path]; err != nil || !ok || info.Mode() != v.mode || !bytes.Equal(data, want) {
			return errDiffers
		}
		return nil
	})
	return err == nil && count == len(files)
}

// fill writes files into a new directory.
func (v *volume) fill(set string, files map[string][]byte) error {
	if err := v.mkdir(set); err != nil {
		return err
	}
	for path, data := range files {
		path = filepath.Join(set, path)
		for at, c := range path {
			if c == filepath.Separator {
				if err := v.mkdir(path[:at]); err != nil {
					return err
				}
			}
		}
		if err := v.root.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		if err := v.root.Chmod(path, v.mode); err != nil {
			return err
		}
	}
	return nil
}

// mkdir creates a directory that other users can list. It keeps the bit that passes on the group of a volume with
// fsGroup.
func (v *volume) mkdir(path string) error {
	if err := v.root.Mkdir(path, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	info, err := v.root.Stat(path)
	if err != nil {
		return err
	}
	return v.root.Chmod(path, info.Mode()&fs.ModeSetgid|0o755)
}

// swap makes a set the current one.
func (v *volume) swap(set string) error {
	if err := v.root.Remove(newLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := v.root.Symlink(set, newLink); err != nil {
		return err
	}
	return v.root.Rename(newLink, dataLink)
}
