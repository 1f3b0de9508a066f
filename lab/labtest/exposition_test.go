// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"maps"
	"math"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

const sample = `# TYPE drops_total counter
drops_total{listener="a",reason="overflow"} 3
drops_total{listener="a",reason="syn_queue"} 4
drops_total{listener="b",reason="overflow"} 100
# TYPE wait_seconds histogram
wait_seconds_bucket{listener="a",le="0.1"} 1
wait_seconds_bucket{listener="a",le="+Inf"} 3
wait_seconds_sum{listener="a"} 1.5
wait_seconds_count{listener="a"} 3
wait_seconds_bucket{listener="b",le="0.1"} 10
wait_seconds_bucket{listener="b",le="+Inf"} 20
wait_seconds_sum{listener="b"} 8
wait_seconds_count{listener="b"} 20
`

func TestExposition(t *testing.T) {
	x, err := ParseText(t, []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("sums the series that have the labels asked for", func(t *testing.T) {
		if got := x.Value("drops_total", Labels{"listener": "a"}); got != 7 {
			t.Errorf("got %v, want 7", got)
		}
		if got := x.Value("drops_total", Labels{"listener": "a", "netns": ""}); got != 7 {
			t.Errorf("an empty label selected %v, want 7", got)
		}
		if got := x.Value("drops_total", nil); got != 107 {
			t.Errorf("got %v, want 107", got)
		}
		if got := x.Value("drops_total", Labels{"listener": "c"}); got != 0 {
			t.Errorf("got %v, want 0", got)
		}
	})
	t.Run("sums by a label", func(t *testing.T) {
		got := x.By("drops_total", "reason", nil)
		if want := map[string]float64{"overflow": 103, "syn_queue": 4}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("adds histograms bucket by bucket", func(t *testing.T) {
		if got := x.HistogramCount("wait_seconds", nil); got != 23 {
			t.Errorf("count %d, want 23", got)
		}
		if got := x.HistogramSum("wait_seconds", Labels{"listener": "a"}); got != 1.5 {
			t.Errorf("sum %v, want 1.5", got)
		}
		got := x.HistogramBuckets("wait_seconds", nil)
		if want := map[float64]uint64{0.1: 11, math.Inf(1): 23}; !maps.Equal(got, want) {
			t.Errorf("buckets %v, want %v", got, want)
		}
	})
}

func TestNativeCount(t *testing.T) {
	schema, zero, offset, two, three := int32(3), uint64(5), int32(0), uint32(2), uint32(3)
	h := &dto.Histogram{Schema: &schema, ZeroCount: &zero, PositiveDelta: []int64{4, -3}, // buckets 4 and 1
		PositiveSpan: []*dto.BucketSpan{{Offset: &offset, Length: &two}}}
	if got, err := NativeCount(h); got != 10 || err != nil {
		t.Errorf("counted %d (%v), want 5+4+1", got, err)
	}
	h.PositiveSpan[0].Length = &three
	if _, err := NativeCount(h); err == nil {
		t.Error("spans of three buckets with two deltas were not refused")
	}
	if _, err := NativeCount(&dto.Histogram{}); err == nil {
		t.Error("a classic histogram passed for a native one")
	}
}
