// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// requestSpec is what the exporter uses for request durations.
func requestSpec() Spec {
	return Spec{
		Classic:    prometheus.ExponentialBuckets(0.001, 2, 12),
		Thresholds: []float64{0.2},
		Native:     true, NativeSchema: 3, NativeMin: 1e-6, NativeMax: 3600,
		UnitsPerOne: 1e9, MaxSlots: 512,
	}
}

func newLayout(t testing.TB, spec Spec) *Layout {
	t.Helper()
	l, err := NewLayout(spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBounds_are_unique_and_increase(t *testing.T) {
	for _, c := range unitCases {
		for schema := int(SchemaMin); schema <= int(SchemaMax); schema++ {
			spec := c.spec
			spec.Native, spec.NativeSchema = true, schema
			bounds := newLayout(t, spec).Bounds()
			for i := 1; i < len(bounds); i++ {
				if bounds[i] <= bounds[i-1] {
					t.Fatalf("%s, schema %d: bound %d is %d after %d", c.name, schema, i, bounds[i], bounds[i-1])
				}
			}
		}
	}
}

func TestSlot_is_the_first_whose_bound_is_not_below_the_value(t *testing.T) {
	l := newLayout(t, requestSpec())
	bounds := l.Bounds()
	for _, n := range values(l, rand.New(rand.NewPCG(2, 2))) {
		want := slices.IndexFunc(bounds, func(b uint64) bool { return n <= b })
		if want < 0 {
			want = len(bounds)
		}
		if got := l.Slot(n); got != want {
			t.Fatalf("value %d is in slot %d, want %d", n, got, want)
		}
	}
}

func TestBound_is_the_largest_integer_that_is_not_above_the_boundary(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, units := range []uint64{1, 3, 1000, 1e6, 1e9} {
		l := &Layout{unitsPerOne: float64(units)}
		shown := func(n uint64) float64 { return float64(n) / float64(units) }
		boundaries := []float64{0, 0.001, 0.2, 0.25, 1, 1.0 / 3, 4.2e9, 1e10, 1e300}
		for range 1000 {
			boundaries = append(boundaries, math.Exp2(rng.Float64()*40-20), shown(rng.Uint64N(1e12)))
		}
		for _, b := range boundaries {
			n := l.bound(b)
			if shown(n) > b {
				t.Fatalf("%d units: %d shows as %v, above %v", units, n, shown(n), b)
			}
			if n != math.MaxUint64 && shown(n+1) <= b {
				t.Fatalf("%d units: %d is the bound of %v but %d fits too", units, n, b, n+1)
			}
		}
	}
}

func TestThreshold_of_an_SLO_is_a_true_count(t *testing.T) {
	l := newLayout(t, requestSpec())
	if !slices.Contains(l.Classic(), 0.2) {
		t.Fatalf("0.2 is no classic boundary: %v", l.Classic())
	}
	rng := rand.New(rand.NewPCG(4, 4))
	all := []uint64{199_999_999, 200_000_000, 200_000_000, 200_000_001}
	for range 10_000 {
		all = append(all, 100e6+rng.Uint64N(200e6))
	}
	var want uint64
	for _, n := range all {
		if n <= 200_000_000 {
			want++
		}
	}
	s, _ := ours(l, all)
	if got, exact := s.CumulativeAt(0.2); !exact || got != want {
		t.Errorf("%d values within 200 ms (exact: %v), want %d", got, exact, want)
	}
	for _, elsewhere := range []float64{0.21, 0.19, -1, math.NaN(), math.Inf(1)} {
		if got, exact := s.CumulativeAt(elsewhere); exact {
			t.Errorf("%v is no boundary, yet %d is called exact", elsewhere, got)
		}
	}
	if _, exact := (Snapshot{}).CumulativeAt(0.2); exact {
		t.Error("the empty snapshot calls something exact")
	}
}

func TestSum_is_within_one_rounding_of_the_true_sum(t *testing.T) {
	l := newLayout(t, requestSpec())
	rng := rand.New(rand.NewPCG(5, 5))
	var all []uint64
	exact := new(big.Rat)
	for range 10_000 {
		n := rng.Uint64N(10e9)
		all = append(all, n)
		exact.Add(exact, new(big.Rat).SetFrac64(int64(n), 1e9))
	}
	s, _ := ours(l, all)
	want, _ := exact.Float64()
	if math.Abs(s.Sum-want) > math.Nextafter(want, math.Inf(1))-want {
		t.Errorf("sum %v, want %v", s.Sum, want)
	}
	if s.Count != 10_000 {
		t.Errorf("count %d, want 10000", s.Count)
	}
}

func TestValues_above_the_native_range_keep_their_exact_count(t *testing.T) {
	spec := Spec{Classic: []float64{100}, Native: true, NativeSchema: 0, NativeMin: 1, NativeMax: 8, UnitsPerOne: 1}
	l := newLayout(t, spec)
	s, h := ours(l, []uint64{8, 9, 16, 17, 99, 100, 101, math.MaxUint64})
	// Native bucket 3 ends at 8; all that is larger is in bucket 4.
	got := expand(h, math.MaxInt32-1)
	if got[3] != 1 || got[4] != 7 || len(got) != 2 {
		t.Errorf("native buckets %v, want 1 in bucket 3 and 7 in bucket 4", got)
	}
	if n, _ := s.CumulativeAt(100); n != 6 || s.Count != 8 {
		t.Errorf("%d of %d are up to 100, want 6 of 8", n, s.Count)
	}
}

func TestFold_counts_what_is_beyond_the_last_slot_in_the_last(t *testing.T) {
	l := newLayout(t, Spec{Classic: []float64{1, 2}, UnitsPerOne: 1})
	s := l.Fold(Counts{}.Add([]uint64{1, 2, 4, 8, 16}), 0)
	if s.Count != 31 || !slices.Equal(s.Classic, []uint64{1, 3}) {
		t.Errorf("count %d classic %v, want 31 and [1 3]", s.Count, s.Classic)
	}
	s = l.Fold(Counts{}.Add([]uint64{1}), 1)
	if s.Count != 1 || !slices.Equal(s.Classic, []uint64{1, 1}) {
		t.Errorf("count %d classic %v, want 1 and [1 1]", s.Count, s.Classic)
	}
}

func TestFold_keeps_nothing_of_the_slots(t *testing.T) {
	l := newLayout(t, requestSpec())
	slots := make([]uint64, l.Slots())
	slots[l.Slot(5_000_000)] = 3
	s := l.Fold(Counts{}.Add(slots), 15_000_000)
	clear(slots)
	if n, _ := s.CumulativeAt(0.2); n != 3 {
		t.Errorf("%d after the slots were reused, want 3", n)
	}
}

func TestNewLayout_refuses_what_cannot_be(t *testing.T) {
	tooMany := requestSpec()
	tooMany.NativeSchema = 5
	onlyClassic := requestSpec()
	onlyClassic.MaxSlots = 16
	nothingFits := requestSpec()
	nothingFits.MaxSlots = 5
	for _, c := range []struct {
		name string
		spec Spec
		want string
	}{
		{"a finer schema than the kernel has room for", tooMany, "histogram needs 1032 slots but there are 512: lower native_schema from 5 to 3"},
		{"no native schema fits beside the classic boundaries", onlyClassic, "histogram needs 270 slots but there are 16: set native_schema to none"},
		{"nothing fits", nothingFits, "histogram needs 270 slots but there are 5: use fewer classic boundaries"},
		{"a negative boundary", Spec{Classic: []float64{-1}, UnitsPerOne: 1}, "boundary -1 is not a finite number of 0 or more"},
		{"an infinite threshold", Spec{Thresholds: []float64{math.Inf(1)}, UnitsPerOne: 1}, "boundary +Inf is not a finite number of 0 or more"},
		{"no unit", Spec{}, "units per one must be at least 1"},
		{"a schema that Prometheus doesn't have", Spec{Native: true, NativeSchema: 9, NativeMax: 1, UnitsPerOne: 1}, "native_schema must be between -4 and 8, got 9"},
		{"an empty native range", Spec{Native: true, NativeMin: 2, NativeMax: 2, UnitsPerOne: 1}, "native range 2 to 2 is empty or not finite"},
		{"a native range near the smallest float", Spec{Native: true, NativeMin: 1e-310, NativeMax: 2, UnitsPerOne: 1}, "native range starts too close to 0: 1e-310"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewLayout(c.spec)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestRemedy_of_too_many_slots_works(t *testing.T) {
	spec := requestSpec()
	spec.NativeSchema, spec.MaxSlots = 8, 100
	if _, err := NewLayout(spec); err == nil || err.Error() != "histogram needs 8143 slots but there are 100: lower native_schema from 8 to 1" {
		t.Fatal(err)
	}
	spec.NativeSchema = 2
	if _, err := NewLayout(spec); err == nil {
		t.Error("schema 2 fits too, so 1 was no good advice")
	}
	spec.NativeSchema = 1
	if _, err := NewLayout(spec); err != nil {
		t.Errorf("the advice did not help: %v", err)
	}
	spec.Classic = prometheus.LinearBuckets(0.01, 0.01, 98)
	want := "histogram needs 162 slots but there are 100: set native_schema to none"
	if _, err := NewLayout(spec); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestZeroThreshold_is_the_largest_native_boundary_up_to_the_minimum(t *testing.T) {
	for _, c := range []struct {
		schema int
		min    float64
		want   float64
	}{
		{3, 1, 1},
		{3, 0.5, 0.5},
		{0, 0.75, 0.5},
		{-1, 0.75, 0.25},
		{0, 0, 0.5}, // Half a unit.
		{8, 2, 2},
	} {
		l := newLayout(t, Spec{Native: true, NativeSchema: c.schema, NativeMin: c.min, NativeMax: 100, UnitsPerOne: 1})
		if got := l.ZeroThreshold(); got != c.want {
			t.Errorf("schema %d from %v: %v, want %v", c.schema, c.min, got, c.want)
		}
	}
	if got := newLayout(t, Spec{Classic: []float64{1}, UnitsPerOne: 1}).ZeroThreshold(); got != 0 {
		t.Errorf("without a native histogram: %v, want 0", got)
	}
}
