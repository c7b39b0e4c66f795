// SPDX-License-Identifier: Apache-2.0

package clock

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// variable names the file of the offset to the server.
const variable = "CLOCK_OFFSET_FILE"

// call is how package time asks for the time, and shifted is what stands there instead.
const call, shifted = ":= runtimeNow()", ":= shiftedNow()"

// offsetSource is what package time gets in addition: eight bytes of a file, mapped, so that a read costs nothing and
// takes no lock.
const offsetSource = `package time

import (
	"syscall"
	"unsafe"
)

var clockOffset = mapClockOffset()

func mapClockOffset() *int64 {
	name, found := syscall.Getenv("` + variable + `")
	if !found {
		return new(int64)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("` + variable + `: " + err.Error())
	}
	data, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("` + variable + `: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&data[0]))
}

func shiftedNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	return sec + *clockOffset, nsec, mono
}
`

// Server builds a secret-apiserver whose clock can jump, and returns its path. Everything is recompiled for it,
// which takes some minutes the first time.
func Server(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(harness.Root(t), "bin", "test", "_clock") // the same each time, for the build cache; go build ./... passes _ by
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(runtime.GOROOT(), "src", "time", "time.go") //nolint:staticcheck // SA1019: go test runs with the go that built it
	changed := strings.ReplaceAll(string(harness.ReadFile(t, source)), call, shifted)
	if !strings.Contains(changed, "func Now() Time {\n\tsec, nsec, mono "+shifted) {
		t.Fatalf("%s asks for the time in another way: see package clock", source)
	}
	harness.WriteFile(t, filepath.Join(dir, "time.go"), changed)
	harness.WriteFile(t, filepath.Join(dir, "offset.go"), offsetSource)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		source: filepath.Join(dir, "time.go"),
		filepath.Join(filepath.Dir(source), "zz_offset.go"): filepath.Join(dir, "offset.go"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, filepath.Join(dir, "overlay.json"), string(overlay))
	binary := filepath.Join(harness.Root(t), "bin", "test", "secret-apiserver-clock")
	command := exec.CommandContext(t.Context(), "go", "build", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", binary, "./cmd/secret-apiserver") //nolint:gosec // fixed
	command.Dir = harness.Root(t)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building a server whose clock jumps: %v\n%s", err, output)
	}
	return binary
}

// Clock is that of one server.
type Clock struct {
	file *os.File
}

// New returns a clock that is right.
func New(t testing.TB) *Clock {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "offset"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	c := &Clock{file}
	c.Jump(t, 0)
	return c
}

// Env is what a process that has this clock needs in its environment.
func (c *Clock) Env() string { return variable + "=" + c.file.Name() }

// Jump sets the clock to an offset from the machine's, in whole seconds.
func (c *Clock) Jump(t testing.TB, offset time.Duration) {
	t.Helper()
	if _, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(offset/time.Second)), 0); err != nil { //nolint:gosec // two's complement is meant
		t.Fatal(err)
	}
}
