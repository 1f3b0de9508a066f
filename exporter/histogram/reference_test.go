// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// unitCase is a kind of value that the kernel counts.
type unitCase struct {
	name string
	spec Spec
}

var unitCases = []unitCase{
	{"nanoseconds shown as seconds", Spec{
		Classic: prometheus.ExponentialBuckets(0.001, 2, 12), Thresholds: []float64{0.2, 0.25, 0.001},
		NativeMin: 1e-5, NativeMax: 60, UnitsPerOne: 1e9,
	}},
	{"microseconds shown as seconds", Spec{
		Classic: prometheus.DefBuckets, NativeMin: 1e-3, NativeMax: 10, UnitsPerOne: 1e6,
	}},
	{"bytes", Spec{
		Classic: prometheus.ExponentialBuckets(1, 4, 12), NativeMin: 0.5, NativeMax: 1 << 24, UnitsPerOne: 1,
	}},
	{"connections with boundaries between the integers", Spec{
		Classic: []float64{0.1, 0.5, 1, 1.5, 1.7, 2, 3.14, 100}, NativeMin: 0, NativeMax: 1000, UnitsPerOne: 1,
	}},
	{"thirds, which no float holds", Spec{
		Classic: []float64{1.0 / 3, 2.0 / 3, 1, 4.0 / 3}, NativeMin: 0.1, NativeMax: 1e4, UnitsPerOne: 3,
	}},
	{"no classic boundaries", Spec{NativeMin: 1e-6, NativeMax: 1, UnitsPerOne: 1e9}},
}

// values returns integers where mistakes would show: at and beside every bound,
// log-uniform ones, many equal ones, zero and the largest there are.
func values(l *Layout, rng *rand.Rand) []uint64 {
	out := []uint64{0, 0, 1, 2, 3, math.MaxUint64, math.MaxUint64 - 1, 1 << 53, 1<<53 + 1, 1 << 62}
	for _, b := range l.Bounds() {
		out = append(out, b, b+1)
		if b > 0 {
			out = append(out, b-1)
		}
	}
	for range 3000 {
		out = append(out, uint64(math.Exp2(rng.Float64()*63)))
	}
	for range 50 {
		repeated := uint64(math.Exp2(rng.Float64() * 40))
		for range rng.IntN(20) {
			out = append(out, repeated)
		}
	}
	return out
}

// referenceHistogram feeds client_golang's own histogram with what the metric
// would show for each value.
func referenceHistogram(t testing.TB, l *Layout, spec Spec, values []uint64) *dto.Histogram {
	t.Helper()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "reference", Help: "Reference.",
		Buckets: l.Classic(),
		// The schema is -⌊log2(log2 factor)⌋; a factor in the middle of the
		// range doesn't depend on how that rounds.
		NativeHistogramBucketFactor:  math.Exp2(1.2 * math.Exp2(-float64(spec.NativeSchema))),
		NativeHistogramZeroThreshold: l.ZeroThreshold(),
	})
	for _, n := range values {
		h.Observe(float64(n) / float64(spec.UnitsPerOne))
	}
	var out dto.Metric
	if err := h.Write(&out); err != nil {
		t.Fatal(err)
	}
	if got := out.Histogram.GetSchema(); int(got) != spec.NativeSchema {
		t.Fatalf("the reference has schema %d, want %d", got, spec.NativeSchema)
	}
	return out.Histogram
}

// ours counts the values into slots and folds those.
func ours(l *Layout, values []uint64) (Snapshot, *dto.Histogram) {
	slots := make([]uint64, l.Slots())
	var sum uint64
	for _, n := range values {
		slots[l.Slot(n)]++
		sum += n
	}
	snapshot := l.Fold(Counts{}.Add(slots), sum)
	var out dto.Histogram
	snapshot.Write(&out)
	return snapshot, &out
}

// expand turns spans and deltas into counts by bucket index. Buckets above last
// are added up in the one after it, as Spec.NativeMax says; empty buckets, which
// only fill gaps, are left out.
func expand(h *dto.Histogram, last int) map[int]int64 {
	out := map[int]int64{}
	var index, count int64
	delta := 0
	for _, span := range h.PositiveSpan {
		index += int64(span.GetOffset())
		for range span.GetLength() {
			count += h.PositiveDelta[delta]
			delta++
			if count != 0 {
				out[min(int(index), last+1)] += count
			}
			index++
		}
	}
	return out
}

