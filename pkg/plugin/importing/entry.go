// SPDX-License-Identifier: Apache-2.0

package importing

import (
	"errors"
	"fmt"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// entry is one value to import.
type entry struct {
	// origin says where it comes from: SECRET/KEY, the name of a file or that of a variable.
	origin string
	value  sensitive.Value
	// name is what the secure value is to be called.
	name string
	// fault is why it cannot be imported; leftOut is why it is not meant to be.
	fault   error
	leftOut string
}

// defaultName is the name of a secure value for an origin: in lower case, with "-" for "_" and "/".
func defaultName(origin string) string {
	return strings.NewReplacer("_", "-", "/", "-").Replace(strings.ToLower(origin))
}

// mapping is what --map says: names by origin. An empty name leaves the origin out.
type mapping map[string]string

func newMapping(flags []string) (mapping, error) {
	m := mapping{}
	for _, text := range flags {
		origin, name, ok := strings.Cut(text, "=")
		if _, twice := m[origin]; !ok || origin == "" || twice {
			return nil, errors.New("--map takes ORIGIN=NAME, or ORIGIN= to leave one out, each origin once; an origin is SECRET/KEY, a file name or a variable")
		}
		m[origin] = name
	}
	return m, nil
}

// apply names the entries. A name that two entries would have is a fault of both.
func (m mapping) apply(entries []entry) error {
	known := map[string]bool{}
	first := map[string]int{}
	for i := range entries {
		e := &entries[i]
		known[e.origin] = true
		name, mapped := m[e.origin]
		switch {
		case e.leftOut != "":
			continue
		case mapped && name == "":
			e.leftOut = "by --map"
			continue
		case !mapped:
			name = defaultName(e.origin)
		}
		e.name = name
		j, taken := first[name]
		if !taken {
			first[name] = i
			continue
		}
		e.fault = fmt.Errorf("would have the same name as %s; give one of them another with --map", entries[j].origin)
		entries[j].fault = fmt.Errorf("would have the same name as %s; give one of them another with --map", e.origin)
	}
	for origin := range m {
		if !known[origin] {
			return fmt.Errorf("--map: there is no %q to import", origin)
		}
	}
	return nil
}
