// SPDX-License-Identifier: Apache-2.0

package events

import (
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/tcpslo/tcpslo/exporter/names"
)

// Families are the metrics of objectives: what they are and what they have counted.
func Families(objectives []Objective) []*dto.MetricFamily {
	events, objective, window, latency := family(names.SLOEvents), family(names.SLOObjective), family(names.SLOWindow), family(names.SLOLatency)
	for _, o := range objectives {
		for _, path := range slices.Sorted(maps.Keys(o.Events)) {
			e := o.Events[path]
			events.add(float64(e.Good), o.Service, o.Name, path, "good")
			events.add(float64(e.Bad), o.Service, o.Name, path, "bad")
		}
		objective.add(o.Ratio(), o.Service, o.Name)
		window.add(o.Window.Seconds(), o.Service, o.Name)
		if o.Latency != 0 {
			latency.add(o.Latency.Seconds(), o.Service, o.Name)
		}
	}
	var all []*dto.MetricFamily
	for _, b := range []*builder{events, objective, window, latency} {
		if len(b.Metric) > 0 {
			all = append(all, &b.MetricFamily)
		}
	}
	return all
}

// builder fills a family.
type builder struct {
	dto.MetricFamily
	labels []string
	order  []int // of the labels, by name, as the exposition has them
}

func family(m names.Metric) *builder {
	b := &builder{labels: m.Labels}
	b.Name, b.Help, b.Type = proto.String(m.Full()), proto.String(m.Help), dto.MetricType_GAUGE.Enum()
	if m.Type == "counter" {
		b.Type = dto.MetricType_COUNTER.Enum()
	}
	for i := range m.Labels {
		b.order = append(b.order, i)
	}
	slices.SortFunc(b.order, func(i, j int) int { return strings.Compare(m.Labels[i], m.Labels[j]) })
	return b
}

// add adds a series with values of the labels. There may be thousands in a scrape, so
// that all of a series is in one place.
func (b *builder) add(value float64, labels ...string) {
	m := &struct {
		dto.Metric
		counter dto.Counter
		gauge   dto.Gauge
		pairs   [4]dto.LabelPair
		label   [4]*dto.LabelPair
	}{}
	for i, label := range b.order {
		m.pairs[i].Name, m.pairs[i].Value = &b.labels[label], &labels[label]
		m.label[i] = &m.pairs[i]
	}
	m.Label = m.label[:len(labels)]
	if b.GetType() == dto.MetricType_COUNTER {
		m.counter.Value = &value
		m.Counter = &m.counter
	} else {
		m.gauge.Value = &value
		m.Gauge = &m.gauge
	}
	b.Metric = append(b.Metric, &m.Metric)
}
