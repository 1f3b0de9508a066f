// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"
	"fmt"
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
	desc       *prometheus.Desc
	decoders   []decoder
	values     []valueField
	scale      float64
	layout     *histogram.Layout
	order      []int // of the labels, by name, as the exposition needs them
	labelNames []string
	constant   prometheus.Labels

	generation uint64
	labels     map[string]*rowLabels // by key; valid for one generation
	series     map[string]*series    // of this scrape; kept for the next, which is much the same
	sorted     []*series             // as the exposition needs them; nil when one has come or gone
	retired    map[string]*series    // what rows counted that have left the map
}

// valueField is a field of the map's value and, where a metric has several,
// the label value that stands for it.
type valueField struct {
	label  string
	field  Field
	signed bool
}

// rowLabels is what a key means.
type rowLabels struct {
	series []string // identity of the series, one for each value field
	values []string
	alive  func() bool
	serve  func() bool
}

// series is one set of label values with what its rows add up to.
type series struct {
	labels []string
	pairs  []*dto.LabelPair
	serve  func() bool // whether to keep it, once its rows have left the map
	signed bool        // sum is an int64
	rows   int
	// sum is in the map's unit. Integers add up to the same in any order: a sum of
	// floats could be one bit lower in the next scrape, which Prometheus would take
	// for a counter that began anew.
	sum   uint64
	most  float64  // gauge: the greatest value or age
	slots []uint64 // histogram; borrowed from the read buffer until a second row comes
	owned bool     // slots are the series' own
}

