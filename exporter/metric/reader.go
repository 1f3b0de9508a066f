// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/cilium/ebpf"
)

// reader reads all entries of a map with batch look-ups, a batch at a time:
// values of histograms are kilobytes, and all of them would take megabytes.
type reader struct {
	keySize, valueSize int
	cpus               int // values of one key; 1 unless the map is per CPU
	size               int // entries that the buffers hold
	keys, values       reflect.Value
}

// The buffers have room for about that many bytes, and for no fewer entries than
// fewest; they double for a hash map that has more in one bucket.
const (
	batchBytes = 32 << 10
	fewest     = 8
)

func newReader(m *ebpf.Map) (*reader, error) {
	r := &reader{keySize: int(m.KeySize()), valueSize: int(m.ValueSize()), cpus: 1}
	switch m.Type() {
	case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash:
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			return nil, err
		}
		if r.cpus = cpus; r.valueSize%8 != 0 {
			return nil, fmt.Errorf("values of a per-CPU map must be 64-bit numbers, these have %d bytes", r.valueSize)
		}
	}
	entries := max(fewest, batchBytes/(r.keySize+r.valueSize*r.cpus))
	r.grow(min(entries, int(m.MaxEntries())))
	return r, nil
}

func byteArrays(size, count int) reflect.Value {
	return reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(size, reflect.TypeFor[byte]())), count, count)
}

func (r *reader) grow(size int) {
	r.size = size
	r.keys = byteArrays(r.keySize, size)
	r.values = byteArrays(r.valueSize, size*r.cpus)
}

// read calls f for each entry of the map, until f fails. Key and value are valid
// until f returns.
func (r *reader) read(m *ebpf.Map, f func(key, value []byte) error) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, r.keys.Interface(), r.values.Interface(), nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		switch {
		case isNoSpace(err):
			// A bucket has more entries than there is room for. The cursor stays there.
			r.grow(2 * r.size)
			continue
		case errors.Is(err, ebpf.ErrNotSupported):
			// Per-CPU arrays have had batch look-ups since Linux 5.13 only.
			return r.readOneByOne(m, f)
		case err != nil && !last:
			return fmt.Errorf("read map %q: %w", m, err)
		}
		for i := range n {
			r.sumCPUs(i)
			if err := f(r.key(i), r.value(i)); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func (r *reader) readOneByOne(m *ebpf.Map, f func(key, value []byte) error) error {
	var previous any
	for {
		err := m.NextKey(previous, r.key(0))
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read map %q: %w", m, err)
		}
		key := bytes.Clone(r.key(0))
		if err := m.Lookup(key, r.values.Slice(0, r.cpus).Interface()); err == nil {
			r.sumCPUs(0)
			if err := f(key, r.value(0)); err != nil {
				return err
			}
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read map %q: %w", m, err)
		}
		previous = key
	}
}

// sumCPUs adds up the values that each CPU has of entry i, number by number, in
// the place of the first.
func (r *reader) sumCPUs(i int) {
	if r.cpus == 1 {
		return
	}
	sum := numbers(r.value(i))
	for cpu := 1; cpu < r.cpus; cpu++ {
		for at, n := range numbers(r.rawValue(i*r.cpus + cpu)) {
			sum[at] += n
		}
	}
}

func (r *reader) key(i int) []byte {
	return unsafe.Slice((*byte)(r.keys.UnsafePointer()), r.size*r.keySize)[i*r.keySize : (i+1)*r.keySize : (i+1)*r.keySize]
}

func (r *reader) value(i int) []byte { return r.rawValue(i * r.cpus) }

// rawValue is a value in the buffer, where each CPU has one of every key.
func (r *reader) rawValue(i int) []byte {
	return unsafe.Slice((*byte)(r.values.UnsafePointer()), r.size*r.cpus*r.valueSize)[i*r.valueSize : (i+1)*r.valueSize : (i+1)*r.valueSize]
}

// numbers sees a value as 64-bit numbers; map values are aligned to them.
func numbers(value []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(value))), len(value)/8)
}
