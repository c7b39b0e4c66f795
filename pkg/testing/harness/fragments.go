// SPDX-License-Identifier: Apache-2.0

package harness

// Fragments finds parts of values in a text: "not even eight characters of it".
type Fragments struct {
	length  int
	windows map[string]string
	// pairs has the first two bytes of every window: most of a database is empty pages, and these are skipped fast.
	pairs [1 << 16]bool
}

// NewFragments returns a search for length bytes in a row of any value.
func NewFragments(length int, values ...string) *Fragments {
	f := &Fragments{length: length, windows: map[string]string{}}
	for _, value := range values {
		f.Add(value)
	}
	return f
}

// Add makes a value one of those that are searched for.
func (f *Fragments) Add(value string) {
	for start := 0; start+f.length <= len(value); start++ {
		window := value[start : start+f.length]
		f.windows[window] = value
		f.pairs[int(window[0])<<8|int(window[1])] = true
	}
}

// Find returns each value of which data holds a part, in one pass however many values there are.
func (f *Fragments) Find(data []byte) []string {
	var found []string
	seen := map[string]bool{}
	f.each(data, func(at int) {
		if value := f.windows[string(data[at:at+f.length])]; !seen[value] {
			seen[value] = true
			found = append(found, value)
		}
	})
	return found
}

// each calls back for every place where a window starts.
func (f *Fragments) each(data []byte, hit func(at int)) {
	for at := 0; at+f.length <= len(data); at++ {
		if !f.pairs[int(data[at])<<8|int(data[at+1])] {
			continue
		}
		if _, ok := f.windows[string(data[at:at+f.length])]; ok {
			hit(at)
		}
	}
}
