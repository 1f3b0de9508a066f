// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"github.com/tcpslo/tcpslo/bpf/bpftest"
	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// The tests here run real programs, by BPF_PROG_TEST_RUN, so that the number of
// events is known exactly.

const program = `
#include "tcpslo.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct counts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct counts);
} events SEC(".maps");

/* Counts the runs: the kernel breaks BPF_PROG_TEST_RUN off at a signal, and it is begun again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

/* One event; the exporter exchanges the map meanwhile. */
SEC("socket")
int count(void *ctx)
{
	__u32 first = 0, key = bpf_get_prandom_u32() % 64;
	void *map = bpf_map_lookup_elem(&events, &first);
	__u64 *run = bpf_map_lookup_elem(&runs, &first);

	if (run)
		__sync_fetch_and_add(run, 1);
	if (map)
		add_to(map, &key, 1);
	return 0;
}

struct key {
	__u32 side;
};

HISTOGRAM(depth, struct key, 16, 192);

SEC("raw_tp/test")
int observe(__u64 *ctx)
{
	struct key key = {.side = ctx[0]};

	OBSERVE(depth, &key, ctx[1]);
	return 0;
}
`

func loadProgram(t testing.TB, change func(*ebpf.CollectionSpec)) (*ebpf.CollectionSpec, *ebpf.Collection) {
	t.Helper()
	testenv.NeedRoot(t)
	object := bpftest.Compile(t, program)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	change(spec)
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(collection.Close)
	return spec, collection
}

