// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/histogram"
)

// Source describes the map behind a Table.
type Source struct {
	Map        *ebpf.Map // nil where Swap is given
	Swap       *Swap
	Name       string
	Key, Value btf.Type
	// Retire names a field of the value that is not 0 once the row is final: its
	// counts are kept in user space and the row leaves the map.
	Retire string
	// Overflow has rows of the same form that found no room in the map, or is nil.
	Overflow *ebpf.Map
	// OfProcesses says that the key is the number of a process: a row leaves the map
	// when its process has ended, also where no metric reads the map.
	OfProcesses bool
}

// Table serves all metrics of one map.
//
// A series is the sum of the rows that are in the map and of what rows counted
// that have left it ("retired"). So a row can be deleted, or the whole map
// exchanged for an empty one, and no count is lost.
type Table struct {
	source   Source
	env      Environment
	retire   *Field
	families []*family
	labelers []*labeler

	mu       sync.Mutex
	reader   *reader
	overflow *reader
	rows     int
}

// NewTable makes the table of the metrics that are defined on a map. layouts
// gives the bucket layout of each histogram by metric name.
func NewTable(source Source, definitions []Definition, layouts map[string]*histogram.Layout, env Environment, constLabels prometheus.Labels) (*Table, error) {
	t := &Table{source: source, env: env}
	if source.Retire != "" {
		field, err := FindField("value", source.Value, source.Retire)
		if err != nil {
			return nil, err
		}
		t.retire = &field
	}
	for _, definition := range definitions {
		if err := t.addFamily(definition, layouts[definition.Name], constLabels); err != nil {
			return nil, err
		}
	}
	if source.OfProcesses {
		l, err := newLabeler(Definition{Labels: []Label{{Name: "service", Decode: "service_of_process"}}}, source.Key, env)
		if err != nil {
			return nil, err
		}
		t.labelers = append(t.labelers, l)
	}
	t.env.KernelBTF = nil // decoders are made
	reader, err := newReader(t.current())
	if err != nil {
		return nil, fmt.Errorf("map %q: %w", source.Name, err)
	}
	t.reader = reader
	if source.Overflow != nil {
		if m := source.Overflow; m.KeySize() != t.current().KeySize() || m.ValueSize() != t.current().ValueSize() {
			return nil, fmt.Errorf("overflow of map %q: %w: its keys and values must be of the same types", source.Name, errSize)
		}
		if t.overflow, err = newReader(source.Overflow); err != nil {
			return nil, fmt.Errorf("overflow of map %q: %w", source.Name, err)
		}
	}
	return t, nil
}

// addFamily adds a metric, which shares its labels with those that have the same.
func (t *Table) addFamily(d Definition, layout *histogram.Layout, constLabels prometheus.Labels) error {
	f, err := newFamily(d, t.source, layout, constLabels)
	if err != nil {
		return err
	}
	t.families = append(t.families, f)
	for _, l := range t.labelers {
		if reflect.DeepEqual(l.definitions, d.Labels) {
			l.serve(f)
			return nil
		}
	}
	l, err := newLabeler(d, t.source.Key, t.env)
	if err != nil {
		return err
	}
	l.serve(f)
	t.labelers = append(t.labelers, l)
	return nil
}

func (t *Table) current() *ebpf.Map {
	if t.source.Swap != nil {
		return t.source.Swap.Active()
	}
	return t.source.Map
}

// Name is the map's name; Capacity its greatest number of entries.
func (t *Table) Name() string  { return t.source.Name }
func (t *Table) Capacity() int { return int(t.current().MaxEntries()) }

// Entries is the number of rows that were in the map when it was last read.
func (t *Table) Entries() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rows
}

// Gather reads the map once and returns every metric of the table that has a
// series, sorted, in the order of their definition. What it returns is valid
// until the next call: most of the next answer is the same, so that only the
// numbers are written anew.
func (t *Table) Gather() ([]*dto.MetricFamily, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin()
	var err error
	var leavers int
	if t.rows, leavers, err = t.add(t.reader, t.current(), t.source.Swap == nil); err != nil {
		return nil, err
	}
	if t.overflow != nil {
		if _, _, err := t.add(t.overflow, t.source.Overflow, true); err != nil {
			return nil, err
		}
	}
	var gathered []*dto.MetricFamily
	for _, f := range t.families {
		if family := f.gather(); family != nil {
			gathered = append(gathered, family)
		}
	}
	// Rows of processes that ended, and a map that is filling up with paths, move
	// to user space now, while it is still known what they mean.
	if t.source.Swap != nil && (leavers > 0 || 2*t.rows > t.Capacity()) {
		return gathered, t.drain()
	}
	return gathered, nil
}

func (t *Table) begin() {
	generation := t.env.Resolver.Generation()
	for _, l := range t.labelers {
		l.begin(generation, t.rows)
	}
	for _, f := range t.families {
		f.begin()
	}
}

// add adds up the rows of a map. Leavers are rows that no program writes to any
// more, because they are final or their owner has gone: they move to user space
// if take is set.
func (t *Table) add(r *reader, m *ebpf.Map, take bool) (rows, leavers int, err error) {
	err = r.read(m, func(key, value []byte) error {
		rows++
		alive := true
		for _, l := range t.labelers {
			alive = l.add(key, value) && alive
		}
		if alive && (t.retire == nil || uintOf(t.retire.Bytes(value)) == 0) {
			return nil
		}
		if leavers++; !take {
			return nil
		}
		return t.take(m, key, value)
	})
	return rows, leavers, err
}

// take moves a row from a map into user space. It may do so while the map is
// read, as the reader has passed the row's bucket.
func (t *Table) take(m *ebpf.Map, key, value []byte) error {
	for _, l := range t.labelers {
		l.retire(key, value)
	}
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map %q: %w", t.source.Name, err)
	}
	return nil
}

// Drain moves all that the map has counted into user space and leaves the map
// empty. It serves maps whose keys come from outside, such as paths.
func (t *Table) Drain() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin()
	return t.drain()
}

func (t *Table) drain() error {
	if t.source.Swap == nil {
		return fmt.Errorf("map %q can't be drained: it is not in an array of maps", t.source.Name)
	}
	old, err := t.source.Swap.Exchange()
	if err != nil {
		return err
	}
	return t.reader.read(old, func(key, value []byte) error { return t.take(old, key, value) })
}
