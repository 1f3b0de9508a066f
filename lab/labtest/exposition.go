// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const acceptProtobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

// Labels select series: those that have every label given with the value given.
// The value "" also selects series without the label, as PromQL does.
type Labels map[string]string

// Exposition is one answer of /metrics.
type Exposition struct {
	// Raw is the body as received.
	Raw []byte

	t        testing.TB
	families map[string]*dto.MetricFamily
}

// Series is one time series of a counter, gauge or histogram.
type Series struct {
	Labels    Labels
	Value     float64        // of a counter or gauge
	Histogram *dto.Histogram // nil unless it is one
}

// Scrape fetches /metrics in the text format.
func (e *Exporter) Scrape() *Exposition {
	e.t.Helper()
	body, _ := e.scrape("text/plain;version=0.0.4")
	x, err := ParseText(e.t, body)
	if err != nil {
		e.t.Fatalf("parse /metrics: %v", err)
	}
	return x
}

// ScrapeProtobuf fetches /metrics in the protobuf format, the one with native
// histograms.
func (e *Exporter) ScrapeProtobuf() *Exposition {
	e.t.Helper()
	body, contentType := e.scrape(acceptProtobuf)
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/vnd.google.protobuf" {
		e.t.Fatalf("/metrics answered with content type %q to a request for protobuf", contentType)
	}
	families := map[string]*dto.MetricFamily{}
	dec := expfmt.NewDecoder(bytes.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		family := &dto.MetricFamily{}
		err := dec.Decode(family)
		if errors.Is(err, io.EOF) {
			return &Exposition{Raw: body, t: e.t, families: families}
		}
		if err != nil {
			e.t.Fatalf("parse protobuf of /metrics: %v", err)
		}
		families[family.GetName()] = family
	}
}

func (e *Exporter) scrape(accept string) (body []byte, contentType string) {
	e.t.Helper()
	a, err := e.do(http.MethodGet, "/metrics", accept)
	if err != nil {
		e.t.Fatalf("scrape: %v", err)
	}
	if a.status != http.StatusOK {
		e.t.Fatalf("/metrics answered %d: %s", a.status, a.body)
	}
	return a.body, a.contentType
}

// ParseText reads the Prometheus text format.
func ParseText(t testing.TB, body []byte) (*Exposition, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return &Exposition{Raw: body, t: t, families: families}, nil
}

// Series lists the series of the family name that labels select.
func (x *Exposition) Series(name string, labels Labels) []Series {
	var found []Series
	for _, m := range x.families[name].GetMetric() {
		s := Series{Labels: Labels{}, Histogram: m.Histogram}
		for _, l := range m.Label {
			s.Labels[l.GetName()] = l.GetValue()
		}
		switch {
		case m.Counter != nil:
			s.Value = m.Counter.GetValue()
		case m.Gauge != nil:
			s.Value = m.Gauge.GetValue()
		case m.Untyped != nil:
			s.Value = m.Untyped.GetValue()
		}
		if labels.match(s.Labels) {
			found = append(found, s)
		}
	}
	return found
}

// AllSeries lists the series of every family that labels select, by family.
func (x *Exposition) AllSeries(labels Labels) map[string][]Series {
	found := map[string][]Series{}
	for name := range x.families {
		if s := x.Series(name, labels); len(s) > 0 {
			found[name] = s
		}
	}
	return found
}

// Value is the sum of the counters or gauges that labels select, 0 if there are
// none. Asking it for a histogram fails the test.
func (x *Exposition) Value(name string, labels Labels) float64 {
	x.t.Helper()
	sum := 0.0
	for _, s := range x.Series(name, labels) {
		if s.Histogram != nil {
			x.t.Fatalf("%s is a histogram", name)
		}
		sum += s.Value
	}
	return sum
}

// By sums the counters or gauges that labels select for each value of a label.
func (x *Exposition) By(name, label string, labels Labels) map[string]float64 {
	sums := map[string]float64{}
	for _, s := range x.Series(name, labels) {
		sums[s.Labels[label]] += s.Value
	}
	return sums
}

// HistogramCount is the number of observations in the histograms selected.
func (x *Exposition) HistogramCount(name string, labels Labels) uint64 {
	x.t.Helper()
	n := uint64(0)
	for _, h := range x.histograms(name, labels) {
		n += h.GetSampleCount()
	}
	return n
}

// HistogramSum is the sum of the observations, in the histogram's unit.
func (x *Exposition) HistogramSum(name string, labels Labels) float64 {
	x.t.Helper()
	sum := 0.0
	for _, h := range x.histograms(name, labels) {
		sum += h.GetSampleSum()
	}
	return sum
}

// HistogramBuckets maps each upper bound (le) to the cumulative count, +Inf
// included.
func (x *Exposition) HistogramBuckets(name string, labels Labels) map[float64]uint64 {
	x.t.Helper()
	buckets := map[float64]uint64{}
	for _, h := range x.histograms(name, labels) {
		for _, b := range h.Bucket {
			buckets[b.GetUpperBound()] += b.GetCumulativeCount()
		}
		if n := len(h.Bucket); n == 0 || !math.IsInf(h.Bucket[n-1].GetUpperBound(), 1) {
			buckets[math.Inf(1)] += h.GetSampleCount()
		}
	}
	return buckets
}

func (x *Exposition) histograms(name string, labels Labels) []*dto.Histogram {
	x.t.Helper()
	var found []*dto.Histogram
	for _, s := range x.Series(name, labels) {
		if s.Histogram == nil {
			x.t.Fatalf("%s is no histogram", name)
		}
		found = append(found, s.Histogram)
	}
	return found
}

func (want Labels) match(have Labels) bool {
	for name, value := range want {
		if have[name] != value {
			return false
		}
	}
	return true
}

// With returns the labels and one more.
func (l Labels) With(name, value string) Labels {
	more := maps.Clone(l)
	more[name] = value
	return more
}

// NativeCount adds up the buckets of a native histogram: the zero bucket and
// the positive ones, whose spans and deltas are unrolled. It must equal the
// sample count. It is an error if the histogram has no native part or if its
// spans and deltas do not fit together.
func NativeCount(h *dto.Histogram) (uint64, error) {
	if h.Schema == nil {
		return 0, errors.New("no native part")
	}
	total, bucket, next := int64(h.GetZeroCount()), int64(0), 0
	for _, span := range h.PositiveSpan {
		for range span.GetLength() {
			if next == len(h.PositiveDelta) {
				return 0, fmt.Errorf("spans hold more buckets than the %d deltas", len(h.PositiveDelta))
			}
			bucket += h.PositiveDelta[next]
			total += bucket
			next++
		}
	}
	if next != len(h.PositiveDelta) {
		return 0, fmt.Errorf("spans hold %d buckets and there are %d deltas", next, len(h.PositiveDelta))
	}
	return uint64(total), nil
}
