// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/names"
)

// family is one metric with all its series.
type family struct {
	definition Definition
	values     []valueField
	where      *Field // of the key; rows in which it is 0 are left out
	scale      float64
	layout     *histogram.Layout
	order      []int // of the labels, by name, as the exposition needs them
	labelNames []string
	constant   prometheus.Labels
	place      int // of the first value field in rowLabels.series

	series  map[seriesKey]*series // of this scrape; kept for the next, which is much the same
	sorted  []*series             // as the exposition needs them; nil when one has come or gone
	retired map[seriesKey]*series // what rows counted that have left the map

	served   *dto.MetricFamily // what the last scrape got; the next changes the numbers
	snapshot histogram.Snapshot
}

// valueField is a field of the map's value and, where a metric has several,
// the label value that stands for it.
type valueField struct {
	label  string
	field  Field
	signed bool
}

// seriesKey is the identity of a series in its family.
type seriesKey struct {
	labels string // rowLabels.id
	value  int    // which of the value fields
}

// series is one set of label values with what its rows add up to.
type series struct {
	labels []string
	pairs  []*dto.LabelPair // labels, where they are shared with other families
	metric *dto.Metric      // what is served; nil before the first time
	shown  *float64         // the number in it, if it is no histogram
	serve  func() bool      // whether to keep it, once its rows have left the map
	signed bool             // sum is an int64
	gone   bool             // it had no row in a scrape: another takes its place if they come back
	rows   int
	// sum is in the map's unit. Integers add up to the same in any order: a sum of
	// floats could be one bit lower in the next scrape, which Prometheus would take
	// for a counter that began anew.
	sum    uint64
	most   float64          // gauge: the greatest value or age
	counts histogram.Counts // histogram
}

func newFamily(d Definition, source Source, layout *histogram.Layout, constant prometheus.Labels) (*family, error) {
	f := &family{
		definition: d, layout: layout, constant: constant,
		scale:   float64(Scales[d.Stored]),
		series:  map[seriesKey]*series{},
		retired: map[seriesKey]*series{},
		served: &dto.MetricFamily{
			Name: proto.String(names.Namespace + "_" + d.Name), Help: proto.String(d.Help), Type: familyTypes[d.Type].Enum(),
		},
	}
	if d.Type == Histogram && layout == nil {
		return nil, fmt.Errorf("a histogram needs buckets")
	}
	if err := f.findWhere(source); err != nil {
		return nil, err
	}
	for _, label := range d.Labels {
		f.labelNames = append(f.labelNames, label.Name)
	}
	if err := f.findValues(source); err != nil {
		return nil, err
	}
	if d.Values != nil {
		f.labelNames = append(f.labelNames, d.Values.Label)
	}
	for i := range f.labelNames {
		f.order = append(f.order, i)
	}
	sort.Slice(f.order, func(i, j int) bool { return f.labelNames[f.order[i]] < f.labelNames[f.order[j]] })
	return f, nil
}

var familyTypes = map[Type]dto.MetricType{
	Counter: dto.MetricType_COUNTER, Gauge: dto.MetricType_GAUGE, Histogram: dto.MetricType_HISTOGRAM,
}

func (f *family) findValues(source Source) error {
	fields, at := map[string]string{"": f.definition.Value}, func(string) string { return "value" }
	if f.definition.Values != nil {
		fields = f.definition.Values.Fields
		at = func(label string) string { return fmt.Sprintf("values.fields.%q", label) }
	}
	for label, path := range fields {
		if path == "" {
			path = "value"
		}
		field, err := FindField("value", source.Value, path)
		if err == nil {
			err = f.checkValue(path, field)
		}
		if err != nil {
			return &Misfit{f.definition.Name, at(label), err}
		}
		f.values = append(f.values, valueField{label, field, field.Signed()})
	}
	sort.Slice(f.values, func(i, j int) bool { return f.values[i].label < f.values[j].label })
	return nil
}

func (f *family) findWhere(source Source) error {
	if f.definition.Where == "" {
		return nil
	}
	field, err := FindField("key", source.Key, f.definition.Where)
	if err == nil && !slices.Contains(numberSizes, field.Size) {
		err = fmt.Errorf("%w: %q has %d bytes and is no number", errSize, f.definition.Where, field.Size)
	}
	if err != nil {
		return &Misfit{f.definition.Name, "where", err}
	}
	f.where = &field
	return nil
}

