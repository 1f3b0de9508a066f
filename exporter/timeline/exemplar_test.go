// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

func aHistogram(path string, native bool, bounds ...float64) *dto.Metric {
	m := &dto.Metric{Histogram: &dto.Histogram{SampleCount: proto.Uint64(10)}}
	for _, label := range [][2]string{{"method", "GET"}, {"path", path}, {"service", "checkout"}, {"status_code", "200"}} {
		m.Label = append(m.Label, pair(label[0], label[1]))
	}
	for _, bound := range bounds {
		m.Histogram.Bucket = append(m.Histogram.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(5)})
	}
	if native {
		m.Histogram.Schema = proto.Int32(3)
	}
	return m
}

func handled(id, path string, d time.Duration) Request {
	return Request{
		ID: id, Service: "checkout", Method: "GET", Path: path, Status: "200", Goroutine: 7, Started: time.Unix(100, 0),
		Duration: time.Second + d, Stages: []Stage{{"accept_queue", time.Second}, {"handler", d}},
	}
}

// shown writes the exemplars of a histogram as BOUND=LABELS@VALUE.
func shown(h *dto.Histogram) string {
	var all []string
	for _, b := range h.Bucket {
		if b.Exemplar != nil {
			var labels []string
			for _, l := range b.Exemplar.Label {
				labels = append(labels, l.GetName()+":"+l.GetValue())
			}
			all = append(all, fmt.Sprintf("%v=%s@%v", b.GetUpperBound(), strings.Join(labels, ","), b.Exemplar.GetValue()))
		}
	}
	return strings.Join(all, " ")
}

func TestExample_is_in_the_bucket_of_its_handlers_time(t *testing.T) {
	var e Exemplars
	f := &dto.MetricFamily{Metric: []*dto.Metric{aHistogram("/a", false, 0.1, 0.2), aHistogram("/b", true, 0.1, 0.2)}}
	e.Add(handled("1", "/a", 100*time.Millisecond))
	e.Add(handled("2", "/a", 101*time.Millisecond))
	traced := handled("3", "/a", 102*time.Millisecond)
	traced.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	e.Add(traced)
	e.Add(handled("4", "/b", time.Hour))
	e.Add(handled("5", "/gone", time.Hour))
	e.Attach(f)
	a, b := f.Metric[0].Histogram, f.Metric[1].Histogram
	for got, want := range map[string]string{
		shown(a): "0.1=goroutine_id:7,request_id:1@0.1 0.2=goroutine_id:7,request_id:3,trace_id:4bf92f3577b34da6a3ce929d0e0e4736@0.102",
		shown(b): "+Inf=goroutine_id:7,request_id:4@3600",
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if len(a.Exemplars) != 0 || len(b.Exemplars) != 1 {
		t.Errorf("%d and %d examples of all buckets, want none without native buckets and 1", len(a.Exemplars), len(b.Exemplars))
	}

	// They stay, and the bucket above all others goes on to count.
	*b.SampleCount = 11
	e.Add(handled("6", "/b", 2*time.Hour))
	e.Attach(f)
	if want := "+Inf=goroutine_id:7,request_id:6@7200"; shown(b) != want || b.Bucket[2].GetCumulativeCount() != 11 || !math.IsInf(b.Bucket[2].GetUpperBound(), 1) || len(b.Bucket) != 3 {
		t.Errorf("got %s and %v, want %s and a count of 11", shown(b), b.Bucket, want)
	}
	if !strings.Contains(shown(a), "request_id:3") {
		t.Errorf("the example has gone: %s", shown(a))
	}
	for i := range 2 * mostExemplars {
		e.Add(handled(fmt.Sprint(i), "/b", time.Second))
	}
	e.Attach(f)
	if len(b.Exemplars) != mostExemplars {
		t.Errorf("%d examples of all buckets, want %d", len(b.Exemplars), mostExemplars)
	}
}

func TestExamples_that_no_scrape_takes_are_bounded(t *testing.T) {
	var e Exemplars
	for i := range 2 * mostSeries {
		for range 2 {
			e.Add(handled("1", fmt.Sprint("/", i), time.Second))
		}
	}
	for range 2 * mostOfOne {
		e.Add(handled("1", "/0", time.Second))
	}
	if len(e.waiting) != mostSeries || len(e.waiting[seriesOf("checkout", "GET", "/0", "200")]) != mostOfOne {
		t.Errorf("%d series wait, one with %d, want %d and %d", len(e.waiting), len(e.waiting[seriesOf("checkout", "GET", "/0", "200")]), mostSeries, mostOfOne)
	}
}
