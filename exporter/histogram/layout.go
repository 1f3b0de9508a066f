// SPDX-License-Identifier: Apache-2.0

// Package histogram is the one bucket layout that kernel and user space share.
// The kernel counts integers (nanoseconds, bytes, connections) into slots; user
// space folds the slots into a classic and a native Prometheus histogram. Every
// boundary of either one is also a boundary of the slots, so nothing is
// interpolated: each bucket holds what client_golang would have put there.
package histogram

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// Spec is what a layout is made from. All boundaries are in the unit of the
// metric, not below zero, finite.
type Spec struct {
	// Classic are the upper, inclusive boundaries of the classic histogram.
	Classic []float64
	// Thresholds are the latencies of SLOs. They become classic boundaries too,
	// so that le="0.2" is a true count.
	Thresholds []float64
	// Native adds a native histogram of NativeSchema, -4 to 8.
	Native       bool
	NativeSchema int
	// NativeMin and NativeMax are what the native histogram tells apart at
	// least. The largest native boundary that is not above NativeMin is the zero
	// threshold: what is not above it counts as zero. What is above the smallest
	// native boundary that reaches NativeMax counts in the next bucket, however
	// large it is: the counts stay exact, only a quantile up there is capped.
	// NativeMin 0 means half a unit, so that 0 alone is zero.
	NativeMin, NativeMax float64
	// UnitsPerOne is how many of the kernel's integers make 1 in the metric: 1e9
	// for nanoseconds shown as seconds, 1 for bytes and counts.
	UnitsPerOne uint64
	// MaxSlots is how many slots the kernel has room for, 0 for no limit.
	MaxSlots int
}

// Layout maps integers to slots and slots to buckets. It never changes once it is
// made, so goroutines may share it.
type Layout struct {
	bounds        []uint64 // upper, inclusive, increasing
	unitsPerOne   float64
	classic       []float64 // shown as le, increasing
	classicBounds []uint64  // the integer bound of each of classic, not decreasing
	slotClassic   []int32   // slot → index in classic, len(classic) for +Inf
	native        bool
	schema        int32
	zeroThreshold float64
	slotNative    []int32 // slot → native bucket index, zeroBucket for the zero bucket
}

// zeroBucket marks, in slotNative, the slots that count as zero. Real indexes
// stay within ±2^18 (schema 8, every exponent of a float64).
const zeroBucket = math.MinInt32

// NewLayout makes a layout, or says why the spec is no good. When there are too
// many slots, the error says how many fit and what to change.
func NewLayout(spec Spec) (*Layout, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	l := build(spec)
	if spec.MaxSlots > 0 && l.Slots() > spec.MaxSlots {
		return nil, fmt.Errorf("histogram needs %d slots but there are %d: %s", l.Slots(), spec.MaxSlots, remedy(spec))
	}
	return l, nil
}

func (s Spec) check() error {
	for _, list := range [][]float64{s.Classic, s.Thresholds} {
		for _, b := range list {
			if !(b >= 0) || math.IsInf(b, 1) {
				return fmt.Errorf("boundary %v is not a finite number of 0 or more", b)
			}
		}
	}
	switch {
	case s.UnitsPerOne == 0:
		return errors.New("units per one must be at least 1")
	case !s.Native:
		return nil
	case s.NativeSchema < int(SchemaMin) || s.NativeSchema > int(SchemaMax):
		return fmt.Errorf("native_schema must be between %d and %d, got %d", SchemaMin, SchemaMax, s.NativeSchema)
	case !(s.NativeMin >= 0 && s.NativeMin < s.NativeMax) || s.NativeMax > 1e300:
		return fmt.Errorf("native range %v to %v is empty or not finite", s.NativeMin, s.NativeMax)
	case s.NativeMin > 0 && s.NativeMin < 1e-300:
		return fmt.Errorf("native range starts too close to 0: %v", s.NativeMin)
	}
	return nil
}

// remedy names the finest native schema that fits.
func remedy(s Spec) string {
	if s.Native {
		for schema := s.NativeSchema - 1; schema >= int(SchemaMin); schema-- {
			coarser := s
			coarser.NativeSchema = schema
			if build(coarser).Slots() <= s.MaxSlots {
				return fmt.Sprintf("lower native_schema from %d to %d", s.NativeSchema, schema)
			}
		}
	}
	s.Native = false
	if build(s).Slots() <= s.MaxSlots {
		return "set native_schema to none"
	}
	return "use fewer classic boundaries"
}

