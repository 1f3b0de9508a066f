// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

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
			own, err := o.connectionsOf(pid, s.Listeners, sockets, seen, booted)
			if err != nil {
				errs = append(errs, err)
			}
			for _, c := range own {
				c.Service = s.Name
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

// known is what the probes know of a connection. Times are CLOCK_MONOTONIC, nanoseconds.
type known struct {
	serving
	acceptedAt  uint64
	acceptQueue uint64 // how long it had been there
	requests    uint64
}

// serving is who works on the requests of a connection.
type serving struct {
	g         uint64 // address of the goroutine; of several streams that of the oldest request
	startedAt uint64 // the handler of that request; 0 between two requests
}

// record names one of the kernel's records of connections: an address of a socket, which
// others have had before, and the time of the record.
type record struct{ sk, metAt uint64 }

// seen lists what the probes know of connections that have had a request, by inode.
func (g *generation) seen() (map[uint32]known, error) {
	all := map[uint32]known{}
	http := g.set.Named("http")
	if http == nil {
		return all, nil
	}
	servers := map[record]serving{}
	err := http.Rows("goroutines", []string{"key.g", "value.started_at", "value.sk", "value.met_at"}, func(n []uint64) {
		at := record{n[2], n[3]}
		if s, ok := servers[at]; !ok || n[1] < s.startedAt {
			servers[at] = serving{n[0], n[1]}
		}
	})
	if err != nil {
		return nil, err
	}
	fields := []string{"key", "value.met_at", "value.accepted_at", "value.accept_queue", "value.requests", "value.inode"}
	return all, http.Rows("connections", fields, func(n []uint64) {
		if inode := uint32(n[5]); inode != 0 {
			all[inode] = known{servers[record{n[0], n[1]}], n[2], n[3], n[4]}
		}
	})
}

func (k known) tell(c *timeline.Connection, booted time.Time) {
	if k.acceptedAt != 0 {
		c.Accepted = booted.Add(time.Duration(k.acceptedAt))
		c.Opened = c.Accepted.Add(-time.Duration(k.acceptQueue))
	}
	if k.startedAt != 0 {
		c.Request = booted.Add(time.Duration(k.startedAt))
	}
	c.Requests = uint32(k.requests)
}

// connectionsOf lists the connections of a process.
func (o *Observer) connectionsOf(pid uint32, listeners []service.Listener, sockets map[uint32]sockdiag.Socket, seen map[uint32]known, booted time.Time) ([]timeline.Connection, error) {
	descriptors, err := o.goroutines.Descriptors(pid)
	if err != nil {
		return nil, err
	}
	var all []timeline.Connection
	var addresses []uint64 // of their goroutines
	for _, d := range descriptors {
		socket, ok := sockets[uint32(d.Socket())]
		if !ok || !servedBy(listeners, socket) {
			continue
		}
		c := describe(socket)
		c.PID, c.FD = pid, d.FD
		k := seen[socket.Inode]
		k.tell(&c, booted)
		all, addresses = append(all, c), append(addresses, cmp.Or(k.g, d.Waiting[0]))
	}
	goroutines, err := o.goroutines.At(pid, addresses)
	for i, address := range addresses {
		if g, ok := goroutines[address]; ok { // or it has ended meanwhile
			all[i].Goroutine = &timeline.Goroutine{ID: g.ID, Parent: g.Parent, Status: g.Status, WaitReason: g.WaitReason, CreatedBy: g.CreatedBy}
		}
	}
	return all, err
}
