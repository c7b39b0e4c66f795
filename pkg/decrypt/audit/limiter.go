// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// summary is the line for denials that were not written one by one.
type summary struct {
	Time time.Time `json:"time"`
	// User, UserUID and Source are the caller; Others: this is about all callers without their own limit.
	User    string `json:"user,omitempty"`
	UserUID string `json:"userUID,omitempty"`
	Source  string `json:"source,omitempty"`
	Others  bool   `json:"others,omitempty"`
	// From and To are the times of the first and the last of them.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Suppressed counts them, Reasons by reason.
	Suppressed int64            `json:"suppressed"`
	Reasons    map[Reason]int64 `json:"reasons"`
}

// addEarlier merges what was suppressed before.
func (s *summary) addEarlier(earlier *summary) {
	s.From = earlier.From
	s.Suppressed += earlier.Suppressed
	for reason, n := range earlier.Reasons {
		s.Reasons[reason] += n
	}
}

// caller identifies a bucket. Without a user it is the address.
type caller struct{ user, uid, source string }

func callerOf(r *Record) caller {
	if r.User == "" {
		return caller{source: r.Source}
	}
	return caller{user: r.User, uid: r.UserUID}
}

type bucket struct {
	tokens     *rate.Limiter
	suppressed *summary // nil for none
}

// limiter bounds the denied records of each caller. It forgets callers that have their full burst again; when it knows
// too many, the new ones share a bucket.
type limiter struct {
	limit rate.Limit
	burst int
	max   int
	now   func() time.Time

	mu      sync.Mutex
	callers map[caller]*bucket
	others  *bucket
}

func newLimiter(c Config, now func() time.Time) *limiter {
	l := &limiter{
		limit: rate.Limit(c.DenyRate), burst: c.DenyBurst, max: c.MaxCallers, now: now, callers: map[caller]*bucket{},
	}
	l.others = l.newBucket()
	return l
}

func (l *limiter) newBucket() *bucket { return &bucket{tokens: rate.NewLimiter(l.limit, l.burst)} }

// admit reports whether a denied record is to be written. One that is not is counted.
func (l *limiter) admit(r *Record) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.bucketOf(callerOf(r))
	if bucket.tokens.AllowN(now, 1) {
		return true
	}
	suppressedRecords.Inc()
	if bucket.suppressed == nil {
		s := &summary{From: now.UTC(), Reasons: map[Reason]int64{}, Others: bucket == l.others}
		if !s.Others {
			bounded := r.bounded()
			s.User, s.UserUID, s.Source = bounded.User, bounded.UserUID, bounded.Source
		}
		bucket.suppressed = s
	}
	bucket.suppressed.To = now.UTC()
	bucket.suppressed.Suppressed++
	bucket.suppressed.Reasons[r.Reason]++
	return false
}

func (l *limiter) bucketOf(c caller) *bucket {
	if b := l.callers[c]; b != nil {
		return b
	}
	if len(l.callers) >= l.max {
		return l.others
	}
	b := l.newBucket()
	l.callers[c] = b
	return b
}

// take returns what was suppressed since the last call, and forgets callers that are back at their full burst.
func (l *limiter) take(now time.Time) []*summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken []*summary
	grab := func(b *bucket) {
		b.suppressed.Time = now.UTC()
		taken = append(taken, b.suppressed)
		b.suppressed = nil
	}
	for c, b := range l.callers {
		switch {
		case b.suppressed != nil:
			grab(b)
		case b.tokens.TokensAt(now) >= float64(l.burst):
			delete(l.callers, c)
		}
	}
	if l.others.suppressed != nil {
		grab(l.others)
	}
	return taken
}

// putBack returns summaries that could not be written.
func (l *limiter) putBack(summaries []*summary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range summaries {
		b := l.others
		if !s.Others {
			b = l.bucketOf(callerOf(&Record{User: s.User, UserUID: s.UserUID, Source: s.Source}))
		}
		if b.suppressed == nil {
			b.suppressed = s
		} else {
			b.suppressed.addEarlier(s)
		}
	}
}
