// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// summaries are the summary lines in the file at the path.
func summaries(t testing.TB, c Config) []summary {
	t.Helper()
	var found []summary
	for _, text := range readLines(t, c.Path) {
		if !strings.Contains(text, `"kind":"suppressed"`) {
			continue
		}
		var s summary
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		found = append(found, s)
	}
	return found
}

func TestAttackDenialsDoNotFillTheDisk(t *testing.T) {
	c := testConfig(t)
	c.DenyRate, c.DenyBurst = 0.001, 5
	l := mustOpen(t, c)
	for i := range 1000 {
		mustRecord(t, l, denied("mallory", fmt.Sprint("guess-", i)))
		if i%100 == 0 {
			mustRecord(t, l, denied("alice", "typo"), allowed("real"))
		}
	}
	absent := denied("mallory", "x")
	absent.Reason = ReasonAbsent
	mustRecord(t, l, absent)
	mustClose(t, l)

	report := mustVerify(t, c, l.Head())
	if report.Allowed != 10 || report.Denied != 10 || report.Suppressed != 996+5 {
		t.Errorf("report = %+v, want every allowed record, 5 denied of each caller and the rest counted", report)
	}
	got := map[string]summary{}
	for _, s := range summaries(t, c) {
		got[s.User] = s
	}
	if s := got["mallory"]; s.Suppressed != 996 || s.Reasons[ReasonNotListed] != 995 || s.Reasons[ReasonAbsent] != 1 || s.From.After(s.To) || s.Time.IsZero() {
		t.Errorf("summary %+v", s)
	}
	if s := got["alice"]; s.Suppressed != 5 || s.Others {
		t.Errorf("summary %+v", s)
	}
}

func TestAllowedIsNeverSuppressed(t *testing.T) {
	c := testConfig(t)
	c.DenyRate, c.DenyBurst = 0.001, 1
	l := mustOpen(t, c)
	r := allowed("x")
	for range 50 {
		mustRecord(t, l, denied(r.User, "y"), r)
	}
	mustClose(t, l)
	if report := mustVerify(t, c); report.Allowed != 50 || report.Denied+report.Suppressed != 50 {
		t.Errorf("report = %+v", report)
	}
}

func TestCallersAreBounded(t *testing.T) {
	c := testConfig(t)
	c.DenyRate, c.DenyBurst, c.MaxCallers = 1, 2, 3
	now := time.Unix(1000, 0)
	l := newLimiter(c, func() time.Time { return now })
	admitted := 0
	for i := range 100 {
		r := denied(fmt.Sprint("user-", i), "x")
		for range 3 {
			if l.admit(&r) {
				admitted++
			}
		}
	}
	if len(l.callers) != 3 || admitted != 3*2+2 {
		t.Errorf("%d callers are told apart, %d records admitted; want 3 and 8", len(l.callers), admitted)
	}
	total := int64(0)
	taken := l.take(now)
	for _, s := range taken {
		total += s.Suppressed
		if s.Others != (s.User == "") {
			t.Errorf("summary %+v", s)
		}
	}
	if len(taken) != 4 || total != 300-int64(admitted) {
		t.Errorf("%d summaries count %d, want 4 and %d", len(taken), total, 300-admitted)
	}

	// Callers who went away make room.
	now = now.Add(time.Minute)
	if taken := l.take(now); len(taken) != 0 || len(l.callers) != 0 {
		t.Errorf("later: %d summaries, %d callers; want none", len(taken), len(l.callers))
	}
	r := denied("new", "x")
	if !l.admit(&r) || l.callers[caller{user: "new"}] == nil {
		t.Error("a new caller got no separate bucket")
	}
}

func TestUnauthenticatedCallersAreToldApartByAddress(t *testing.T) {
	c := testConfig(t)
	c.DenyRate, c.DenyBurst = 1, 1
	l := newLimiter(c, func() time.Time { return time.Unix(1000, 0) })
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		r := denied("", "x")
		r.Source = address
		if !l.admit(&r) || l.admit(&r) {
			t.Errorf("%s has no separate bucket", address)
		}
	}
}

func TestSummariesSurviveAFailedWrite(t *testing.T) {
	c := testConfig(t)
	c.DenyRate, c.DenyBurst = 0.001, 1
	l := mustOpen(t, c)
	mustRecord(t, l, denied("mallory", "a"), denied("mallory", "b"))
	l.stop() // from here on this test is the writer
	l.done.Wait()
	// The stop wrote a summary; what comes now finds no folder.
	r := denied("mallory", "c")
	l.limiter.admit(&r)
	must(t, os.Rename(c.dir(), c.dir()+"-away"))
	l.writeSummaries()
	l.limiter.admit(&r)
	must(t, os.Rename(c.dir()+"-away", c.dir()))
	l.writeSummaries()
	total := int64(0)
	for _, s := range summaries(t, c) {
		total += s.Suppressed
	}
	if total != 2 { // the new file holds what came after the first
		t.Errorf("the summaries count %d denials, want 2", total)
	}
	if report := mustVerify(t, c); report.Suppressed != 3 {
		t.Errorf("all summaries count %d denials, want 3", report.Suppressed)
	}
}

func TestDeniedRecordsNeedTheLogToo(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	must(t, os.Rename(c.dir(), c.dir()+"-away"))
	if err := l.Record(t.Context(), denied("mallory", "x")); err == nil || errors.Is(err, ErrClosed) {
		t.Errorf("Record = %v, want the fault of the disk", err)
	}
}
