// SPDX-License-Identifier: Apache-2.0

package histogram

import dto "github.com/prometheus/client_model/go"

// Snapshot is what a histogram has counted up to now, in the unit of the metric.
type Snapshot struct {
	Count uint64
	Sum   float64
	// Classic holds, for each boundary of Layout.Classic, how many values are
	// not above it.
	Classic []uint64

	layout    *Layout
	zeroCount uint64
	spans     []span
	deltas    []int64
}

// span is a run of native buckets without a gap of more than two: how far it is
// from the end of the one before, and how many buckets it has.
type span struct {
	offset int32
	length uint32
}

// Fold turns the counts of the slots, and the sum of all values in the kernel's
// unit, into a snapshot. It keeps no reference to slots. Slots that are missing
// count as empty; what is beyond the last slot of the layout counts in that.
func (l *Layout) Fold(slots []uint64, sum uint64) Snapshot {
	s := Snapshot{
		Sum:     float64(sum) / l.unitsPerOne,
		Classic: make([]uint64, len(l.classic)),
		layout:  l,
	}
	populated := 0
	for _, count := range slots {
		if count != 0 {
			populated++
		}
	}
	native := nativeBuckets{snapshot: &s}
	if l.native {
		// Rather too large than grown: filled gaps add to the deltas, and seldom
		// is every third bucket the start of a span.
		s.deltas = make([]int64, 0, min(2*populated, len(slots)))
		s.spans = make([]span, 0, 1+populated/3)
	}
	last := len(l.bounds)
	for slot, count := range slots {
		if count == 0 {
			continue
		}
		slot = min(slot, last)
		s.Count += count
		if i := int(l.slotClassic[slot]); i < len(s.Classic) {
			s.Classic[i] += count
		}
		if l.native {
			native.add(l.slotNative[slot], count)
		}
	}
	native.end()
	var below uint64
	for i, count := range s.Classic {
		below += count
		s.Classic[i] = below
	}
	return s
}

// nativeBuckets builds spans and deltas from counts that come in the order of
// their bucket.
type nativeBuckets struct {
	snapshot *Snapshot
	index    int32 // of the bucket that count is for
	count    uint64
	previous int64 // count of the bucket before
	next     int32 // index that would follow the last bucket without a gap
}

func (b *nativeBuckets) add(index int32, count uint64) {
	if index == zeroBucket {
		b.snapshot.zeroCount += count
		return
	}
	if index != b.index {
		b.end()
		b.index = index
	}
	b.count += count
}

// end writes the bucket that is under way. As client_golang does, a gap of one or
// two buckets is filled with empty ones, which is shorter than a new span.
func (b *nativeBuckets) end() {
	if b.count == 0 {
		return
	}
	s := b.snapshot
	gap := b.index - b.next
	if len(s.spans) == 0 || gap > 2 {
		s.spans = append(s.spans, span{offset: gap})
	} else {
		for range gap {
			b.write(0)
		}
	}
	b.write(int64(b.count))
	b.next = b.index + 1
	b.count = 0
}

func (b *nativeBuckets) write(count int64) {
	s := b.snapshot
	s.spans[len(s.spans)-1].length++
	s.deltas = append(s.deltas, count-b.previous)
	b.previous = count
}

// CumulativeAt returns how many values are not above threshold, in the unit of
// the metric. It is false if threshold is no classic boundary: then only an
// estimate could be given.
func (s Snapshot) CumulativeAt(threshold float64) (uint64, bool) {
	if s.layout == nil {
		return 0, false
	}
	i, found := s.layout.classicIndex(threshold)
	if !found {
		return 0, false
	}
	return s.Classic[i], true
}

// Write fills in a histogram with classic buckets and, if the layout has them,
// native ones. The boundaries in out are shared between all snapshots of a
// layout, so they must not be changed.
func (s Snapshot) Write(out *dto.Histogram) {
	out.SampleCount = &s.Count
	out.SampleSum = &s.Sum
	if s.layout == nil {
		return
	}
	buckets := make([]dto.Bucket, len(s.Classic))
	out.Bucket = make([]*dto.Bucket, len(s.Classic))
	for i := range s.Classic {
		buckets[i].CumulativeCount = &s.Classic[i]
		buckets[i].UpperBound = &s.layout.classic[i]
		out.Bucket[i] = &buckets[i]
	}
	if !s.layout.native {
		return
	}
	out.Schema = &s.layout.schema
	out.ZeroThreshold = &s.layout.zeroThreshold
	out.ZeroCount = &s.zeroCount
	out.PositiveDelta = s.deltas
	spans := make([]dto.BucketSpan, len(s.spans))
	out.PositiveSpan = make([]*dto.BucketSpan, len(s.spans))
	for i := range s.spans {
		spans[i].Offset = &s.spans[i].offset
		spans[i].Length = &s.spans[i].length
		out.PositiveSpan[i] = &spans[i]
	}
}
