// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// quantile is the q-th quantile (0 to 1) of the values, with linear interpolation
// between the two nearest ranks; NaN without values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// comparison is one quantity without (off) and with (on) the exporter, round by
// round.
type comparison struct{ off, on []float64 }

// ratio is the median on ÷ the median off.
func (c comparison) ratio() float64 { return median(c.on) / median(c.off) }

// spread is the quartiles of the ratio on ÷ off of each round: what the machine's
// own unrest makes of a single round.
func (c comparison) spread() (low, high float64) {
	var ratios []float64
	for i := range c.on {
		ratios = append(ratios, c.on[i]/c.off[i])
	}
	return quantile(ratios, 0.25), quantile(ratios, 0.75)
}
