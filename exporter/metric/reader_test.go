// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
)

func TestReader_reads_every_entry_of_a_hash_map_that_is_larger_than_its_buffers(t *testing.T) {
	const batch = batchBytes / (4 + 8)
	for _, entries := range []uint32{1, fewest + 1, batch - 1, batch, batch + 1, 10 * batch} {
		m := newMap(t, ebpf.Hash, u32, u64, entries)
		want := map[uint32]uint64{}
		for key := range entries {
			want[key] = rand.Uint64()
			put(t, m, raw(key), raw(want[key]))
		}
		r, err := newReader(m)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			rows, got := 0, map[uint32]uint64{}
			if err := r.read(m, func(key, value []byte) error {
				rows++
				got[uint32(uintOf(key))] = uintOf(value)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if rows != len(want) || len(got) != len(want) {
				t.Fatalf("read %d entries with %d keys, the map has %d", rows, len(got), len(want))
			}
			for key, value := range want {
				if got[key] != value {
					t.Fatalf("key %d: read %d, want %d", key, got[key], value)
				}
			}
		}
	}
}

// The fewer buckets a hash map has, the more entries each of them may have.
func TestReader_reads_a_bucket_that_is_larger_than_its_buffers(t *testing.T) {
	const entries = 1000
	m := newMap(t, ebpf.Hash, u32, u64, entries)
	want := map[uint64]bool{}
	for key := range uint32(entries) {
		put(t, m, raw(key), raw(uint64(key)))
		want[uint64(key)] = true
	}
	r, err := newReader(m)
	if err != nil {
		t.Fatal(err)
	}
	r.grow(1) // a thousand entries in 1,024 buckets: many have two or more
	rows := 0
	if err := r.read(m, func(key, _ []byte) error {
		rows++
		delete(want, uintOf(key))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if rows != entries || len(want) > 0 || r.size < 2 {
		t.Errorf("read %d entries and not %d others into buffers of %d", rows, len(want), r.size)
	}
}

func TestReader_stops_at_the_first_error(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 10)
	for key := range uint32(10) {
		put(t, m, raw(key), raw(uint64(key)))
	}
	r, err := newReader(m)
	if err != nil {
		t.Fatal(err)
	}
	rows, want := 0, errors.New("enough")
	if err := r.read(m, func(_, _ []byte) error { rows++; return want }); err != want || rows != 1 {
		t.Errorf("got %v after %d entries, want %v after 1", err, rows, want)
	}
}

func TestReader_finds_nothing_in_an_empty_map(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 1000)
	r, err := newReader(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.read(m, func(key, _ []byte) error { return fmt.Errorf("there is key %v", key) }); err != nil {
		t.Fatal(err)
	}
}

func TestReader_adds_up_what_each_CPU_has_of_a_key(t *testing.T) {
	cpus := ebpf.MustPossibleCPU()
	pair := structure(member{"a", u64}, member{"b", u64})
	for _, kind := range []ebpf.MapType{ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash} {
		t.Run(kind.String(), func(t *testing.T) {
			const entries = 300 // more than the first buffers hold
			m := newMap(t, kind, u32, pair, entries)
			var want [entries][2]uint64
			for key := range uint32(entries) {
				var perCPU [][2]uint64
				for range cpus {
					v := [2]uint64{rand.Uint64N(1 << 40), rand.Uint64N(1 << 40)}
					perCPU = append(perCPU, v)
					want[key][0] += v[0]
					want[key][1] += v[1]
				}
				if err := m.Put(key, perCPU); err != nil {
					t.Fatal(err)
				}
			}
			check := func(t *testing.T, read func(*reader, func(key, value []byte) error) error) {
				r, err := newReader(m)
				if err != nil {
					t.Fatal(err)
				}
				got := map[uint64][2]uint64{}
				if err := read(r, func(key, value []byte) error {
					got[uintOf(key)] = [2]uint64(numbers(value))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if len(got) != entries {
					t.Fatalf("read %d entries, want %d", len(got), entries)
				}
				for key, value := range got {
					if value != want[key] {
						t.Fatalf("key %d: read %v, the CPUs have %v", key, value, want[key])
					}
				}
			}
			t.Run("in batches", func(t *testing.T) {
				check(t, func(r *reader, f func(key, value []byte) error) error { return r.read(m, f) })
			})
			// As kernels before 5.13 need it for per-CPU arrays.
			t.Run("one by one", func(t *testing.T) {
				check(t, func(r *reader, f func(key, value []byte) error) error { return r.readOneByOne(m, f) })
			})
		})
	}
}

func TestReader_refuses_per_CPU_values_that_are_not_64_bit_numbers(t *testing.T) {
	_, err := newReader(newMap(t, ebpf.PerCPUArray, u32, u32, 1))
	const want = "values of a per-CPU map must be 64-bit numbers, these have 4 bytes"
	if err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}
