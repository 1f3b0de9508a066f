// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
	dto "github.com/prometheus/client_model/go"
)

// labeler says what keys mean. The metrics of a table that have the same labels
// share one.
type labeler struct {
	definitions []Label
	decoders    []decoder
	families    []*family
	places      int // of all families in rowLabels.series

	generation uint64
	known      map[string]*rowLabels // by key; valid for one generation
}

// rowLabels is what a key means.
type rowLabels struct {
	values []string
	id     string // of the values together
	alive  func() bool
	serve  func() bool
	series []*series        // of each family and value field, nil until it was looked up
	pairs  []*dto.LabelPair // shared by the series of all families; nil until one needs them
}

func newLabeler(d Definition, keyType btf.Type, env Environment) (*labeler, error) {
	l := &labeler{definitions: d.Labels, known: map[string]*rowLabels{}}
	for i, label := range d.Labels {
		decoder, err := newDecoder(label, keyType, env)
		if err != nil {
			key := "decode"
			if errors.Is(err, ErrNoField) {
				key = "from"
			}
			return nil, &Misfit{d.Name, fmt.Sprintf("labels[%d].%s", i, key), fmt.Errorf("label %q: %w", label.Name, err)}
		}
		l.decoders = append(l.decoders, decoder)
	}
	return l, nil
}

// serve gives the labels to a family.
func (l *labeler) serve(f *family) {
	f.place = l.places
	l.places += len(f.values)
	l.families = append(l.families, f)
}

// begin forgets what may not be true any more, and what a map of that many rows
// does not need.
func (l *labeler) begin(generation uint64, rows int) {
	if generation != l.generation || len(l.known) > 4*rows+spare {
		clear(l.known)
		l.generation = generation
	}
}

// spare is how many keys may be remembered that are in no map any more, even
// where the map is small.
const spare = 256

// of says what a key means, from memory if it can.
func (l *labeler) of(key []byte) *rowLabels {
	if known, ok := l.known[string(key)]; ok {
		return known
	}
	r := &row{key: key}
	values := make([]string, 0, len(l.decoders))
	for _, decode := range l.decoders {
		// Prometheus refuses an exposition with anything but UTF-8, and the name of
		// a process or a file can be any bytes.
		values = append(values, strings.ToValidUTF8(decode(r), "\uFFFD"))
	}
	labels := &rowLabels{
		values: values, alive: r.alive, serve: r.serve,
		id:     strings.Join(values, "\xff"), // no label has it: they are all UTF-8
		series: make([]*series, l.places),
	}
	l.known[string(key)] = labels
	return labels
}

// add adds a row to the series of all families and tells whether the row's owner
// still lives.
func (l *labeler) add(key, value []byte) bool {
	labels := l.of(key)
	alive := labels.alive == nil || labels.alive()
	for _, f := range l.families {
		if f.has(key) {
			f.add(labels, value, alive)
		}
	}
	return alive
}

// retire adds a row to what is kept of rows that have left the map.
func (l *labeler) retire(key, value []byte) {
	labels := l.of(key)
	for _, f := range l.families {
		if f.has(key) {
			f.retire(labels, value)
		}
	}
}
