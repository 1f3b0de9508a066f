// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// fixed collects one metric.
type fixed struct{ prometheus.Metric }

func (f fixed) Describe(ch chan<- *prometheus.Desc) { ch <- f.Desc() }
func (f fixed) Collect(ch chan<- prometheus.Metric) { ch <- f.Metric }

func TestMetric_shows_classic_buckets_and_exemplars_in_OpenMetrics(t *testing.T) {
	desc := prometheus.NewDesc("tcpslo_http_request_duration_seconds", "Duration.", []string{"service"}, nil)
	l := newLayout(t, Spec{
		Classic: []float64{0.1, 1}, Thresholds: []float64{0.2},
		Native: true, NativeSchema: 3, NativeMin: 1e-6, NativeMax: 60, UnitsPerOne: 1e9,
	})
	slots := make([]uint64, l.Slots())
	slots[l.Slot(50e6)] = 2
	slots[l.Slot(200e6)] = 3
	slots[l.Slot(2e9)] = 1
	var m prometheus.Metric = NewMetric(desc, prometheus.MakeLabelPairs(desc, []string{"checkout"}), l.Fold(slots, 2_700_000_000))
	m, err := prometheus.NewMetricWithExemplars(m, prometheus.Exemplar{
		Value: 0.2, Labels: prometheus.Labels{"goroutine": "7"}, Timestamp: time.Unix(1, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(fixed{m})
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	response := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(response, request)
	want := strings.Join([]string{
		`# HELP tcpslo_http_request_duration_seconds Duration.`,
		`# TYPE tcpslo_http_request_duration_seconds histogram`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="0.1"} 2`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="0.2"} 5 # {goroutine="7"} 0.2 1.0`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="1.0"} 5`,
		`tcpslo_http_request_duration_seconds_bucket{service="checkout",le="+Inf"} 6`,
		`tcpslo_http_request_duration_seconds_sum{service="checkout"} 2.7`,
		`tcpslo_http_request_duration_seconds_count{service="checkout"} 6`,
		"# EOF\n",
	}, "\n")
	if got := response.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMetric_without_native_schema_has_no_native_fields(t *testing.T) {
	l := newLayout(t, Spec{Classic: []float64{1}, UnitsPerOne: 1})
	_, h := ours(l, []uint64{1, 2})
	if h.Schema != nil || h.ZeroThreshold != nil || h.ZeroCount != nil || h.PositiveSpan != nil || h.PositiveDelta != nil {
		t.Errorf("native fields are set: %v", h)
	}
}

func TestMetric_that_counted_nothing_is_still_a_native_histogram(t *testing.T) {
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
			b.ReportAllocs()
			for b.Loop() {
				for range 1000 {
					var out dto.Histogram
					l.Fold(slots, 12345).Write(&out)
				}
			}
		})
	}
}