func TestDrain_loses_no_event_that_a_program_counts_meanwhile(t *testing.T) {
	spec, collection := loadProgram(t, func(*ebpf.CollectionSpec) {})
	inner := spec.Maps["events"].InnerMap
	swap, err := NewSwap(collection.Maps["events"], inner)
	if err != nil {
		t.Fatal(err)
	}
	defer swap.Close()
	table := newTable(t, Source{Swap: swap, Key: inner.Key, Value: inner.Value}, newWorld(), nil,
		Definition{Name: "events_total", Type: Counter})
	counted := func() uint64 { return uint64(values(scrape(t, table)["tcpslo_events_total"])[""]) }

	const drains, repeat = 10, 50_000
	workers := max(2, runtime.NumCPU())
	var running sync.WaitGroup
	var done atomic.Bool
	for range workers {
		running.Go(func() {
			for ran := false; !ran || !done.Load(); ran = true {
				if _, err := collection.Programs["count"].Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: repeat}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var before uint64
	for range drains {
		if err := table.Drain(); err != nil {
			t.Error(err)
			break
		}
		now := counted()
		if now < before {
			t.Errorf("the counter went back from %d to %d", before, now)
		}
		before = now
	}
	if before == 0 {
		t.Errorf("the program did not run while the map was drained %d times", drains)
	}
	done.Store(true)
	running.Wait()
	var lost uint64
	if err := collection.Maps["lost"].Lookup(uint32(0), &lost); err != nil {
		t.Fatal(err)
	}
	var want uint64
	if err := collection.Maps["runs"].Lookup(uint32(0), &want); err != nil {
		t.Fatal(err)
	}
	if got := counted(); got != want || lost != 0 {
		t.Errorf("counted %d of %d events in %d drains, %d lost", got, want, drains, lost)
	}
	if err := table.Drain(); err != nil {
		t.Fatal(err)
	}
	if n, err := countEntries(swap.Active()); n != 0 || err != nil {
		t.Errorf("the map has %d entries (%v) after a drain", n, err)
	}
	if got := counted(); got != want {
		t.Errorf("counted %d events after the last drain, want %d", got, want)
	}
}

func TestDrain_refuses_a_map_that_programs_find_without_an_array_of_maps(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 10)
	err := newTable(t, Source{Map: m, Key: u32, Value: u64}, newWorld(), nil, Definition{Name: "n", Type: Gauge}).Drain()
	const want = `map "test" can't be drained: it is not in an array of maps`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// The ground truth is client_golang's own histogram, which observes the same.
func TestHistogram_that_the_kernel_fills_is_the_one_that_client_golang_would_have(t *testing.T) {
	layout, err := histogram.NewLayout(histogram.Spec{Classic: []float64{1, 2, 5, 10}, Native: true, NativeSchema: 3, NativeMin: 1, NativeMax: 1 << 15, UnitsPerOne: 1, MaxSlots: 192})
	if err != nil {
		t.Fatal(err)
	}
	spec, collection := loadProgram(t, func(spec *ebpf.CollectionSpec) {
		bounds := make([]uint64, 192)
		for i := range bounds {
			bounds[i] = math.MaxUint64
		}
		copy(bounds, layout.Bounds())
		if err := spec.Variables["depth_bounds"].Set(bounds); err != nil {
			t.Fatal(err)
		}
	})
	depth := spec.Maps["depth"]
	table := newTable(t, Source{Map: collection.Maps["depth"], Key: depth.Key, Value: depth.Value}, newWorld(), map[string]*histogram.Layout{"depth": layout},
		Definition{Name: "depth", Help: "Depth.", Type: Histogram, Labels: []Label{{Name: "side", From: "key.side", Decode: "static_map", Map: map[string]string{"1": "left", "2": "right"}}}})

	truth := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tcpslo_depth", Help: "Depth.", Buckets: []float64{1, 2, 5, 10},
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: layout.ZeroThreshold(),
	}, []string{"side"})
	observe := func(side uint64, name string, value uint64) {
		t.Helper()
		if _, err := collection.Programs["observe"].Run(&ebpf.RunOptions{Context: [2]uint64{side, value}}); err != nil {
			t.Fatal(err)
		}
		truth.WithLabelValues(name).Observe(float64(value))
	}
	for value := range uint64(40) { // every boundary, and beyond the last classic one
		observe(1, "left", value)
		observe(1, "left", value)
	}
	observe(2, "right", 5) // le is inclusive
	observe(2, "right", 20_000)

	ours, theirs := checked(table), prometheus.NewPedanticRegistry()
	theirs.MustRegister(truth)
	for _, format := range []string{"text/plain", "application/openmetrics-text;version=1.0.0"} {
		got, want := get(t, ours, format), get(t, theirs, format)
		if stripped := withoutCreated(want); got != stripped {
			t.Errorf("%s: got\n%s\nwant\n%s", format, got, stripped)
		}
		if !strings.Contains(got, `tcpslo_depth_bucket{side="right",le="5`) {
			t.Errorf("%s: no classic bucket in\n%s", format, got)
		}
	}
	const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	got, want := decode(t, get(t, ours, protobuf)), decode(t, get(t, theirs, protobuf))
	for i := range want.Metric {
		want.Metric[i].Histogram.CreatedTimestamp = nil
		if got.Metric[i].Histogram.GetSchema() != 3 || len(got.Metric[i].Histogram.Bucket) < 4 {
			t.Errorf("not both a native and a classic histogram: %v", got.Metric[i])
		}
	}
	if !proto.Equal(got, want) {
		t.Errorf("protobuf: got\n%v\nwant\n%v", got, want)
	}
}

func get(t *testing.T, gatherer prometheus.Gatherer, accept string) string {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("%s: answered %d: %s", accept, answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// withoutCreated leaves out when a histogram was made, which only that of
// client_golang knows.
func withoutCreated(exposition string) string {
	var kept strings.Builder
	for line := range strings.Lines(exposition) {
		if !strings.Contains(line, "_created") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func decode(t *testing.T, body string) *dto.MetricFamily {
	t.Helper()
	family := &dto.MetricFamily{}
	decoder := expfmt.NewDecoder(strings.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	if err := decoder.Decode(family); err != nil {
		t.Fatal(err)
	}
	if err := decoder.Decode(&dto.MetricFamily{}); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one family: %v", err)
	}
	return family
}
