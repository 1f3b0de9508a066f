// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"strconv"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

// textEncoder writes what expfmt.MetricFamilyToText and
// expfmt.MetricFamilyToOpenMetrics write, byte for byte, in a tenth of the time:
// it writes the labels of a metric once and not for each bucket of a histogram,
// and the boundaries of the buckets once for a family.
type textEncoder struct {
	openMetrics bool

	mu      sync.Mutex             // one family at a time
	known   map[string][]labelText // by name of the family: what the last exposition had
	passing labelText              // of a metric that is not kept
	labels  []byte                 // of the metric under way: {a="b",c="d"
	bucket  []byte                 // what its buckets begin with: NAME_bucket{a="b",c="d",le="
	// What the metric before had at the same place is what this one has, too, more
	// often than not.
	names  []string // of labels, that need no quotes
	bounds []bound
}

// labelText is the labels of a metric as they are written. A metric that is the
// very same as in the last exposition has the same labels, as they may not be
// changed once a prometheus.Metric has them.
type labelText struct {
	metric *dto.Metric
	text   []byte
}

// bound is the upper boundary of a bucket as it is written.
type bound struct {
	value float64
	text  []byte
}

// knows tells whether the encoder can write a family, but for metrics that it
// turns out not to know. What probes don't have is left to expfmt: other types,
// time stamps, float counts and names that are written in quotes or with other
// characters.
func (e *textEncoder) knows(f *dto.MetricFamily) bool {
	return len(f.Metric) > 0 && f.Unit == nil && kinds[f.GetType()] != "" && legacy(f.GetName())
}

var kinds = map[dto.MetricType]string{
	dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge", dto.MetricType_HISTOGRAM: "histogram",
}

func legacy(name string) bool { return model.LegacyValidation.IsValidMetricName(name) }

// family appends all lines of a family, piece by piece: room returns where, and
// take takes it back. left is called for metrics that expfmt must write.
func (e *textEncoder) family(f *dto.MetricFamily, room func() []byte, take func([]byte), left func(*dto.Metric)) {
	take(e.header(room(), f))
	known := e.known[f.GetName()]
	// Where the first metric is another one, all are: a prometheus.Registry makes
	// them anew each time, and it is of no use to keep them.
	again := len(known) > 0 && known[0].metric == f.Metric[0]
	keep := min(len(known), len(f.Metric))
	if !again {
		keep = min(keep, 1)
	}
	clear(known[keep:])
	known = known[:keep]
	for i, m := range f.Metric {
		if i == len(known) && (again || i == 0) {
			known = append(known, labelText{})
		}
		labels := &e.passing
		if i < len(known) {
			labels = &known[i]
		}
		if labels.metric != m {
			if !e.legacyLabels(m) {
				left(m)
				continue
			}
			*labels = labelText{m, appendLabels(labels.text[:0], m.Label)}
		}
		if m.TimestampMs != nil || !hasValue(f.GetType(), m) {
			left(m)
			continue
		}
		e.labels = labels.text
		take(e.metric(room(), f, m))
	}
	e.passing.metric = nil
	if e.known == nil {
		e.known = map[string][]labelText{}
	}
	e.known[f.GetName()] = known
}

// legacyLabels tells whether all labels have names without quotes.
func (e *textEncoder) legacyLabels(m *dto.Metric) bool {
	for i, pair := range m.Label {
		if i == len(e.names) {
			e.names = append(e.names, "")
		}
		if name := pair.GetName(); e.names[i] != name {
			if !legacy(name) {
				return false
			}
			e.names[i] = name
		}
	}
	return true
}

func hasValue(t dto.MetricType, m *dto.Metric) bool {
	switch t {
	case dto.MetricType_COUNTER:
		return m.Counter != nil
	case dto.MetricType_GAUGE:
		return m.Gauge != nil
	case dto.MetricType_HISTOGRAM:
		h := m.Histogram
		return h != nil && h.SampleCountFloat == nil && (len(h.Bucket) == 0 || h.Bucket[0].CumulativeCountFloat == nil)
	}
	return false
}

// header appends the lines that come before the samples of a family.
func (e *textEncoder) header(b []byte, f *dto.MetricFamily) []byte {
	name, kind := f.GetName(), kinds[f.GetType()]
	if e.openMetrics && f.GetType() == dto.MetricType_COUNTER {
		const suffix = "_total"
		if cut := len(name) - len(suffix); cut >= 0 && name[cut:] == suffix {
			name = name[:cut]
		} else {
			kind = "unknown"
		}
	}
	if f.Help != nil {
		b = append(append(append(b, "# HELP "...), name...), ' ')
		b = append(appendEscaped(b, f.GetHelp(), e.openMetrics), '\n')
	}
	b = append(append(append(b, "# TYPE "...), name...), ' ')
	return append(append(b, kind...), '\n')
}