func TestFolded_slots_equal_the_histogram_of_client_golang(t *testing.T) {
	for _, c := range unitCases {
		for schema := int(SchemaMin); schema <= int(SchemaMax); schema++ {
			t.Run(fmt.Sprintf("%s, schema %d", c.name, schema), func(t *testing.T) {
				spec := c.spec
				spec.Native, spec.NativeSchema = true, schema
				l, err := NewLayout(spec)
				if err != nil {
					t.Fatal(err)
				}
				all := values(l, rand.New(rand.NewPCG(1, uint64(schema+100))))
				want := referenceHistogram(t, l, spec, all)
				_, got := ours(l, all)

				if got.GetSampleCount() != want.GetSampleCount() {
					t.Errorf("count %d, want %d", got.GetSampleCount(), want.GetSampleCount())
				}
				if len(got.Bucket) != len(want.Bucket) {
					t.Fatalf("%d classic buckets, want %d", len(got.Bucket), len(want.Bucket))
				}
				for i, b := range got.Bucket {
					w := want.Bucket[i]
					if b.GetUpperBound() != w.GetUpperBound() || b.GetCumulativeCount() != w.GetCumulativeCount() {
						t.Errorf("le=%v: %d, want le=%v: %d", b.GetUpperBound(), b.GetCumulativeCount(), w.GetUpperBound(), w.GetCumulativeCount())
					}
				}
				if got.GetSchema() != want.GetSchema() || got.GetZeroThreshold() != want.GetZeroThreshold() {
					t.Errorf("schema %d threshold %v, want %d and %v", got.GetSchema(), got.GetZeroThreshold(), want.GetSchema(), want.GetZeroThreshold())
				}
				if got.GetZeroCount() != want.GetZeroCount() {
					t.Errorf("zero bucket has %d, want %d", got.GetZeroCount(), want.GetZeroCount())
				}
				last := lastIndex(l)
				if g, w := expand(got, last), expand(want, last); !maps.Equal(g, w) {
					t.Errorf("native buckets differ: %v", difference(g, w))
				}
			})
		}
	}
}

// lastIndex is the native bucket before the one for all larger values.
func lastIndex(l *Layout) int { return int(l.slotNative[len(l.slotNative)-1]) - 1 }

func TestSpans_are_laid_out_as_client_golang_does(t *testing.T) {
	spec := Spec{Native: true, NativeSchema: 3, NativeMin: 1e-6, NativeMax: 1000, UnitsPerOne: 1e9}
	l, err := NewLayout(spec)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for _, how := range []int{0, 1, 2, 5, 30, 300} {
		var all []uint64
		for range how {
			all = append(all, uint64(1e3*math.Pow(1e9, rng.Float64())))
		}
		want := referenceHistogram(t, l, spec, all)
		_, got := ours(l, all)
		if fmt.Sprint(got.PositiveSpan) != fmt.Sprint(want.PositiveSpan) || fmt.Sprint(got.PositiveDelta) != fmt.Sprint(want.PositiveDelta) {
			t.Errorf("%d values: spans %v deltas %v\nwant spans %v deltas %v", how, got.PositiveSpan, got.PositiveDelta, want.PositiveSpan, want.PositiveDelta)
		}
	}
}

func TestNative_boundaries_are_the_floats_of_client_golang(t *testing.T) {
	// A value at a boundary and the next larger one fall in neighbouring buckets
	// of the reference, if and only if the boundary is that very float.
	for schema := 1; schema <= int(SchemaMax); schema++ {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "reference", Help: "Reference.",
			NativeHistogramBucketFactor:  math.Exp2(1.2 * math.Exp2(-float64(schema))),
			NativeHistogramZeroThreshold: 1e-300,
		})
		want := map[int]int64{}
		for index := -3 << schema; index <= 3<<schema; index++ {
			b := nativeBound(schema, index)
			h.Observe(b)
			h.Observe(math.Nextafter(b, math.Inf(1)))
			want[index]++
			want[index+1]++
		}
		var out dto.Metric
		if err := h.Write(&out); err != nil {
			t.Fatal(err)
		}
		if got := expand(out.Histogram, math.MaxInt32); !maps.Equal(got, want) {
			t.Errorf("schema %d: %s", schema, difference(got, want))
		}
	}
}

// difference names the first bucket that differs.
func difference(got, want map[int]int64) string {
	for index := range want {
		if got[index] != want[index] {
			return fmt.Sprintf("bucket %d has %d, want %d", index, got[index], want[index])
		}
	}
	return fmt.Sprintf("got %d buckets, want %d", len(got), len(want))
}
