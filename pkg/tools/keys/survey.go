// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

const (
	// maxNames bounds how many values of a key are named.
	maxNames = 10
	// maxFaults bounds the memory for records that cannot be read; all are counted.
	maxFaults = 1000
)

// survey is the result of a scan. Its size does not grow with the number of values.
type survey struct {
	revision, total int64 // total counts records, deleted those that wait for their finalizers without a value
	deleted         int64
	sealingKeys     int64
	keys            map[string]*usage
	faults          []FaultReport
	faultCount      int64
	// wrong are the keys whose secret opens none of their values, each with such a value.
	wrong   map[string]string
	retired *sealed.RetiredKeys
	// late are, for each retired key, the values that were written after it was by a server that does not know it.
	late map[string]*usage
	// servers are those that are announced at the revision.
	servers []sealed.Server
}

// usage describes what one key seals.
type usage struct {
	count       int64 // values and sealing keys
	sealingKeys int64
	oldest      time.Time
	names       []string // the first few
}

// text counts the values, which sealing keys are not.
func (u usage) text() string {
	text := fmt.Sprintf("%d values", u.count-u.sealingKeys)
	if u.sealingKeys > 0 {
		text += fmt.Sprintf(" and %d sealing keys", u.sealingKeys)
	}
	return text
}

// newSurvey returns a survey at the revision at which the retired keys were read.
func newSurvey(retired *sealed.RetiredKeys) *survey {
	return &survey{revision: retired.Revision, retired: retired, keys: map[string]*usage{}, late: map[string]*usage{}}
}

func (s *survey) add(record sealed.Scanned) {
	name := record.Namespace + "/" + record.Name
	if record.Deleted {
		s.deleted++
	}
	if record.Err != nil {
		if s.faultCount++; len(s.faults) < maxFaults {
			s.faults = append(s.faults, FaultReport{Name: name, Reason: record.Err.Error()})
		}
	}
	for _, retired := range s.retired.Keys {
		if record.Unfenced && record.Revision > retired.Revision {
			count(s.late, retired.Key, name)
		}
	}
	if record.Key == "" {
		return
	}
	key := count(s.keys, record.Key, name)
	if record.Sealing {
		s.sealingKeys++
		key.sealingKeys++
		return
	}
	if !record.Created.IsZero() && (key.oldest.IsZero() || record.Created.Before(key.oldest)) {
		key.oldest = record.Created
	}
}

// count adds a value to the usage of a key.
func count(all map[string]*usage, key, name string) *usage {
	used := all[key]
	if used == nil {
		used = &usage{}
		all[key] = used
	}
	used.add(name)
	return used
}

func (u *usage) add(name string) {
	u.count++
	if len(u.names) < maxNames {
		u.names = append(u.names, name)
	}
}

// fenced returns an error if a server may still seal under a key. retire is the command that retires a key.
func (s *survey) fenced(key string, retire func(key string) string) error {
	record := s.retired.Covering(key)
	if record == nil {
		return fmt.Errorf("%s is not retired: a server that has read an older file may still write under it; run: %s",
			key, retire(key))
	}
	if late := s.late[record.Key]; late != nil {
		return fmt.Errorf("%d values were written after %s was retired by a server of a version that does not know "+
			"retired keys: %s; upgrade all servers, then write these again (a label is enough)",
			late.count, record.Key, listNames(*late))
	}
	return nil
}

// values counts the records that hold a value.
func (s *survey) values() int64 { return s.total - s.deleted }

// names returns the keys in order.
func (s *survey) names() []string { return slices.Sorted(maps.Keys(s.keys)) }

// serverTable lists servers, with what is in force on each; "" without any.
func serverTable(servers []sealed.Server) string {
	if len(servers) == 0 {
		return ""
	}
	rows := [][]string{{"SERVER", "VERSION", "WRITE KEY", "KEYS", "LOADED"}}
	for _, s := range servers {
		row := []string{s.Instance, s.Version, cmp.Or(s.WriteKey, "unknown"), strings.Join(s.Keys, ","),
			s.Loaded.UTC().Format(time.RFC3339)}
		if s.Fault != "" {
			row = []string{s.Instance, "-", "-", "-", s.Fault}
		} else if s.Refused {
			row[len(row)-1] += ", the file on disk is refused"
		}
		rows = append(rows, row)
	}
	return "\n" + cli.Table(rows)
}

// under sums what is sealed under PROVIDER/NAME, which for a KMS stands for all keys of its plugin.
func (s *survey) under(key string) usage {
	var sum usage
	for _, name := range s.names() {
		if secret.CoversKey(key, name) {
			used := s.keys[name]
			sum.count += used.count
			sum.sealingKeys += used.sealingKeys
			sum.names = append(sum.names, used.names...)
		}
	}
	sum.names = sum.names[:min(len(sum.names), maxNames)]
	return sum
}