// metric appends the samples of a metric.
func (e *textEncoder) metric(b []byte, f *dto.MetricFamily, m *dto.Metric) []byte {
	switch name := f.GetName(); f.GetType() {
	case dto.MetricType_COUNTER:
		b = e.appendFloat(e.sample(b, name, ""), m.Counter.GetValue())
		b = e.appendExemplar(b, m.Counter.Exemplar)
	case dto.MetricType_GAUGE:
		b = e.appendFloat(e.sample(b, name, ""), m.Gauge.GetValue())
	case dto.MetricType_HISTOGRAM:
		b = e.buckets(b, name, m.Histogram)
		b = e.appendFloat(e.sample(b, name, "_sum"), m.Histogram.GetSampleSum())
		b = e.appendCount(e.sample(append(b, '\n'), name, "_count"), m.Histogram.GetSampleCount())
	}
	return append(b, '\n')
}

// appendLabels appends labels, without the brace that ends them.
func appendLabels(b []byte, labels []*dto.LabelPair) []byte {
	for i, pair := range labels {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		b = append(append(append(b, separator), pair.GetName()...), `="`...)
		b = append(appendEscaped(b, pair.GetValue(), true), '"')
	}
	return b
}

// sample appends all of a line that comes before the value.
func (e *textEncoder) sample(b []byte, name, suffix string) []byte {
	b = append(append(append(b, name...), suffix...), e.labels...)
	if len(e.labels) > 0 {
		b = append(b, '}')
	}
	return append(b, ' ')
}

func (e *textEncoder) buckets(b []byte, name string, h *dto.Histogram) []byte {
	e.bucket = append(append(append(e.bucket[:0], name...), "_bucket"...), e.labels...)
	separator := byte(',')
	if len(e.labels) == 0 {
		separator = '{'
	}
	e.bucket = append(append(e.bucket, separator), `le="`...)
	infinite := false
	for i, bucket := range h.Bucket {
		upper := bucket.GetUpperBound()
		infinite = infinite || math.IsInf(upper, 1)
		b = append(append(append(b, e.bucket...), e.bound(i, upper)...), `"} `...)
		b = e.appendCount(b, bucket.GetCumulativeCount())
		b = append(e.appendExemplar(b, bucket.Exemplar), '\n')
	}
	if !infinite {
		b = append(append(b, e.bucket...), `+Inf"} `...)
		b = append(e.appendCount(b, h.GetSampleCount()), '\n')
	}
	return b
}

// bound returns the text of the upper boundary of a bucket.
func (e *textEncoder) bound(i int, value float64) []byte {
	if i == len(e.bounds) {
		e.bounds = append(e.bounds, bound{value: math.NaN()})
	}
	known := &e.bounds[i]
	if known.value != value {
		known.value, known.text = value, e.appendFloat(known.text[:0], value)
	}
	return known.text
}

// appendCount appends an integer, which in text is a float like any other.
func (e *textEncoder) appendCount(b []byte, n uint64) []byte {
	if e.openMetrics || n < exponent {
		return strconv.AppendUint(b, n, 10)
	}
	return e.appendFloat(b, float64(n))
}

// exponent is the number from which on a float is written with one.
const exponent = 1e6

func (e *textEncoder) appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(b, "+Inf"...)
	case math.IsNaN(f) || math.IsInf(f, -1):
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	case f == math.Trunc(f) && math.Abs(f) < exponent:
		b = strconv.AppendInt(b, int64(f), 10)
	default:
		begin := len(b)
		b = strconv.AppendFloat(b, f, 'g', -1, 64)
		for _, c := range b[begin:] {
			if c == 'e' || c == '.' {
				return b
			}
		}
	}
	if e.openMetrics {
		b = append(b, ".0"...)
	}
	return b
}

// appendExemplar appends an exemplar, which only OpenMetrics has.
func (e *textEncoder) appendExemplar(b []byte, x *dto.Exemplar) []byte {
	if !e.openMetrics || x == nil || len(x.Label) == 0 {
		return b
	}
	b = appendLabels(append(b, " # "...), x.Label)
	b = e.appendFloat(append(b, "} "...), x.GetValue())
	if x.Timestamp != nil {
		b = e.appendFloat(append(b, ' '), float64(x.Timestamp.AsTime().UnixNano())/1e9)
	}
	return b
}

// appendEscaped appends text with a backslash before each backslash and, where
// asked for, quote; a new line becomes \n.
func appendEscaped(b []byte, text string, quotes bool) []byte {
	begin := 0
	for i := range len(text) {
		c := text[i]
		if c != '\\' && c != '\n' && (c != '"' || !quotes) {
			continue
		}
		b = append(append(b, text[begin:i]...), '\\')
		begin = i
		if c == '\n' {
			b, begin = append(b, 'n'), i+1
		}
	}
	return append(b, text[begin:]...)
}
