// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// Shared is what the probes of a set have in common. Objects declare a map that is
// one for all of them with LIBBPF_PIN_BY_NAME; the first probe that is loaded makes it.
// Nothing is pinned to a file system.
type Shared struct {
	// Running are the names of the collectors that run. An object knows of another
	// collector by a constant with_NAME, which is 1 where it runs.
	Running []string

	maps   map[string]*ebpf.Map
	bounds map[string][]uint64 // of the histograms in them, by the name of the variable
}

// isRunning answers the constant called name; ok is false where it is another kind of constant.
func (s *Shared) isRunning(name string) (value uint64, ok bool) {
	collector, ok := strings.CutPrefix(name, "with_")
	if ok && slices.Contains(s.Running, collector) {
		value = 1
	}
	return value, ok
}

// adopt takes the maps that are there already in place of the object's own, and returns them.
func (s *Shared) adopt(spec *ebpf.CollectionSpec) map[string]*ebpf.Map {
	adopted := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if there, ok := s.maps[name]; ok && m.Pinning == ebpf.PinByName {
			adopted[name] = there
		}
	}
	return adopted
}

// offer keeps the maps of a probe for those that are loaded after it.
func (s *Shared) offer(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) {
	for name, m := range spec.Maps {
		if m.Pinning == ebpf.PinByName && s.maps[name] == nil {
			if s.maps == nil {
				s.maps = map[string]*ebpf.Map{}
			}
			s.maps[name] = maps[name]
		}
	}
}
