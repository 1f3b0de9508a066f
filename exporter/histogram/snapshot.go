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
// unit, into a snapshot. Slots that are missing count as empty; what is beyond
// the last slot of the layout counts in that.
func (l *Layout) Fold(counts Counts, sum uint64) Snapshot {
	var s Snapshot
	l.FoldInto(&s, counts, sum)
	return s
}

// FoldInto is Fold into a snapshot that is not needed any more, whose memory it
// uses again. It keeps no reference to counts.
func (l *Layout) FoldInto(s *Snapshot, counts Counts, sum uint64) {
	*s = Snapshot{
		Sum:     float64(sum) / l.unitsPerOne,
		Classic: append(s.Classic[:0], make([]uint64, len(l.classic))...),
		layout:  l,
		spans:   s.spans[:0],
		deltas:  s.deltas[:0],
	}
	native := nativeBuckets{snapshot: s}
	last := len(l.bounds)
	for _, counted := range counts {
		slot, count := min(counted.Slot, last), counted.Count
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
// native ones. In a histogram that a snapshot of the same layout has filled in
// before only the numbers change, and hardly any memory is taken. The boundaries
// in out are shared between all histograms of a layout, so they must not be
// changed.
func (s *Snapshot) Write(out *dto.Histogram) {
	if out.SampleCount == nil {
		s.prepare(out)
	}
	*out.SampleCount, *out.SampleSum = s.Count, s.Sum
	for i, count := range s.Classic {
		*out.Bucket[i].CumulativeCount = count
	}
	if s.layout == nil || !s.layout.native {
		return
	}
	*out.ZeroCount = s.zeroCount
	out.PositiveDelta = append(out.PositiveDelta[:0], s.deltas...)
	for len(out.PositiveSpan) < len(s.spans) {
		out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(int32), Length: new(uint32)})
	}
	// There can be fewer spans than before: a gap has filled up.
	out.PositiveSpan = out.PositiveSpan[:len(s.spans)]
	for i, span := range s.spans {
		*out.PositiveSpan[i].Offset, *out.PositiveSpan[i].Length = span.offset, span.length
	}
}

// prepare makes what numbers are written to.
func (s *Snapshot) prepare(out *dto.Histogram) {
	out.SampleCount, out.SampleSum = new(uint64), new(float64)
	if s.layout == nil {
		return
	}
	buckets, counts := make([]dto.Bucket, len(s.Classic)), make([]uint64, len(s.Classic))
	out.Bucket = make([]*dto.Bucket, len(s.Classic))
	for i := range buckets {
		buckets[i].CumulativeCount = &counts[i]
		buckets[i].UpperBound = &s.layout.classic[i]
		out.Bucket[i] = &buckets[i]
	}
	if s.layout.native {
		out.Schema = &s.layout.schema
		out.ZeroThreshold = &s.layout.zeroThreshold
		out.ZeroCount = new(uint64)
	}
}
