// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"math"
	"slices"
)

// Median is the middle of the figures, and NaN without any.
func Median(figures []float64) float64 {
	if len(figures) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratio is the median over the rounds of ours ÷ theirs. Each round is a pair measured next to each other in time, so a
// machine that gets slower or faster moves both. Rounds in which one side has no figure are left out; without any that
// is left the ratio is NaN.
func Ratio(ours, theirs []float64) float64 {
	var ratios []float64
	for i, our := range ours[:min(len(ours), len(theirs))] {
		if ratio := our / theirs[i]; !math.IsNaN(ratio) && !math.IsInf(ratio, 0) {
			ratios = append(ratios, ratio)
		}
	}
	return Median(ratios)
}
