// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/probe"
)

// A scrape of 1,000 listening sockets must take no longer than 10 ms (DESIGN,
// §8): running the iterator that refreshes them, reading the maps, and writing
// the answer.
func BenchmarkScrape_of_1000_listeners(b *testing.B) {
	set := &probe.Set{Probes: []*probe.Probe{load(b, "listen", options(b))}}
	for range 1000 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
	}
	costs := prometheus.NewRegistry()
	costs.MustRegister(set)
	gatherer := prometheus.NewMultiTRegistry(prometheus.ToTransactionalGatherer(prometheus.GathererFunc(set.Gather)), prometheus.ToTransactionalGatherer(costs))
	handler := promhttp.HandlerForTransactional(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", "text/plain;version=0.0.4")
		answer := &discard{header: http.Header{}}
		handler.ServeHTTP(answer, request)
		if answer.bytes < 100_000 {
			b.Fatalf("answered with %d bytes", answer.bytes)
		}
	}
	b.ReportMetric(float64(processorTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
}

// processorTime is what this process has used of the processors, the garbage
// collector included. Unlike the time on the clock it is the same on a machine
// that does other things, too.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
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
