// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Swap empties a map that BPF programs write to without losing a count. The
// programs find the map in an array of maps with one slot; when another map is
// put there, the system call returns only after every program that may still
// use the old one has ended (maybe_wait_bpf_programs(), kernel/bpf/syscall.c,
// since Linux 5.0). What is then read from the old map is final.
type Swap struct {
	outer  *ebpf.Map
	inner  [2]*ebpf.Map
	active int
}

// NewSwap makes two maps by the specification and puts the first one in place.
func NewSwap(outer *ebpf.Map, spec *ebpf.MapSpec) (*Swap, error) {
	s := &Swap{outer: outer}
	for i := range s.inner {
		inner, err := ebpf.NewMap(spec)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("make inner map %d of %q: %w", i, outer, err)
		}
		s.inner[i] = inner
	}
	if err := outer.Put(uint32(0), s.inner[0]); err != nil {
		s.Close()
		return nil, fmt.Errorf("put inner map into %q: %w", outer, err)
	}
	return s, nil
}

// Active is the map that programs write to now.
func (s *Swap) Active() *ebpf.Map { return s.inner[s.active] }

// Exchange puts the other, empty map in place and returns the one that was
// there, which no program uses any more.
func (s *Swap) Exchange() (*ebpf.Map, error) {
	next := 1 - s.active
	if err := s.outer.Put(uint32(0), s.inner[next]); err != nil {
		return nil, fmt.Errorf("exchange inner map of %q: %w", s.outer, err)
	}
	old := s.inner[s.active]
	s.active = next
	return old, nil
}

// Drain empties the map and calls visit with all that was in it, until that fails. Key and
// value are valid until visit returns.
func (s *Swap) Drain(visit func(key, value []byte) error) error {
	old, err := s.Exchange()
	if err != nil {
		return err
	}
	r, err := newReader(old)
	if err != nil {
		return err
	}
	return r.read(old, func(key, value []byte) error {
		if err := old.Delete(key); err != nil {
			return fmt.Errorf("delete from map %q: %w", old, err)
		}
		return visit(key, value)
	})
}

// Close releases both maps.
func (s *Swap) Close() error {
	for _, inner := range s.inner {
		if inner != nil {
			inner.Close()
		}
	}
	return nil
}