func build(spec Spec) *Layout {
	l := &Layout{
		unitsPerOne: float64(spec.UnitsPerOne),
		classic:     slices.Concat(spec.Classic, spec.Thresholds),
		native:      spec.Native,
		schema:      int32(spec.NativeSchema),
	}
	slices.Sort(l.classic)
	l.classic = slices.Compact(l.classic)
	for _, b := range l.classic {
		l.classicBounds = append(l.classicBounds, l.bound(b))
	}
	l.bounds = slices.Clone(l.classicBounds)

	// nativeBounds[i] is the integer bound of native bucket firstIndex+i; the
	// first is the zero threshold.
	var nativeBounds []uint64
	var firstIndex int
	if spec.Native {
		lowest := spec.NativeMin
		if lowest == 0 {
			lowest = 0.5 / l.unitsPerOne
		}
		var lastIndex int
		firstIndex, lastIndex = nativeRange(spec.NativeSchema, lowest, spec.NativeMax)
		l.zeroThreshold = nativeBound(spec.NativeSchema, firstIndex)
		for i := firstIndex; i <= lastIndex; i++ {
			nativeBounds = append(nativeBounds, l.bound(nativeBound(spec.NativeSchema, i)))
		}
		l.bounds = append(l.bounds, nativeBounds...)
	}
	slices.Sort(l.bounds)
	l.bounds = slices.Compact(l.bounds)

	// All integers of a slot are in the same bucket, as every bucket ends where a
	// slot ends; so the bucket of the largest is the bucket of the slot.
	for slot := range l.Slots() {
		inClassic, inNative := len(l.classic), len(nativeBounds)
		if slot < len(l.bounds) {
			inClassic, _ = slices.BinarySearch(l.classicBounds, l.bounds[slot])
			inNative, _ = slices.BinarySearch(nativeBounds, l.bounds[slot])
		}
		l.slotClassic = append(l.slotClassic, int32(inClassic))
		index := int32(firstIndex + inNative)
		if inNative == 0 {
			index = zeroBucket
		}
		l.slotNative = append(l.slotNative, index)
	}
	return l
}

// bound returns the largest integer n that the metric shows as not above b, as
// client_golang decides it: float64(n)/unitsPerOne <= b. Both the conversion and
// the division round, so no formula is exact; but neither ever turns a larger n
// into a smaller float, so a binary search is.
func (l *Layout) bound(b float64) uint64 {
	return largest(func(n uint64) bool { return float64(n)/l.unitsPerOne <= b })
}

// largest returns the largest n for which ok holds; ok holds for 0 and, from some
// n on, no more.
func largest(ok func(uint64) bool) uint64 {
	var n uint64
	for bit := uint64(1) << 63; bit > 0; bit >>= 1 {
		if ok(n | bit) {
			n |= bit
		}
	}
	return n
}

// Bounds returns the upper, inclusive bounds of the slots but the last, in the
// kernel's unit, increasing. Slot i counts what is above bound i-1 and not above
// bound i; the last slot counts what is above all bounds.
func (l *Layout) Bounds() []uint64 { return slices.Clone(l.bounds) }

// Slots returns the number of slots, one more than there are bounds.
func (l *Layout) Slots() int { return len(l.bounds) + 1 }

// Slot returns the slot that counts n. The BPF header does the same: the first
// bound that is not below n, by halving.
func (l *Layout) Slot(n uint64) int {
	low, high := 0, len(l.bounds)
	for low < high {
		middle := (low + high) / 2
		if l.bounds[middle] < n {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// Classic returns the boundaries of the classic histogram, thresholds included,
// in the unit of the metric, increasing, without +Inf.
func (l *Layout) Classic() []float64 { return slices.Clone(l.classic) }

// ZeroThreshold returns the largest value that the native histogram counts as
// zero; 0 if there is no native histogram.
func (l *Layout) ZeroThreshold() float64 { return l.zeroThreshold }

// classicIndex returns which classic boundary a threshold is. Two floats that no
// integer tells apart are the same boundary.
func (l *Layout) classicIndex(threshold float64) (int, bool) {
	if !(threshold >= 0) || len(l.classic) == 0 {
		return 0, false
	}
	bound := l.bound(threshold)
	i := sort.Search(len(l.classicBounds), func(i int) bool { return l.classicBounds[i] >= bound })
	return i, i < len(l.classicBounds) && l.classicBounds[i] == bound
}
