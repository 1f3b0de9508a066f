// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestHistogram_shows_classic_buckets_and_exemplars_in_OpenMetrics(t *testing.T) {
	l := newLayout(t, Spec{
		Classic: []float64{0.1, 1}, Thresholds: []float64{0.2},
		Native: true, NativeSchema: 3, NativeMin: 1e-6, NativeMax: 60, UnitsPerOne: 1e9,
	})
	slots := make([]uint64, l.Slots())
	slots[l.Slot(50e6)] = 2
	slots[l.Slot(200e6)] = 3
	slots[l.Slot(2e9)] = 1
	snapshot := l.Fold(Counts{}.Add(slots), 2_700_000_000)
	var h dto.Histogram
	snapshot.Write(&h)
	h.Bucket[1].Exemplar = &dto.Exemplar{
		Label: []*dto.LabelPair{{Name: proto.String("goroutine"), Value: proto.String("7")}},
		Value: proto.Float64(0.2), Timestamp: timestamppb.New(time.Unix(1, 0)),
	}
	family := &dto.MetricFamily{
		Name: proto.String("tcpslo_http_request_duration_seconds"), Help: proto.String("Duration."), Type: dto.MetricType_HISTOGRAM.Enum(),
		Metric: []*dto.Metric{{Label: []*dto.LabelPair{{Name: proto.String("service"), Value: proto.String("checkout")}}, Histogram: &h}},
	}
	var got strings.Builder
	if _, err := expfmt.MetricFamilyToOpenMetrics(&got, family); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`# HELP tcpslo_http_request_duration_seconds Duration.`,
		`# TYPE tcpslo_http_request_duration_seconds histogram`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="0.1"} 2`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="0.2"} 5 # {goroutine="7"} 0.2 1.0`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="1.0"} 5`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="+Inf"} 6`,
		`tcpslo_http_request_duration_seconds_sum{service="checkout"} 2.7`,
		`tcpslo_http_request_duration_seconds_count{service="checkout"} 6`,
		"",
	}, "\n")
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}

func TestHistogram_that_is_filled_in_again_shows_only_what_was_counted_last(t *testing.T) {
	for _, c := range unitCases {
		c.spec.Native, c.spec.NativeSchema = true, 3
		l := newLayout(t, c.spec)
		rng := rand.New(rand.NewPCG(3, 14))
		var kept dto.Histogram
		var snapshot Snapshot
		for range 50 { // spans come and go, and grow together
			slots := make([]uint64, l.Slots())
			for range rng.IntN(2 * len(slots)) {
				slots[rng.IntN(len(slots))] += rng.Uint64N(100)
			}
			sum := rng.Uint64N(1 << 50)
			l.FoldInto(&snapshot, Counts{}.Add(slots), sum)
			snapshot.Write(&kept)
			anew := l.Fold(Counts{}.Add(slots), sum)
			var fresh dto.Histogram
			anew.Write(&fresh)
			if !proto.Equal(&kept, &fresh) {
				t.Fatalf("%s: got\n%v\nwant\n%v", c.name, &kept, &fresh)
			}
		}
	}
}

func TestCounts_add_up_what_each_slot_has_counted(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 71))
	var counts Counts
	want := make([]uint64, 300)
	for range 20 {
		slots := make([]uint64, len(want))
		for range 30 {
			slot, n := rng.IntN(len(slots)), rng.Uint64N(1000)
			slots[slot] += n
			want[slot] += n
		}
		counts = counts.Add(slots)
		got := make([]uint64, len(want))
		for i, c := range counts {
			if got[c.Slot] = c.Count; i > 0 && c.Slot <= counts[i-1].Slot || c.Count == 0 {
				t.Fatalf("%v is out of order or empty", counts)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestHistogram_without_native_schema_has_no_native_fields(t *testing.T) {
	l := newLayout(t, Spec{Classic: []float64{1}, UnitsPerOne: 1})
	_, h := ours(l, []uint64{1, 2})
	if h.Schema != nil || h.ZeroThreshold != nil || h.ZeroCount != nil || h.PositiveSpan != nil || h.PositiveDelta != nil {
		t.Errorf("native fields are set: %v", h)
	}
}

func TestHistogram_that_counted_nothing_is_still_a_native_histogram(t *testing.T) {
	_, h := ours(newLayout(t, requestSpec()), nil)
	// A scraper takes a histogram for native if it has a span or a zero bucket
	// with a threshold or a count (Prometheus, model/textparse/protobufparse.go).
	if h.GetZeroThreshold() <= 0 || h.Schema == nil {
		t.Errorf("a scraper would take this for a classic histogram: %v", h)
	}
}

// BenchmarkFold_and_write_1000_histograms is what one scrape of a busy host
// costs; the design allows 10 ms for everything.
func BenchmarkFold_and_write_1000_histograms(b *testing.B) {
	for _, populated := range []int{5, 60, 270} {
		b.Run(fmt.Sprintf("%d slots populated", populated), func(b *testing.B) {
			l := newLayout(b, requestSpec())
			slots := make([]uint64, l.Slots())
			rng := rand.New(rand.NewPCG(6, 6))
			for _, slot := range rng.Perm(len(slots))[:populated] {
				slots[slot] = 1 + rng.Uint64N(1000)
			}
			var snapshot Snapshot
			out, counts := make([]dto.Histogram, 1000), make([]Counts, 1000)
			b.ReportAllocs()
			for b.Loop() {
				for i := range out {
					counts[i] = counts[i][:0].Add(slots)
					l.FoldInto(&snapshot, counts[i], 12345)
					snapshot.Write(&out[i])
				}
			}
		})
	}
}
