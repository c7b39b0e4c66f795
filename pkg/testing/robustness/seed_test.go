// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"math/rand/v2"
	"testing"
)

// A seed that a run printed repeats what every client does, and another one does something else.
func TestSeedRepeatsChoices(t *testing.T) {
	draw := func(seed uint64) (all [500]choice) {
		random := rand.New(rand.NewPCG(seed, 3))
		for n := range all {
			all[n] = choose(random, 3, n)
		}
		return all
	}
	if one, again := draw(7), draw(7); one != again {
		t.Error("one seed gave two sequences")
	}
	if draw(7) == draw(8) {
		t.Error("two seeds gave one sequence")
	}
	values, kinds := map[string]bool{}, map[Kind]int{}
	for _, c := range draw(7) {
		values[c.value] = true
		kinds[c.kind]++
	}
	if len(values) != 500 || len(kinds) != len(weights) || kinds[""] > 0 {
		t.Errorf("%d values, %v", len(values), kinds)
	}
}