// has tells whether a row with a key is one of the metric's.
func (f *family) has(key []byte) bool { return f.where == nil || uintOf(f.where.Bytes(key)) != 0 }

// checkValue wants a field that can hold what the metric is.
func (f *family) checkValue(path string, field Field) error {
	switch {
	case f.definition.Type == Histogram:
		if need := 8 * (1 + f.layout.Slots()); int(field.Size) < need {
			return fmt.Errorf("%w: %q has %d bytes, a sum and %d slots need %d", errSize, path, field.Size, f.layout.Slots(), need)
		}
	case f.definition.Aggregate == Count && f.definition.Value == "":
	case !slices.Contains(numberSizes, field.Size):
		return fmt.Errorf("%w: %q has %d bytes and is no number, name the field that is the value: %s", errSize, path, field.Size, strings.Join(FieldNames(path, field.Type)[1:], ", "))
	}
	return nil
}

// begin starts a scrape: from what the retired rows counted, as long as it
// should be served.
func (f *family) begin() {
	all := maps.Values(f.series)
	if f.sorted != nil { // they are the same, and a slice is faster than a map
		all = slices.Values(f.sorted)
	}
	for s := range all {
		s.rows, s.sum, s.most, s.counts = 0, 0, 0, s.counts[:0]
	}
	for id, retired := range f.retired {
		if retired.serve != nil && !retired.serve() {
			delete(f.retired, id)
			continue
		}
		s, ok := f.series[id]
		if !ok {
			s = &series{labels: retired.labels, signed: retired.signed}
			f.series[id], f.sorted = s, nil
		}
		s.rows, s.sum, s.counts = retired.rows, retired.sum, append(s.counts, retired.counts...)
	}
}

// seriesOf finds the series of a row's value field, or makes it.
func (f *family) seriesOf(in map[seriesKey]*series, l *rowLabels, i int) *series {
	id := seriesKey{l.id, i}
	s, ok := in[id]
	if !ok {
		labels := l.values
		if f.definition.Values != nil {
			labels = append(labels[:len(labels):len(labels)], f.values[i].label)
		}
		s = &series{labels: labels, serve: l.serve, signed: f.values[i].signed}
		in[id] = s
	}
	return s
}

// add adds a row to the series of this scrape.
func (f *family) add(l *rowLabels, value []byte, alive bool) {
	if !alive && f.definition.Type == Gauge {
		return // what a gauge showed has gone with its owner
	}
	for i := range f.values {
		if f.isEmpty(f.values[i].field.Bytes(value)) {
			continue
		}
		s := l.series[f.place+i]
		if s == nil || s.gone {
			known := len(f.series)
			s = f.seriesOf(f.series, l, i)
			l.series[f.place+i] = s
			if len(f.series) > known {
				s.pairs, f.sorted = f.sharedPairs(l), nil
			}
		}
		f.addValue(s, f.values[i].field.Bytes(value))
	}
}

// retire adds a row to what is kept of rows that have left the map.
func (f *family) retire(l *rowLabels, value []byte) {
	if f.definition.Type == Gauge {
		return
	}
	for i := range f.values {
		if raw := f.values[i].field.Bytes(value); !f.isEmpty(raw) {
			f.addValue(f.seriesOf(f.retired, l, i), raw)
		}
	}
}

// isEmpty tells whether a field is a histogram in which nothing was counted, while
// others of the row may have counts: it makes no series, for what was never seen is
// not 0.
func (f *family) isEmpty(value []byte) bool {
	if f.definition.Type != Histogram || f.definition.Values == nil {
		return false
	}
	for _, count := range numbers(value)[1 : 1+f.layout.Slots()] {
		if count != 0 {
			return false
		}
	}
	return true
}

func (f *family) addValue(s *series, value []byte) {
	s.rows++
	if f.definition.Type == Histogram {
		numbers := numbers(value)
		s.sum += numbers[0]
		s.counts = s.counts.Add(numbers[1 : 1+f.layout.Slots()])
		return
	}
	number := uintOf(value)
	if s.signed {
		number = uint64(intOf(value))
	}
	switch f.definition.Aggregate {
	case Count:
		if number != 0 || f.definition.Value == "" {
			s.sum++
		}
	case Max:
		s.raise(s.float(number) / f.scale)
	case Age:
		// What began after this scrape read the clock is of no age.
		age := monotonicSeconds() - float64(number)/1e9
		if number == 0 {
			age = 0
		}
		s.raise(max(0, age))
	default:
		s.sum += number
	}
}

