// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/prometheus/client_golang/prometheus"

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
		f, err := newFamily(definition, source, layouts[definition.Name], env, constLabels)
		if err != nil {
			return nil, err
		}
		t.families = append(t.families, f)
	}
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

// Collect reads the map once and sends every metric of the table.
func (t *Table) Collect(ch chan<- prometheus.Metric) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.reader.read(t.current()); err != nil {
		return err
	}
	if t.overflow != nil {
		if err := t.overflow.read(t.source.Overflow); err != nil {
			return err
		}
	}
	t.rows = t.reader.count
	t.begin()
	final, dead := t.add(t.reader)
	finalOverflow, deadOverflow := t.add(t.overflow)
	for _, f := range t.families {
		f.send(ch)
	}
	t.take(t.overflow, t.source.Overflow, append(finalOverflow, deadOverflow...))
	if t.source.Swap == nil {
		return t.take(t.reader, t.source.Map, append(final, dead...))
	}
	// Rows of processes that ended, and a map that is filling up with paths, move
	// to user space now, while it is still known what they mean.
	if len(dead) > 0 || 2*t.rows > t.Capacity() {
		return t.drain()
	}
	return nil
}

func (t *Table) begin() {
	generation := t.env.Resolver.Generation()
	for _, f := range t.families {
		f.begin(generation)
	}
}

// add adds up the rows that were read. It returns those that are final and
// those whose owner has gone.
func (t *Table) add(r *reader) (final, dead []int) {
	if r == nil {
		return nil, nil
	}
	for i := range r.count {
		key, value := r.key(i), r.value(i)
		alive := true
		for _, f := range t.families {
			alive = f.add(key, value) && alive
		}
		switch {
		case t.retire != nil && uintOf(t.retire.Bytes(value)) != 0:
			final = append(final, i)
		case !alive:
			dead = append(dead, i)
		}
	}
	return final, dead
}

// take moves rows that no program writes to any more from the map into user
// space.
func (t *Table) take(r *reader, m *ebpf.Map, rows []int) error {
	for _, i := range rows {
		for _, f := range t.families {
			f.retire(r.key(i), r.value(i))
		}
		if err := m.Delete(r.key(i)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from map %q: %w", t.source.Name, err)
		}
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
	if err := t.reader.read(old); err != nil {
		return err
	}
	all := make([]int, t.reader.count)
	for i := range all {
		all[i] = i
	}
	return t.take(t.reader, old, all)
}
