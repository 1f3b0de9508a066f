// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/histogram"
)

// A scrape of 1,000 histograms must take no longer than 10 ms (DESIGN, §8): from
// the map to the bytes of the answer.
func BenchmarkScrape_of_1000_histograms(b *testing.B) {
	layout, err := histogram.NewLayout(histogram.Spec{
		Classic: prometheus.ExponentialBuckets(0.001, 2, 12), Thresholds: []float64{0.2}, UnitsPerOne: 1e9,
		Native: true, NativeSchema: 3, NativeMin: 1.0 / (1 << 20), NativeMax: 1 << 12, MaxSlots: 320,
	})
	if err != nil {
		b.Fatal(err)
	}
	key := structure(member{"tgid", u32}, member{"executable", u32}, member{"status", u32}, member{"path", array(u8, 128)})
	value := structure(member{"sum", u64}, member{"slots", array(u64, 320)})
	m := newMap(b, ebpf.Hash, key, value, 4096)
	for i := range 1000 {
		var slots [321]uint64
		for range 200 { // requests between 1 and 20 ms
			n := 1e6 + rand.Uint64N(19e6)
			slots[0] += n
			slots[1+layout.Slot(n)]++
		}
		var path [128]byte
		copy(path[:], fmt.Sprintf("/api/v1/things/%d", i))
		put(b, m, raw(uint32(7), uint32(1), uint32(200), path), raw(slots))
	}
	w := newWorld()
	w.names[7] = "shop"
	table := newTable(b, Source{Map: m, Key: key, Value: value}, w, map[string]*histogram.Layout{"http_request_duration_seconds": layout},
		Definition{Name: "http_request_duration_seconds", Help: "Time.", Type: Histogram, Stored: "nanoseconds", Labels: []Label{
			process, {Name: "path", From: "key.path", Decode: "string"}, {Name: "status_code", From: "key.status", Decode: "http_status"},
		}})
	handler := promhttp.HandlerFor(prometheus.GathererFunc(table.Gather), promhttp.HandlerOpts{EnableOpenMetrics: true})
	for _, format := range []struct{ name, accept, encoding string }{
		{"text", "text/plain;version=0.0.4", ""},
		{"text with gzip", "text/plain;version=0.0.4", "gzip"},
		{"protobuf", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", ""},
	} {
		b.Run(format.name, func(b *testing.B) {
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				request.Header.Set("Accept", format.accept)
				request.Header.Set("Accept-Encoding", format.encoding)
				answer := &discard{header: http.Header{}}
				handler.ServeHTTP(answer, request)
				if answer.bytes < 10_000 {
					b.Fatalf("answered with %d bytes", answer.bytes)
				}
			}
			b.ReportMetric(float64(processorTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}

// processorTime is what this process has used of the processors, the garbage
// collector included. Unlike the time on the clock it is the same on a machine
// that does other things, too.
func processorTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// discard is an answer that counts the bytes and forgets them, as a socket does.
type discard struct {
	header http.Header
	bytes  int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { d.bytes += len(p); return len(p), nil }
