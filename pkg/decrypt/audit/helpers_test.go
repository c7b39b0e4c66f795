// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testConfig is a log in a separate folder that does nothing by itself.
func testConfig(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	c := NewConfig()
	c.Path = filepath.Join(dir, "log", "decrypt.log")
	c.KeyFile = filepath.Join(dir, "audit.key")
	c.GenerateKey = true
	c.Instance = "test"
	c.SummaryInterval, c.PublishInterval = time.Hour, time.Hour
	return c
}

func mustOpen(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := Open(context.Background(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func allowed(name string) Record {
	return Record{
		AuditID: "a-1", User: "system:serviceaccount:k6:runner", UserUID: "u-1", Source: "192.0.2.7",
		Namespace: "default", Name: name, UID: "o-1", Version: 3, Revision: 42,
		Decrypter: "k6-cloud", Decision: Allow, Reason: ReasonGranted,
	}
}

func denied(user, name string) Record {
	return Record{User: user, Namespace: "default", Name: name, Decision: Deny, Reason: ReasonNotListed}
}

func mustRecord(t testing.TB, l *Log, records ...Record) {
	t.Helper()
	if err := l.Record(context.Background(), records...); err != nil {
		t.Fatalf("Record: %v", err)
	}
}

func recordNames(t testing.TB, l *Log, prefix string, n int) {
	t.Helper()
	for i := range n {
		mustRecord(t, l, allowed(fmt.Sprintf("%s-%d", prefix, i)))
	}
}

// verifyDir checks everything in the folder of a log.
func verifyDir(t testing.TB, c Config, heads ...Head) (Report, error) {
	t.Helper()
	return verifyPaths(t, c, []string{c.dir()}, heads...)
}

func verifyPaths(t testing.TB, c Config, paths []string, heads ...Head) (Report, error) {
	t.Helper()
	v := Verification{Keys: mustKeys(t, c.KeyFile)}
	for _, head := range heads {
		witness, err := ParseWitness(head.String())
		if err != nil {
			t.Fatal(err)
		}
		v.Heads = append(v.Heads, witness)
	}
	return v.Verify(paths)
}

func mustVerify(t testing.TB, c Config, heads ...Head) Report {
	t.Helper()
	report, err := verifyDir(t, c, heads...)
	if err != nil {
		t.Fatalf("Verify: %v\n%s", err, dump(t, c))
	}
	return report
}

// wantFault verifies and wants a fault whose text has every part.
func wantFault(t testing.TB, c Config, heads []Head, parts ...string) {
	t.Helper()
	_, err := verifyDir(t, c, heads...)
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Fatalf("Verify = %v, want a fault with %q\n%s", err, parts, dump(t, c))
	}
	for _, part := range parts {
		if !strings.Contains(fault.Error(), part) {
			t.Errorf("fault %q lacks %q", fault, part)
		}
	}
}

func mustKeys(t testing.TB, path string) *Keys {
	t.Helper()
	keys, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func dump(t testing.TB, c Config) string {
	t.Helper()
	var out strings.Builder
	files, _ := filepath.Glob(filepath.Join(c.dir(), "*.log"))
	for _, file := range files {
		fmt.Fprintf(&out, "%s:\n%s\n", filepath.Base(file), read(t, file))
	}
	return out.String()
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readLines(t testing.TB, path string) []string {
	t.Helper()
	return strings.SplitAfter(strings.TrimSuffix(string(read(t, path)), "\n"), "\n")
}

// joinLines undoes readLines for any selection of lines.
func joinLines(lines []string) []byte {
	var out bytes.Buffer
	for _, line := range lines {
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	return out.Bytes()
}

// memoryHeads is a HeadStore without etcd.
type memoryHeads struct {
	mu    sync.Mutex
	head  Head
	ok    bool
	fail  error
	moved chan Head // gets each head when set
}

func (m *memoryHeads) Load(context.Context) (Head, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, m.ok, m.fail
}

func (m *memoryHeads) Advance(_ context.Context, head Head, earlier func(Head) (bool, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.ok && m.head != head {
		if ok, err := earlier(m.head); err != nil || !ok || m.head.Sequence >= head.Sequence {
			return errors.Join(err, ErrHeadBehind)
		}
	}
	m.head, m.ok = head, true
	if m.moved != nil {
		m.moved <- head
	}
	return nil
}
