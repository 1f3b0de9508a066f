// SPDX-License-Identifier: Apache-2.0

package hotspot

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tcpslo/tcpslo/exporter/goexe"
)

// Stacks are kept for 50 to 60 minutes, by windows of ten, as slow requests are.
const (
	windows      = 6
	windowLength = 10 * time.Minute
	mostStacks   = 4096 // in a window; about 2 KiB each
)

// Hotspot is a stack in which slow requests of a route were met on a CPU.
type Hotspot struct {
	Service string
	Path    string // the route
	Samples uint64
	CPU     time.Duration // what the samples stand for
	Frames  []goexe.Frame // the innermost first
}

// Store keeps the stacks of the last hour. Goroutines may share it.
type Store struct {
	now func() time.Time

	lock    sync.Mutex
	windows []window
	lost    uint64
}

type window struct {
	number int64 // of windowLength since 1970
	stacks map[string]*Hotspot
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{now: time.Now} }

// Add adds samples of a stack. What finds no room is counted.
func (s *Store) Add(h Hotspot) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.turn()
	stacks := s.windows[len(s.windows)-1].stacks
	key := h.key()
	known, ok := stacks[key]
	switch {
	case ok:
		known.add(h)
	case len(stacks) < mostStacks:
		stacks[key] = &h
	default:
		s.lost += h.Samples
	}
}

func (h *Hotspot) add(other Hotspot) {
	h.Samples += other.Samples
	h.CPU += other.CPU
}

// key tells a hotspot from others.
func (h *Hotspot) key() string {
	var key strings.Builder
	fmt.Fprintf(&key, "%s\x00%s", h.Service, h.Path)
	for _, f := range h.Frames {
		fmt.Fprintf(&key, "\x00%s\x00%s\x00%d", f.Function, f.File, f.Line)
	}
	return key.String()
}

// turn begins a window where it is time, and forgets the oldest.
func (s *Store) turn() {
	present := s.now().UnixNano() / int64(windowLength)
	s.windows = slices.DeleteFunc(s.windows, func(w window) bool { return w.number <= present-windows || w.number > present })
	if n := len(s.windows); n == 0 || s.windows[n-1].number != present {
		s.windows = append(s.windows, window{present, map[string]*Hotspot{}})
	}
}

// Lost is how many samples found no room.
func (s *Store) Lost() uint64 {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.lost
}

// Find returns what a query asks for, the stacks with the most samples first.
func (s *Store) Find(q Query) []Hotspot {
	found := s.merge(q)
	return found[:min(len(found), cmp.Or(q.Limit, len(found)))]
}

func (s *Store) merge(q Query) []Hotspot {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.turn()
	sum := map[string]Hotspot{}
	for _, w := range s.windows {
		for key, h := range w.stacks {
			if !q.matches(h) {
				continue
			}
			if known, ok := sum[key]; ok {
				known.add(*h)
				sum[key] = known
			} else {
				sum[key] = *h
			}
		}
	}
	keys := make([]string, 0, len(sum))
	for key := range sum {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(sum[b].Samples, sum[a].Samples), cmp.Compare(a, b))
	})
	found := make([]Hotspot, len(keys))
	for i, key := range keys {
		found[i] = sum[key]
	}
	return found
}
