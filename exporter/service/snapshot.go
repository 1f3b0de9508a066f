// SPDX-License-Identifier: Apache-2.0

package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Service is what /api/v1/services tells of the processes of a service that
// execute one file.
type Service struct {
	Name       string     `json:"name"`
	Executable string     `json:"executable"`
	PIDs       []uint32   `json:"pids"`
	GoVersion  string     `json:"go_version"`
	HTTP       State      `json:"http"`
	Listeners  []Listener `json:"listeners"`
}

// State tells whether a probe is attached, and if not, why.
type State struct {
	State  string `json:"state"` // attached or not_attached
	Reason string `json:"reason,omitempty"`
}

// Listener is what /api/v1/listeners tells of a listening socket.
type Listener struct {
	Listener string `json:"listener"`
	Netns    string `json:"netns"`
	Inode    uint64 `json:"inode"`
	Service  string `json:"service"`
	PID      uint32 `json:"pid"`
	Worker   string `json:"worker"`
}

// Accepts tells whether connections with a local address may be the listener's.
// [::] takes those of IPv4, too, unless it was told otherwise.
func (l Listener) Accepts(local netip.AddrPort) bool {
	address, err := netip.ParseAddrPort(l.Listener)
	return err == nil && address.Port() == local.Port() && (address.Addr().Unmap() == local.Addr() || address.Addr().IsUnspecified())
}

// Listeners lists the open listening sockets by address.
func (r *Registry) Listeners() []Listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []Listener{}
	for _, s := range r.sockets {
		if !s.closed {
			all = append(all, r.snapshot(s))
		}
	}
	sortListeners(all)
	return all
}

func (r *Registry) snapshot(s *socket) Listener {
	worker := formatUint(uint64(s.owner))
	if !s.orphan {
		fd, held := r.descriptor(s.owner, s.inode)
		if !held { // inherited, and the one before has closed its copy
			var tgid uint32
			if tgid, fd, held = holderOf(s.inode); held {
				r.own(s, tgid)
			}
		}
		s.orphan = !held // not sought again: that is dear
		worker = fmt.Sprintf("%d/%d", s.owner, fd)
	}
	return Listener{s.listener.Address.String(), r.NetworkNamespace(s.listener.Netns), s.inode, r.listenerOf(s.listener).service, s.owner, worker}
}

func sortListeners(all []Listener) {
	slices.SortFunc(all, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Netns, b.Netns), cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Inode, b.Inode))
	})
}

// Services lists what executes a Go HTTP server or listens, by name.
func (r *Registry) Services() []Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	type group struct {
		name string
		x    *executable
	}
	groups := map[group]*Service{}
	for _, p := range r.processes {
		listeners := r.listenersOf(p.tgid)
		attached := p.executable.attached["http"] != nil
		if len(listeners) == 0 && !attached {
			continue
		}
		key := group{p.service, p.executable}
		s, ok := groups[key]
		if !ok {
			s = &Service{Name: p.service, Executable: p.executable.path, GoVersion: p.executable.goVersion, HTTP: p.executable.probeState("http"), Listeners: []Listener{}}
			groups[key] = s
		}
		s.PIDs = append(s.PIDs, p.tgid)
		s.Listeners = append(s.Listeners, listeners...)
	}
	all := []Service{}
	for _, s := range groups {
		slices.Sort(s.PIDs)
		sortListeners(s.Listeners)
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Service) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.PIDs[0], b.PIDs[0])) })
	return all
}

func (r *Registry) listenersOf(tgid uint32) []Listener {
	var all []Listener
	for _, s := range r.sockets {
		if s.owner == tgid && !s.closed {
			all = append(all, r.snapshot(s))
		}
	}
	return all
}

func (x *executable) probeState(probe string) State {
	switch {
	case x.attached[probe] != nil:
		return State{State: "attached"}
	case x.reasons[probe] != "":
		return State{"not_attached", x.reasons[probe]}
	case x.goVersion == "":
		return State{"not_attached", "not a Go executable"}
	}
	return State{"not_attached", "the http probe is switched off"}
}
