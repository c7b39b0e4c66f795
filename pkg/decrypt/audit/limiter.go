// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// summary is the line that stands for denials that were not written one by one.
type summary struct {
	Time time.Time `json:"time"`
	// User, UserUID and Source are the caller; Others says that it stands for all whom the limiter does not tell apart.
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

func (s *summary) entry() (entry, error) {
	fields, err := json.Marshal(s)
	return entry{kind: kindSuppressed, fields: fields}, err
}

// addEarlier takes in what was suppressed before.
func (s *summary) addEarlier(earlier *summary) {
	s.From = earlier.From
	s.Suppressed += earlier.Suppressed
	for reason, n := range earlier.Reasons {
		s.Reasons[reason] += n
	}
}

// caller is who has a bucket of their own. Without a user it is the address.
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

// limiter bounds the denied records of each caller. It forgets callers who left it alone long enough to have their full
// burst again; when it knows too many, the new ones share a bucket.
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
	l := &limiter{limit: rate.Limit(c.DenyRate), burst: c.DenyBurst, max: c.MaxCallers, now: now, callers: map[caller]*bucket{}}
	l.others = l.newBucket()
	return l
}

func (l *limiter) newBucket() *bucket { return &bucket{tokens: rate.NewLimiter(l.limit, l.burst)} }

// admit says whether a denied record is to be written. One that is not is counted.
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
		bounded := r.bounded()
		bucket.suppressed = &summary{From: now.UTC(), Reasons: map[Reason]int64{}, Others: bucket == l.others}
		if bucket != l.others {
			bucket.suppressed.User, bucket.suppressed.UserUID, bucket.suppressed.Source = bounded.User, bounded.UserUID, bounded.Source
		}
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

// take returns what was suppressed since the last call, and forgets callers who are back at their full burst.
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

// putBack keeps what take returned for the next time.
func (l *limiter) putBack(summaries []*summary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range summaries {
		b := l.others
		if !s.Others {
			c := caller{user: s.User, uid: s.UserUID}
			if s.User == "" {
				c = caller{source: s.Source}
			}
			b = l.bucketOf(c)
		}
		if b.suppressed == nil {
			b.suppressed = s
		} else {
			b.suppressed.addEarlier(s)
		}
	}
}
