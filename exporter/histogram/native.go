// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"math"
	"sync"
)

// factors[i] is 2^(2^-(i+1)), how wide a bucket of schema i+1 is, as the generator
// of client_golang's table of boundaries got it: the first is one unit in the
// last place below the nearest float. They are constants, as there, because
// math.Exp2 may round differently on another architecture.
var factors = [8]float64{
	1.414213562373095, 1.189207115002721, 1.0905077326652577, 1.0442737824274138,
	1.0218971486541166, 1.0108892860517005, 1.0054299011128027, 1.0027112750502025,
}

// fractions are the boundaries of schema 8 within [0.5, 1); the coarser schemas
// use every second, fourth, … of them. They are the very floats of client_golang
// (prometheus/histogram.go v1.25, nativeHistogramBounds), which is generated like
// this, level by level, and up to four units in the last place off the powers of
// two that it stands for. Prometheus has the same table.
var fractions = sync.OnceValue(func() []float64 {
	bounds := []float64{0.5}
	for _, factor := range factors {
		finer := make([]float64, 0, 2*len(bounds))
		for _, b := range bounds {
			finer = append(finer, b, b*factor)
		}
		bounds = finer
	}
	return bounds
})

// nativeBound returns the upper, inclusive boundary of the native bucket of that
// index: 2^(index × 2^-schema). Index 0 ends at 1. (OpenMetrics native
// histograms; client_golang prometheus/histogram.go, getLe.)
func nativeBound(schema, index int) float64 {
	if schema <= 0 {
		return math.Ldexp(1, index<<-schema)
	}
	perPower := 1 << schema
	fraction := fractions()[(index&(perPower-1))<<(8-schema)]
	return math.Ldexp(fraction, (index>>schema)+1)
}

// nativeRange returns the index of the last boundary that is not above lowest and
// that of the first that is not below highest.
func nativeRange(schema int, lowest, highest float64) (first, last int) {
	first = nativeIndex(schema, lowest)
	if nativeBound(schema, first) > lowest {
		first--
	}
	return first, nativeIndex(schema, highest)
}

// nativeIndex returns the bucket that counts v, which is positive: the first
// whose boundary is not below v.
func nativeIndex(schema int, v float64) int {
	index := int(math.Ceil(math.Ldexp(math.Log2(v), schema)))
	// The logarithm is rounded and may be off by one at a boundary.
	for nativeBound(schema, index) < v {
		index++
	}
	for nativeBound(schema, index-1) >= v {
		index--
	}
	return index
}
