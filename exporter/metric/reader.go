// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/cilium/ebpf"
)

// reader reads all entries of a map with batch look-ups into buffers that it
// keeps from scrape to scrape.
type reader struct {
	keySize, valueSize int
	cpus               int // values of one key; 1 unless the map is per CPU
	size               int // entries that the buffers hold
	keys, values       reflect.Value
	count              int
}

// firstBatch is how many entries the buffers hold at first; they double when a
// map has more.
const firstBatch = 256

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
	r.grow(min(firstBatch, int(m.MaxEntries())))
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

// read fills the buffers with all entries of the map.
func (r *reader) read(m *ebpf.Map) error {
	for {
		err := r.readBatches(m)
		switch {
		case errors.Is(err, errBufferFull):
			r.grow(2 * r.size)
		case errors.Is(err, ebpf.ErrNotSupported):
			// Per-CPU arrays have had batch look-ups since Linux 5.13 only.
			return r.readOneByOne(m)
		default:
			return err
		}
	}
}

var errBufferFull = errors.New("buffer full")

func (r *reader) readBatches(m *ebpf.Map) error {
	var cursor ebpf.MapBatchCursor
	r.count = 0
	for r.count < r.size {
		keys := r.keys.Slice(r.count, r.size).Interface()
		values := r.values.Slice(r.count*r.cpus, r.size*r.cpus).Interface()
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		r.count += n
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			r.sumCPUs()
			return nil
		case isNoSpace(err): // a bucket has more entries than there is room
			return errBufferFull
		case err != nil:
			return fmt.Errorf("read map %q: %w", m, err)
		}
	}
	return errBufferFull
}

func (r *reader) readOneByOne(m *ebpf.Map) error {
	r.count = 0
	var previous any
	for key := make([]byte, r.keySize); ; {
		err := m.NextKey(previous, key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			r.sumCPUs()
			return nil
		} else if err != nil {
			return fmt.Errorf("read map %q: %w", m, err)
		}
		if r.count == r.size {
			r.grow(2 * r.size)
			return r.readOneByOne(m)
		}
		copy(r.key(r.count), key)
		values := r.values.Slice(r.count*r.cpus, (r.count+1)*r.cpus).Interface()
		if err := m.Lookup(key, values); err == nil {
			r.count++
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read map %q: %w", m, err)
		}
		previous = append([]byte(nil), key...)
	}
}

// sumCPUs adds up the values that each CPU has of a key, number by number, and
// packs the sums at the front.
func (r *reader) sumCPUs() {
	if r.cpus == 1 {
		return
	}
	raw := r.rawValues()
	for i := range r.count {
		sum := raw[i*r.valueSize : (i+1)*r.valueSize]
		for offset := 0; offset < r.valueSize; offset += 8 {
			var total uint64
			for cpu := range r.cpus {
				total += binary.NativeEndian.Uint64(raw[(i*r.cpus+cpu)*r.valueSize+offset:])
			}
			binary.NativeEndian.PutUint64(sum[offset:], total)
		}
	}
}

func (r *reader) rawValues() []byte {
	return unsafe.Slice((*byte)(r.values.UnsafePointer()), r.size*r.cpus*r.valueSize)
}

func (r *reader) key(i int) []byte {
	return unsafe.Slice((*byte)(r.keys.UnsafePointer()), r.size*r.keySize)[i*r.keySize : (i+1)*r.keySize : (i+1)*r.keySize]
}

func (r *reader) value(i int) []byte {
	return r.rawValues()[i*r.valueSize : (i+1)*r.valueSize : (i+1)*r.valueSize]
}

// numbers sees a value as 64-bit numbers; map values are aligned to them.
func numbers(value []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(value))), len(value)/8)
}
