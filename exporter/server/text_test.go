// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"math"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// awkward are the numbers that formats write in a way of their own.
var awkward = []float64{
	0, math.Copysign(0, -1), 1, -1, 2, -7, 0.1, 1.5, -2.25, 1.0 / 3, 99999, 100000, 999999, 1e6, 1000001, -999999, -1e6, 123456789, 1e15, 1e21, 1e22, 1.5e300,
	1e-4, 1e-5, 5e-324, math.MaxFloat64, 1 << 53, 1<<53 + 2, math.MaxUint64, math.NaN(), math.Inf(1), math.Inf(-1), math.Pi,
}

var texts = []string{"", "shop", `back\slash`, "new\nline", `"quoted"`, "\\\n\"", "caf\u00e9 \u2603", "/users/{id}", "a,b=c}"}

func labelsOf(pairs ...string) []*dto.LabelPair {
	var labels []*dto.LabelPair
	for i := 0; i < len(pairs); i += 2 {
		labels = append(labels, &dto.LabelPair{Name: &pairs[i], Value: &pairs[i+1]})
	}
	return labels
}

func familyOf(name, help string, t dto.MetricType, metrics ...*dto.Metric) *dto.MetricFamily {
	return &dto.MetricFamily{Name: &name, Help: &help, Type: &t, Metric: metrics}
}

func histogramOf(sum float64, count uint64, bounds []float64, x *dto.Exemplar) *dto.Histogram {
	h := &dto.Histogram{SampleCount: &count, SampleSum: &sum}
	for i, b := range bounds {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(b), CumulativeCount: proto.Uint64(count * uint64(i) / 7), Exemplar: x})
	}
	return h
}

// everything is families of every kind that the encoder knows.
func everything() []*dto.MetricFamily {
	exemplar := &dto.Exemplar{Label: labelsOf("goroutine", "7", "note", "\"a\"\n"), Value: proto.Float64(0.2), Timestamp: timestamppb.New(time.Unix(1_700_000_000, 123_000_000))}
	timeless := &dto.Exemplar{Label: labelsOf("goroutine", "8"), Value: proto.Float64(3)}
	empty := &dto.Exemplar{Value: proto.Float64(3)}
	counter := familyOf("tcpslo_events_total", "All\\ \"events\"\nof each kind.", dto.MetricType_COUNTER)
	unnamed := familyOf("tcpslo_events", "", dto.MetricType_COUNTER)
	gauge := familyOf("tcpslo_level", "Level.", dto.MetricType_GAUGE, &dto.Metric{Gauge: &dto.Gauge{}})
	h := familyOf("tcpslo_wait_seconds", "Wait.", dto.MetricType_HISTOGRAM,
		&dto.Metric{Histogram: &dto.Histogram{}},
		&dto.Metric{Histogram: histogramOf(1, 2, nil, nil)},
		&dto.Metric{Histogram: histogramOf(1, 2, []float64{1, math.Inf(1)}, nil)},
		&dto.Metric{Histogram: histogramOf(1, 2, []float64{1, 2}, nil)},
	)
	for i, v := range awkward {
		text := texts[i%len(texts)]
		for _, x := range []*dto.Exemplar{nil, exemplar, timeless, empty} {
			counter.Metric = append(counter.Metric, &dto.Metric{Label: labelsOf("service", text), Counter: &dto.Counter{Value: &v, Exemplar: x}})
			h.Metric = append(h.Metric, &dto.Metric{Label: labelsOf("service", text, "path", texts[(i+3)%len(texts)]), Histogram: histogramOf(v, uint64(i)*123_457, []float64{0.001, float64(i), 1e6, 2e6}, x)})
		}
		unnamed.Metric = append(unnamed.Metric, &dto.Metric{Label: labelsOf("service", text, "listener", "[::1]:80"), Counter: &dto.Counter{Value: &v}})
		gauge.Metric = append(gauge.Metric, &dto.Metric{Label: labelsOf("a", text), Gauge: &dto.Gauge{Value: &v}})
		h.Metric = append(h.Metric, &dto.Metric{Histogram: histogramOf(v, math.MaxUint64, awkward[:i], nil)})
	}
	helpless := familyOf("tcpslo_helpless", "", dto.MetricType_GAUGE, gauge.Metric[0])
	helpless.Help = nil
	return []*dto.MetricFamily{counter, unnamed, gauge, h, helpless, familyOf("total", "T.", dto.MetricType_COUNTER, counter.Metric[0])}
}

