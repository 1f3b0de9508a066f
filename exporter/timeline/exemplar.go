// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Exemplars gives the histogram of request durations examples: of each bucket the
// latest request that was told of. A bucket keeps its example until there is another.
type Exemplars struct {
	mu      sync.Mutex
	waiting map[string][]*dto.Exemplar // by labels of the series, since the last exposition
}

// Bounds of what waits for a scrape, which may never come.
const (
	mostSeries    = 4096
	mostOfOne     = 64
	mostExemplars = 10 // of a native histogram, as client_golang keeps
)

// Add notes a request.
func (e *Exemplars) Add(r Request) {
	i := slices.IndexFunc(r.Stages, func(s Stage) bool { return s.Name == "handler" })
	if i < 0 {
		return
	}
	example := &dto.Exemplar{
		Label: []*dto.LabelPair{pair("goroutine_id", strconv.FormatUint(r.Goroutine, 10)), pair("request_id", r.ID)},
		// The histogram is of the handler's time alone.
		Value:     proto.Float64(r.Stages[i].Duration.Seconds()),
		Timestamp: timestamppb.New(r.Ended()),
	}
	if trace := traceID(r.TraceParent); trace != "" {
		example.Label = append(example.Label, pair("trace_id", trace))
	}
	series := seriesOf(r.Service, r.Method, r.Path, r.Status)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting == nil {
		e.waiting = map[string][]*dto.Exemplar{}
	}
	waiting, known := e.waiting[series]
	if !known && len(e.waiting) >= mostSeries {
		return
	}
	if len(waiting) >= mostOfOne {
		waiting = slices.Delete(waiting, 0, 1)
	}
	e.waiting[series] = append(waiting, example)
}

func pair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: &name, Value: &value}
}

// traceID is the second field of a traceparent header (W3C Trace Context, section 3.2.2).
func traceID(traceparent string) string {
	fields := strings.Split(traceparent, "-")
	if len(fields) < 4 || len(fields[1]) != 32 {
		return ""
	}
	return fields[1]
}

func seriesOf(service, method, path, status string) string {
	return strings.Join([]string{service, method, path, status}, "\x00")
}

// Attach gives the series of a family of histograms their examples. The family is
// the same in each scrape, with other numbers.
func (e *Exemplars) Attach(f *dto.MetricFamily) {
	e.mu.Lock()
	waiting := e.waiting
	e.waiting = nil
	e.mu.Unlock()
	for _, m := range f.Metric {
		if n := len(m.Histogram.Bucket); n > 0 && math.IsInf(m.Histogram.Bucket[n-1].GetUpperBound(), 1) {
			*m.Histogram.Bucket[n-1].CumulativeCount = m.Histogram.GetSampleCount()
		}
		if len(waiting) == 0 {
			continue
		}
		labels := map[string]string{}
		for _, label := range m.Label {
			labels[label.GetName()] = label.GetValue()
		}
		for _, example := range waiting[seriesOf(labels["service"], labels["method"], labels["path"], labels["status_code"])] {
			attach(m.Histogram, example)
		}
	}
}

// attach puts an example in its bucket, and among the latest ones of all buckets, which
// native histograms have.
func attach(h *dto.Histogram, example *dto.Exemplar) {
	i, _ := slices.BinarySearchFunc(h.Bucket, example.GetValue(), func(b *dto.Bucket, value float64) int {
		return cmp.Compare(b.GetUpperBound(), value)
	})
	if i == len(h.Bucket) { // only a bucket that is written has an example
		h.Bucket = append(slices.Clip(h.Bucket), &dto.Bucket{UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: proto.Uint64(h.GetSampleCount())})
	}
	h.Bucket[i].Exemplar = example
	if h.Schema == nil {
		return
	}
	h.Exemplars = append(h.Exemplars, example)
	if len(h.Exemplars) > mostExemplars {
		h.Exemplars = slices.Delete(h.Exemplars, 0, 1)
	}
}