// raise notes a value if it is the greatest so far.
func (s *series) raise(value float64) {
	if s.rows == 1 || value > s.most {
		s.most = value
	}
}

func (s *series) float(number uint64) float64 {
	if s.signed {
		return float64(int64(number))
	}
	return float64(number)
}

// value is what a counter or a gauge shows.
func (f *family) value(s *series) float64 {
	switch f.definition.Aggregate {
	case Count:
		return float64(s.sum)
	case Max, Age:
		return s.most
	}
	return s.float(s.sum) / f.scale
}

// gather returns what this scrape has added up. The family and all in it are
// valid until the next call, nil if there is no series.
func (f *family) gather() *dto.MetricFamily {
	f.sort()
	if len(f.sorted) == 0 {
		return nil
	}
	for _, s := range f.sorted {
		if f.definition.Type != Histogram {
			*s.shown = f.value(s)
			continue
		}
		f.layout.FoldInto(&f.snapshot, s.counts, s.sum)
		f.snapshot.Write(s.metric.Histogram)
	}
	return f.served
}

// sort drops the series that no row has any more and puts the others in the
// order of the exposition, that of their label values.
func (f *family) sort() {
	if f.sorted != nil && !slices.ContainsFunc(f.sorted, func(s *series) bool { return s.rows == 0 }) {
		return
	}
	for id, s := range f.series {
		if s.rows == 0 {
			s.gone = true
			delete(f.series, id)
		}
	}
	f.sorted = nil
	for _, s := range f.series {
		if s.metric == nil {
			f.newMetric(s)
		}
		f.sorted = append(f.sorted, s)
	}
	slices.SortFunc(f.sorted, func(a, b *series) int {
		return slices.CompareFunc(a.metric.Label, b.metric.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetValue(), b.GetValue()) })
	})
	f.served.Metric = make([]*dto.Metric, len(f.sorted))
	for i, s := range f.sorted {
		f.served.Metric[i] = s.metric
	}
}

// newMetric makes what a series is served as. All of it is in one place: a scrape
// goes through thousands of them.
func (f *family) newMetric(s *series) {
	switch f.definition.Type {
	case Counter:
		m := &struct {
			dto.Metric
			counter dto.Counter
			value   float64
		}{}
		m.counter.Value = &m.value
		m.Counter = &m.counter
		s.metric, s.shown = &m.Metric, &m.value
	case Gauge:
		m := &struct {
			dto.Metric
			gauge dto.Gauge
			value float64
		}{}
		m.gauge.Value = &m.value
		m.Gauge = &m.gauge
		s.metric, s.shown = &m.Metric, &m.value
	case Histogram:
		m := &struct {
			dto.Metric
			histogram dto.Histogram
		}{}
		m.Histogram = &m.histogram
		s.metric = &m.Metric
	}
	if s.metric.Label = s.pairs; s.pairs == nil {
		s.metric.Label = f.pairs(s.labels)
	}
}

// sharedPairs returns the labels of a row as the exposition needs them, which are
// the same for all families that have no label beside.
func (f *family) sharedPairs(l *rowLabels) []*dto.LabelPair {
	if f.definition.Values != nil || len(f.constant) > 0 {
		return nil
	}
	if l.pairs == nil {
		l.pairs = f.pairs(l.values)
	}
	return l.pairs
}

func (f *family) pairs(labels []string) []*dto.LabelPair {
	all := make([]dto.LabelPair, len(labels)+len(f.constant))
	pairs := make([]*dto.LabelPair, len(all))
	for i := range all {
		pairs[i] = &all[i]
	}
	for i, label := range f.order {
		all[i].Name, all[i].Value = &f.labelNames[label], &labels[label]
	}
	i := len(labels)
	for name, value := range f.constant {
		all[i].Name, all[i].Value = &name, &value
		i++
	}
	if len(f.constant) > 0 {
		sort.Slice(pairs, func(i, j int) bool { return pairs[i].GetName() < pairs[j].GetName() })
	}
	return pairs
}
