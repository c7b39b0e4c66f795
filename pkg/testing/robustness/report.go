// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// report is what a run leaves when it fails: enough to look at, and to check again.
type report struct {
	Seed   uint64     `json:"seed"`
	Faults []Injected `json:"faults"`
	// Backup is the revision of the backup that was made meanwhile.
	Backup     int64         `json:"backup"`
	Findings   []string      `json:"findings"`
	Operations []Operation   `json:"operations"`
	Segments   []Segment     `json:"segments"`
	Records    []AuditRecord `json:"records"`
	picture    func(path string) error
}

// artifactsEnv names the folder for what a failed run leaves; without it, it is a new folder below the temporary one.
const artifactsEnv = "ROBUSTNESS_ARTIFACTS"

// save writes the history, and a picture of the first name that is not linearizable.
func (r *report) save(t *testing.T) {
	t.Helper()
	dir := os.Getenv(artifactsEnv)
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("robustness-%d", r.Seed))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // named by who runs the test
		t.Error(err)
		return
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "history.json"), data, 0o600) //nolint:gosec // as above
	}
	if err == nil && r.picture != nil {
		err = r.picture(filepath.Join(dir, "linearizability.html"))
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("what the clients saw is in %s", dir)
}
