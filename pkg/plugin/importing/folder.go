// SPDX-License-Identifier: Apache-2.0

package importing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/plugin/input"
)

// fromFolder makes an entry of each file of a folder. Hidden files and folders are passed over, which passes over the `..data` of a
// mounted Secret; links to files are followed.
func fromFolder(dir string) ([]entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("--from-dir: %w", err)
	}
	var entries []entry
	for _, file := range files {
		if strings.HasPrefix(file.Name(), ".") {
			continue
		}
		e := entry{origin: file.Name()}
		path := filepath.Join(dir, file.Name())
		switch info, err := os.Stat(path); {
		case err != nil:
			return nil, fmt.Errorf("--from-dir: %w", err)
		case !info.Mode().IsRegular():
			e.leftOut = "no file"
		default:
			e.value, err = input.ReadFile("--from-dir", path)
			if err != nil && !errors.Is(err, input.ErrTooLong) {
				return nil, err
			}
			e.fault = err
		}
		entries = append(entries, e)
	}
	return entries, nil
}