func TestTextEncoder_writes_what_expfmt_writes(t *testing.T) {
	for _, format := range []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1} {
		e := &textEncoder{openMetrics: format.FormatType() == expfmt.TypeOpenMetrics}
		for _, f := range everything() {
			if !e.knows(f) {
				t.Errorf("%s: the encoder does not know %s", format, f.GetName())
				continue
			}
			got := written(t, e, f)
			var want bytes.Buffer
			if err := expfmt.NewEncoder(&want, format).Encode(f); err != nil {
				t.Fatal(err)
			}
			gotLines, wantLines := bytes.Split(got, []byte("\n")), bytes.Split(want.Bytes(), []byte("\n"))
			for i := range min(len(gotLines), len(wantLines)) {
				if !bytes.Equal(gotLines[i], wantLines[i]) {
					t.Fatalf("%s, line %d: got\n%s\nwant\n%s", format, i+1, gotLines[i], wantLines[i])
				}
			}
			if len(gotLines) != len(wantLines) {
				t.Fatalf("%s, %s: %d lines, want %d", format, f.GetName(), len(gotLines), len(wantLines))
			}
		}
	}
}

// unknown is what the encoder leaves to expfmt, by the reason.
func unknown() map[string]*dto.MetricFamily {
	one := proto.Float64(1)
	value := &dto.Metric{Gauge: &dto.Gauge{Value: one}}
	withUnit := familyOf("a_seconds", "A.", dto.MetricType_GAUGE, value)
	withUnit.Unit = proto.String("seconds")
	return map[string]*dto.MetricFamily{
		"no metric":                 familyOf("b", "A.", dto.MetricType_GAUGE),
		"a unit":                    withUnit,
		"a summary":                 familyOf("c", "A.", dto.MetricType_SUMMARY, &dto.Metric{Summary: &dto.Summary{}}),
		"no type":                   familyOf("d", "A.", dto.MetricType_UNTYPED, &dto.Metric{Untyped: &dto.Untyped{Value: one}}),
		"a name that needs quotes":  familyOf("e.e", "A.", dto.MetricType_GAUGE, value),
		"no name":                   familyOf("", "A.", dto.MetricType_GAUGE, value),
		"another type of value":     familyOf("f", "A.", dto.MetricType_COUNTER, value),
		"a label that needs quotes": familyOf("g", "A.", dto.MetricType_GAUGE, &dto.Metric{Label: labelsOf("ok", "1", "a.b", "2"), Gauge: value.Gauge}),
		"a time stamp":              familyOf("h", "A.", dto.MetricType_GAUGE, &dto.Metric{Gauge: value.Gauge, TimestampMs: proto.Int64(5)}),
		"a count that is a float":   familyOf("i", "A.", dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{SampleCountFloat: one}}),
		"a bucket that is a float":  familyOf("j", "A.", dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{Bucket: []*dto.Bucket{{CumulativeCountFloat: one}}}}),
	}
}

// written is what the encoder writes of a family all of which it knows.
func written(t *testing.T, e *textEncoder, f *dto.MetricFamily) []byte {
	t.Helper()
	var all []byte
	e.family(f, func() []byte { return all }, func(b []byte) { all = b }, func(m *dto.Metric) { t.Errorf("the encoder does not know %v", m) })
	return all
}

// Most metrics are those of the last exposition, but some come and go.
func TestTextEncoder_writes_the_labels_of_this_exposition(t *testing.T) {
	f := gauges("tcpslo_level", 10)
	e := &textEncoder{}
	for _, step := range [][]*dto.Metric{f.Metric[2:8], f.Metric[2:8], f.Metric, f.Metric[:5], f.Metric[5:], {f.Metric[9], f.Metric[0]}, f.Metric} {
		now := familyOf("tcpslo_level", "A level.", dto.MetricType_GAUGE, step...)
		var want bytes.Buffer
		if _, err := expfmt.MetricFamilyToText(&want, now); err != nil {
			t.Fatal(err)
		}
		if got := written(t, e, now); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got\n%s\nwant\n%s", got, &want)
		}
	}
}

func TestTextEncoder_leaves_to_expfmt_what_it_does_not_know(t *testing.T) {
	for sentence, f := range unknown() {
		e := &textEncoder{}
		if !e.knows(f) {
			continue
		}
		for range 2 { // the second time it is not new
			left := 0
			e.family(f, func() []byte { return nil }, func([]byte) {}, func(*dto.Metric) { left++ })
			if left != 1 {
				t.Errorf("the encoder takes a family with %s for one of its own", sentence)
			}
		}
	}
}
