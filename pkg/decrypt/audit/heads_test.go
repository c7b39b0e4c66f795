// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
)

func TestHeadIsPublishedAsItMoves(t *testing.T) {
	c := testConfig(t)
	heads := &memoryHeads{moved: make(chan Head)}
	c.Heads, c.PublishInterval = heads, time.Millisecond
	l := mustOpen(t, c)
	for i := range 3 {
		mustRecord(t, l, allowed(fmt.Sprint(i)))
		for want := l.Head(); ; {
			if got := <-heads.moved; got == want {
				break
			} else if got.Sequence > want.Sequence {
				t.Fatalf("%v was published, the head is %v", got, want)
			}
		}
	}
	go func() { // what Close publishes
		for range heads.moved {
		}
	}()
	mustClose(t, l)
	close(heads.moved)
}

// A head that another run put in place of this one's is replaced if it is a line of this log, as after a write whose
// answer was lost or a restore of etcd. Any other is evidence of a cut and stays.
func TestHeadThatWasReplaced(t *testing.T) {
	c := testConfig(t)
	heads := &memoryHeads{}
	c.Heads, c.PublishInterval, c.MaxSize = heads, time.Hour, 2000
	l := mustOpen(t, c)
	early := l.Head()
	recordNames(t, l, "n", 30) // early is in an older file now
	for published, want := range map[Head]bool{early: true, {Sequence: early.Sequence, MAC: MAC{1}}: false} {
		heads.head, heads.ok = published, true
		if got := l.publishHead(t.Context(), l.Head()); got != want {
			t.Errorf("published over %v: %v, want %v", published, got, want)
		}
	}
	older, err := olderFiles(c.Path)
	must(t, err)
	heads.head = early
	must(t, os.Remove(older[0].path))
	if l.publishHead(t.Context(), l.Head()) {
		t.Error("published over a head whose file is gone")
	}
	heads.head = l.Head()
	mustClose(t, l)
}

func TestCloseAndPublishWithoutEtcd(t *testing.T) {
	c := testConfig(t)
	heads := &memoryHeads{}
	c.Heads, c.PublishInterval = heads, time.Millisecond
	l := mustOpen(t, c)
	heads.mu.Lock()
	heads.fail = errors.New("etcd is down")
	heads.mu.Unlock()
	recordNames(t, l, "n", 5) // not held up
	before := l.Head()
	heads.mu.Lock()
	heads.fail = nil
	heads.mu.Unlock()
	mustClose(t, l)
	if heads.head != before {
		t.Errorf("published is %v, want %v", heads.head, before)
	}
}

func TestMetrics(t *testing.T) {
	c := testConfig(t)
	c.DenyRate, c.DenyBurst = 0.001, 1
	l := mustOpen(t, c)
	recordsWritten.Reset()
	before, err := testutil.GetCounterMetricValue(suppressedRecords)
	must(t, err)
	mustRecord(t, l, allowed("a"), allowed("b"), denied("m", "a"), denied("m", "b"))
	after, err := testutil.GetCounterMetricValue(suppressedRecords)
	must(t, err)
	if after != before+1 {
		t.Errorf("suppressed_total went from %v to %v", before, after)
	}
	head := l.Head()
	want := fmt.Sprintf(`# HELP secret_decrypt_audit_head_mac48 [ALPHA] First 48 bits of the MAC of that line: `+"`audit verify --head`"+` takes them as 12 hexadecimal digits.
# TYPE secret_decrypt_audit_head_mac48 gauge
secret_decrypt_audit_head_mac48 %s
# HELP secret_decrypt_audit_head_sequence [ALPHA] Number of the last line of the decrypt audit log.
# TYPE secret_decrypt_audit_head_sequence gauge
secret_decrypt_audit_head_sequence %d
# HELP secret_decrypt_audit_records_total [ALPHA] Records in the decrypt audit log by decision (allow or deny), one per requested name.
# TYPE secret_decrypt_audit_records_total counter
secret_decrypt_audit_records_total{decision="allow"} 2
secret_decrypt_audit_records_total{decision="deny"} 1
`, mac48(t, head), head.Sequence)
	err = testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(want),
		"secret_decrypt_audit_records_total", "secret_decrypt_audit_head_sequence", "secret_decrypt_audit_head_mac48")
	if err != nil {
		t.Error(err)
	}
}

// mac48 writes the first 12 digits of a MAC as the metrics endpoint writes numbers.
func mac48(t *testing.T, head Head) string {
	t.Helper()
	var number uint64
	if _, err := fmt.Sscanf(head.MAC.String()[:witnessDigits], "%x", &number); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(float64(number))
}

// TestRecordHasNoPlaceForAValue fails when somebody adds a field to the log without deciding that it may stand there.
func TestRecordHasNoPlaceForAValue(t *testing.T) {
	known := map[string]string{
		"Time": "time.Time", "AuditID": "string", "User": "string", "UserUID": "string", "Source": "string",
		"Namespace": "string", "Name": "string", "UID": "string", "Version": "int64", "Revision": "int64",
		"Decrypter": "string", "Decision": "audit.Decision", "Reason": "audit.Reason", "Watch": "bool",
	}
	for field := range reflect.TypeFor[Record]().Fields() {
		if known[field.Name] != field.Type.String() {
			t.Errorf("field %s %s is new: a record must never hold a value", field.Name, field.Type)
		}
	}
}
