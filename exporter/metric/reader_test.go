// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
)

func TestReader_reads_every_entry_of_a_hash_map_that_is_larger_than_its_buffers(t *testing.T) {
	for _, entries := range []uint32{1, firstBatch - 1, firstBatch, firstBatch + 1, 10_000} {
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
		for range 2 { // the second time into buffers that have grown
			if err := r.read(m); err != nil {
				t.Fatal(err)
			}
			got := map[uint32]uint64{}
			for i := range r.count {
				got[uint32(uintOf(r.key(i)))] = uintOf(r.value(i))
			}
			if r.count != len(want) || len(got) != len(want) {
				t.Fatalf("read %d entries with %d keys, the map has %d", r.count, len(got), len(want))
			}
			for key, value := range want {
				if got[key] != value {
					t.Fatalf("key %d: read %d, want %d", key, got[key], value)
				}
			}
		}
	}
}

func TestReader_finds_nothing_in_an_empty_map(t *testing.T) {
	m := newMap(t, ebpf.Hash, u32, u64, 1000)
	r, err := newReader(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.read(m); err != nil || r.count != 0 {
		t.Fatalf("read %d entries (%v), want 0", r.count, err)
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
			check := func(t *testing.T, read func(*reader) error) {
				r, err := newReader(m)
				if err != nil {
					t.Fatal(err)
				}
				if err := read(r); err != nil {
					t.Fatal(err)
				}
				if r.count != entries {
					t.Fatalf("read %d entries, want %d", r.count, entries)
				}
				for i := range r.count {
					key, value := uintOf(r.key(i)), numbers(r.value(i))
					if value[0] != want[key][0] || value[1] != want[key][1] {
						t.Fatalf("key %d: read %v, the CPUs have %v", key, value, want[key])
					}
				}
			}
			t.Run("in batches", func(t *testing.T) { check(t, func(r *reader) error { return r.read(m) }) })
			// As kernels before 5.13 need it for per-CPU arrays.
			t.Run("one by one", func(t *testing.T) { check(t, func(r *reader) error { return r.readOneByOne(m) }) })
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
