// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/names"
)

// Found is what a collector has found. A collector with an interval is asked less
// often than the exporter: what it has found is made once and served until it is
// asked again, past the prometheus.Registry, which would copy, check and sort it at
// each scrape.
type Found struct {
	byName map[string]*found
	served []*dto.MetricFamily // what families returned; nil before
}

// found is a metric with the series that were added.
type found struct {
	dto.MetricFamily
	order []int // of the labels, by name, as the exposition needs them
}

var familyTypes = map[string]dto.MetricType{"counter": dto.MetricType_COUNTER, "gauge": dto.MetricType_GAUGE}

// Add adds a series to a metric, a counter or a gauge: one value for each of its
// labels, in their order.
func (f *Found) Add(m names.Metric, value float64, labels ...string) {
	if len(labels) != len(m.Labels) {
		panic(fmt.Sprintf("metric %q has the labels %q, not %q", m.Name, m.Labels, labels))
	}
	in, ok := f.byName[m.Name]
	if !ok {
		in = newFound(m)
		if f.byName == nil {
			f.byName = map[string]*found{}
		}
		f.byName[m.Name] = in
	}
	series := &dto.Metric{Label: make([]*dto.LabelPair, len(labels))}
	if in.GetType() == dto.MetricType_COUNTER {
		series.Counter = &dto.Counter{Value: &value}
	} else {
		series.Gauge = &dto.Gauge{Value: &value}
	}
	texts, pairs := make([]string, len(labels)), make([]dto.LabelPair, len(labels))
	for i, label := range in.order {
		// Prometheus refuses an exposition with anything but UTF-8, and the name of
		// a device can be any bytes.
		texts[i] = strings.ToValidUTF8(labels[label], "\uFFFD")
		pairs[i].Name, pairs[i].Value = &m.Labels[label], &texts[i]
		series.Label[i] = &pairs[i]
	}
	in.Metric = append(in.Metric, series)
}

func newFound(m names.Metric) *found {
	name, kind := m.Full(), familyTypes[m.Type]
	in := &found{order: make([]int, len(m.Labels))}
	in.Name, in.Help, in.Type = &name, &m.Help, &kind
	for i := range in.order {
		in.order[i] = i
	}
	slices.SortFunc(in.order, func(a, b int) int { return cmp.Compare(m.Labels[a], m.Labels[b]) })
	return in
}

// families returns all metrics, each with its series sorted as a
// prometheus.Registry sorts them, by the values of their labels; of two that are
// the same (two network namespaces of one name) the first. Nothing may be added
// after that.
func (f *Found) families() []*dto.MetricFamily {
	if f == nil {
		return nil
	}
	if f.served != nil {
		return f.served
	}
	for _, in := range f.byName {
		slices.SortStableFunc(in.Metric, compareLabels)
		in.Metric = slices.CompactFunc(in.Metric, func(a, b *dto.Metric) bool { return compareLabels(a, b) == 0 })
		f.served = append(f.served, &in.MetricFamily)
	}
	return f.served
}

func compareLabels(a, b *dto.Metric) int {
	return slices.CompareFunc(a.Label, b.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetValue(), b.GetValue()) })
}