func newFamily(d Definition, source Source, layout *histogram.Layout, env Environment, constant prometheus.Labels) (*family, error) {
	f := &family{
		definition: d, layout: layout, constant: constant,
		scale:   float64(Scales[d.Stored]),
		labels:  map[string]*rowLabels{},
		series:  map[string]*series{},
		retired: map[string]*series{},
	}
	if d.Type == Histogram && layout == nil {
		return nil, fmt.Errorf("a histogram needs buckets")
	}
	for i, label := range d.Labels {
		decoder, err := newDecoder(label, source.Key, env)
		if err != nil {
			key := "decode"
			if errors.Is(err, ErrNoField) {
				key = "from"
			}
			return nil, &Misfit{d.Name, fmt.Sprintf("labels[%d].%s", i, key), fmt.Errorf("label %q: %w", label.Name, err)}
		}
		f.decoders = append(f.decoders, decoder)
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
	f.desc = prometheus.NewDesc(names.Namespace+"_"+d.Name, d.Help, f.labelNames, constant)
	return f, nil
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
func (f *family) begin(generation uint64) {
	if generation != f.generation || len(f.labels) > 4*len(f.series)+firstBatch {
		clear(f.labels)
		f.generation = generation
	}
	for _, s := range f.series {
		*s = series{labels: s.labels, pairs: s.pairs, signed: s.signed}
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
		s.rows, s.sum, s.slots = retired.rows, retired.sum, retired.slots
	}
}

// labelsOf says what a key means, from memory if it can.
func (f *family) labelsOf(key []byte) *rowLabels {
	if known, ok := f.labels[string(key)]; ok {
		return known
	}
	r := &row{key: key}
	values := make([]string, 0, len(f.labelNames))
	for _, decode := range f.decoders {
		// Prometheus refuses an exposition with anything but UTF-8, and the name of
		// a process or a file can be any bytes.
		values = append(values, strings.ToValidUTF8(decode(r), "\uFFFD"))
	}
	l := &rowLabels{values: values, alive: r.alive, serve: r.serve}
	id := strings.Join(values, "\xff") // no label has it: they are all UTF-8
	for _, v := range f.values {
		l.series = append(l.series, id+"\xff"+v.label)
	}
	f.labels[string(key)] = l
	return l
}

func (f *family) seriesOf(in map[string]*series, l *rowLabels, i int) *series {
	s, ok := in[l.series[i]]
	if !ok {
		labels := l.values
		if f.definition.Values != nil {
			labels = append(labels[:len(labels):len(labels)], f.values[i].label)
		}
		s = &series{labels: labels, serve: l.serve, signed: f.values[i].signed}
		in[l.series[i]], f.sorted = s, nil
	}
	return s
}

// add adds a row to the series of this scrape and tells whether the row's owner
// still lives.
func (f *family) add(key, value []byte) bool {
	l := f.labelsOf(key)
	alive := l.alive == nil || l.alive()
	if !alive && f.definition.Type == Gauge {
		return false // what a gauge showed has gone with its owner
	}
	for i := range f.values {
		f.addValue(f.seriesOf(f.series, l, i), f.values[i].field.Bytes(value), false)
	}
	return alive
}

// retire adds a row to what is kept of rows that have left the map.
func (f *family) retire(key, value []byte) {
	if f.definition.Type == Gauge {
		return
	}
	l := f.labelsOf(key)
	for i := range f.values {
		f.addValue(f.seriesOf(f.retired, l, i), f.values[i].field.Bytes(value), true)
	}
}

func (f *family) addValue(s *series, value []byte, own bool) {
	s.rows++
	if f.definition.Type == Histogram {
		f.addSlots(s, numbers(value), own)
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

func (f *family) addSlots(s *series, value []uint64, own bool) {
	sum, slots := value[0], value[1:1+f.layout.Slots()]
	s.sum += sum
	switch {
	case s.slots == nil && !own:
		s.slots = slots
		return
	case !s.owned:
		s.slots = append(make([]uint64, 0, len(slots)), s.slots...)
		s.slots = s.slots[:len(slots)]
		s.owned = true
	}
	for i, n := range slots {
		s.slots[i] += n
	}
}

func (f *family) send(ch chan<- prometheus.Metric) {
	f.sort()
	for _, s := range f.sorted {
		if f.definition.Type == Histogram {
			ch <- histogram.NewMetric(f.desc, s.pairs, f.layout.Fold(s.slots, s.sum))
		} else {
			ch <- &number{f.desc, s.pairs, f.definition.Type, f.value(s)}
		}
	}
}

// sort drops the series that no row has any more and sorts the others.
// client_golang sorts them at each scrape, which takes a quarter of its time
// unless they are in order already.
func (f *family) sort() {
	for id, s := range f.series {
		if s.rows == 0 {
			delete(f.series, id)
			f.sorted = nil
		}
	}
	if f.sorted != nil {
		return
	}
	for _, s := range f.series {
		if s.pairs == nil {
			s.pairs = f.pairs(s.labels)
		}
		f.sorted = append(f.sorted, s)
	}
	slices.SortFunc(f.sorted, func(a, b *series) int {
		return slices.CompareFunc(a.pairs, b.pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetValue(), b.GetValue()) })
	})
}

func (f *family) pairs(labels []string) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, 0, len(labels)+len(f.constant))
	for _, i := range f.order {
		pairs = append(pairs, &dto.LabelPair{Name: proto.String(f.labelNames[i]), Value: proto.String(labels[i])})
	}
	for name, value := range f.constant {
		pairs = append(pairs, &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)})
	}
	if len(f.constant) > 0 {
		sort.Slice(pairs, func(i, j int) bool { return pairs[i].GetName() < pairs[j].GetName() })
	}
	return pairs
}

// number is a counter or a gauge with its label pairs made before.
type number struct {
	desc  *prometheus.Desc
	pairs []*dto.LabelPair
	kind  Type
	value float64
}

func (n *number) Desc() *prometheus.Desc { return n.desc }

func (n *number) Write(out *dto.Metric) error {
	out.Label = n.pairs
	if n.kind == Counter {
		out.Counter = &dto.Counter{Value: proto.Float64(n.value)}
	} else {
		out.Gauge = &dto.Gauge{Value: proto.Float64(n.value)}
	}
	return nil
}
