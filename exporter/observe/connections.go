// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tcpslo/tcpslo/exporter/goroutine"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/service"
	"github.com/tcpslo/tcpslo/exporter/sockdiag"
	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// Connections lists the live connections of Go HTTP servers in the exporter's network
// namespace, by service and descriptor: sockets by sock_diag(7), goroutines by the memory
// of their process, and who serves what by the probes. A process that can't be read is
// left out, and the error says why.
func (o *Observer) Connections() ([]timeline.Connection, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	all := []timeline.Connection{}
	sockets, err := connected()
	if err != nil {
		return all, err
	}
	seen, err := o.current.seen()
	if err != nil {
		return all, err
	}
	booted, err := timeline.BootTime()
	if err != nil {
		return all, err
	}
	var errs []error
	var pids []uint32
	for _, s := range o.current.registry.Services() {
		if s.HTTP.State != "attached" {
			continue
		}
		pids = append(pids, s.PIDs...)
		for _, pid := range s.PIDs {
			descriptors, err := o.goroutines.Descriptors(pid)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			for _, d := range descriptors {
				socket, ok := sockets[uint32(d.Socket())]
				if !ok || !servedBy(s.Listeners, socket) {
					continue
				}
				c := describe(socket)
				c.Service, c.PID, c.FD = s.Name, pid, d.FD
				known := seen[place{pid, int32(d.FD)}]
				known.tell(&c, booted)
				if c.Goroutine, err = o.goroutineOf(pid, cmp.Or(known.g, d.Waiting[0])); err != nil {
					errs = append(errs, err)
				}
				all = append(all, c)
			}
		}
	}
	o.goroutines.Keep(pids)
	slices.SortFunc(all, func(a, b timeline.Connection) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.PID, b.PID), cmp.Compare(a.FD, b.FD))
	})
	return all, errors.Join(errs...)
}

// connected lists the sockets that have a peer and an owner, by inode.
func connected() (map[uint32]sockdiag.Socket, error) {
	conn, err := sockdiag.Open(make([]byte, sockdiag.BufferSize))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	const without = 1<<sockdiag.Listen | 1<<sockdiag.TimeWait | 1<<sockdiag.SynSent
	sockets := map[uint32]sockdiag.Socket{}
	return sockets, conn.Dump(sockdiag.AllStates&^without, sockdiag.Info, func(s *sockdiag.Socket) {
		if s.Inode != 0 {
			sockets[s.Inode] = *s
		}
	})
}

// servedBy tells whether one of the listeners has accepted a socket.
func servedBy(listeners []service.Listener, s sockdiag.Socket) bool {
	return slices.ContainsFunc(listeners, func(l service.Listener) bool { return l.Netns == "" && l.Accepts(s.Local.AddrPort()) })
}

func describe(s sockdiag.Socket) timeline.Connection {
	c := timeline.Connection{
		Inode: s.Inode, Cookie: fmt.Sprintf("%x", s.Cookie), Local: s.Local.AddrPort(), Remote: s.Remote.AddrPort(), State: sockdiag.States[s.State],
		Received: s.Received, Acknowledged: s.Acked, Unread: s.Queue, Unacknowledged: s.Limit,
	}
	switch c.State {
	case "close_wait", "last_ack":
		c.ClosedBy = "client"
	case "fin_wait1", "fin_wait2", "closing":
		c.ClosedBy = "server"
	}
	return c
}

// place is where a process has a connection.
type place struct {
	pid uint32
	fd  int32
}

// known is what the probes know of a connection. Times are CLOCK_MONOTONIC, nanoseconds.
type known struct {
	g                     uint64 // address of its goroutine
	startedAt             uint64 // the handler of its request; 0 between two requests
	sk, metAt             uint64
	acceptedAt, acceptedT uint64 // and how long it had been in the accept queue
	requests              uint64
}

// seen lists what the probes know of connections that have had a request.
func (g *generation) seen() (map[place]known, error) {
	all := map[place]known{}
	http := g.set.Named("http")
	if http == nil {
		return all, nil
	}
	bySock := map[uint64]place{}
	err := http.Rows("goroutines", []string{"key.g", "key.tgid", "value.descriptor", "value.started_at", "value.sk", "value.met_at"}, func(n []uint64) {
		if at := (place{uint32(n[1]), int32(n[2])}); at.fd >= 0 {
			all[at] = known{g: n[0], startedAt: n[3], sk: n[4], metAt: n[5]}
			bySock[n[4]] = at
		}
	})
	if err != nil {
		return nil, err
	}
	return all, complete(http, all, bySock)
}

// complete adds what the connections' own records have.
func complete(http *probe.Probe, all map[place]known, bySock map[uint64]place) error {
	return http.Rows("connections", []string{"key", "value.met_at", "value.accepted_at", "value.accept_queue", "value.requests"}, func(n []uint64) {
		at, ok := bySock[n[0]]
		k := all[at]
		if !ok || k.metAt != n[1] { // another one, at the same address
			return
		}
		k.acceptedAt, k.acceptedT, k.requests = n[2], n[3], n[4]
		all[at] = k
	})
}

func (k known) tell(c *timeline.Connection, booted time.Time) {
	if k.acceptedAt != 0 {
		c.Accepted = booted.Add(time.Duration(k.acceptedAt))
		c.Opened = c.Accepted.Add(-time.Duration(k.acceptedT))
	}
	if k.startedAt != 0 {
		c.Request = booted.Add(time.Duration(k.startedAt))
	}
	c.Requests = uint32(k.requests)
}

// goroutineOf reads a goroutine. One that has ended meanwhile is none.
func (o *Observer) goroutineOf(pid uint32, address uint64) (*timeline.Goroutine, error) {
	if address == 0 {
		return nil, nil
	}
	g, err := o.goroutines.ByAddress(pid, address)
	if errors.Is(err, goroutine.ErrNoGoroutine) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return &timeline.Goroutine{ID: g.ID, Parent: g.Parent, Status: g.Status, WaitReason: g.WaitReason, CreatedBy: g.CreatedBy}, nil
}
