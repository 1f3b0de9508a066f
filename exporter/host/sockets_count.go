// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// countedNamespace is what is remembered of a network namespace from one count to
// the next.
type countedNamespace struct {
	inode     uint32
	label     string
	cookie    uint64
	counted   time.Time
	listeners map[uint16][]*listening // by port
	outgoing  map[string]*socketGroup // by service
	waiting   map[uint64]time.Time    // since when a socket is in CLOSE_WAIT, by its cookie
}

// listening is an address that a socket listens on, or did a moment ago.
type listening struct {
	socketGroup
	sockdiag.Endpoint
	family uint8
	seen   time.Time
}

// What has listened keeps its connections for a while: a server that shuts down
// closes its listener first, and what it leaves is in FIN_WAIT2 for 60 s
// (tcp_fin_timeout) and in TIME_WAIT for another 60 s.
const listenerGone = 2 * time.Minute

// socketGroup is the sockets that share their labels but the state.
type socketGroup struct {
	service, listener string
	counts            [len(sockdiag.States)]uint32
	had               [len(sockdiag.States)]bool // not 0 in a count before
	oldest            time.Time                  // of those in CLOSE_WAIT
}

func (g *socketGroup) reset() {
	clear(g.counts[:])
	g.oldest = time.Time{}
}

// socketCount is one count of all namespaces.
type socketCount struct {
	sockets *sockets
	now     time.Time
	found   *Found

	services map[uint32]string // by process
	strays   []straySocket
	leaks    []leakedSocket

	// Of the namespace that is being counted:
	*countedNamespace
	ephemeral *portSet // nil if it could not be read
	used      portSet
	still     map[uint64]time.Time // what waiting will be
	unknown   bool                 // a socket in CLOSE_WAIT isn't in waiting
}

// straySocket is an outgoing connection that has yet to be assigned to a process.
type straySocket struct {
	namespace *countedNamespace
	inode     uint32
	state     uint8
	cookie    uint64
}

// leakedSocket is one in CLOSE_WAIT.
type leakedSocket struct {
	namespace *countedNamespace
	group     *socketGroup
	cookie    uint64
}

// destination is what an outgoing connection shares with all that can't have the
// same local port.
type destination struct {
	source [16]byte
	remote sockdiag.Endpoint
}

// maxDestinations bounds the memory for destinations, about 5 MiB. A dump comes in
// the order of a hash that has the ports in it, so a destination with many
// connections is met, and from then on counted, early.
const maxDestinations = 1 << 16

// namespace counts the network namespace that the calling thread is in.
func (c *socketCount) namespace(inode uint32) error {
	n, ok := c.sockets.namespaces[inode]
	if !ok {
		n = &countedNamespace{
			inode: inode, label: c.sockets.environment.Resolver.NetworkNamespace(inode),
			listeners: map[uint16][]*listening{}, outgoing: map[string]*socketGroup{}, waiting: map[uint64]time.Time{},
		}
		c.sockets.namespaces[inode] = n
	}
	ephemeral, errs := readSocketLimits(c.sockets.environment.Procfs, n.label, c.found)
	c.countedNamespace, c.ephemeral, c.used = n, ephemeral, portSet{}
	c.still, c.unknown = make(map[uint64]time.Time, len(n.waiting)), false
	clear(c.sockets.destinations)
	strays, leaks := len(c.strays), len(c.leaks)
	if err := c.dump(); err != nil {
		c.strays, c.leaks = c.strays[:strays], c.leaks[:leaks]
		errs = append(errs, err)
	} else {
		n.counted, n.waiting = c.now, c.still
		c.addPorts()
	}
	if err := firstErrors(errs); err != nil {
		return fmt.Errorf("network namespace %d: %w", inode, err)
	}
	return nil
}

func (c *socketCount) dump() error {
	diag, err := sockdiag.Open(c.sockets.buffer)
	if err != nil {
		return err
	}
	defer diag.Close()
	c.cookie = diag.NetnsCookie()
	c.reset()
	// An IPv6 listener has connections of both families, so listeners come first.
	// The kernel has them in a table of their own.
	if err := diag.Dump(onlyListen, 0, c.addListener); err != nil {
		return err
	}
	c.nameListeners()
	if err := diag.Dump(sockdiag.AllStates&^onlyListen, 0, c.add); err != nil {
		return err
	}
	if !c.unknown {
		return nil
	}
	return diag.Dump(1<<sockdiag.CloseWait, sockdiag.Info, c.addCloseWait)
}

const onlyListen = 1 << sockdiag.Listen

func (c *socketCount) reset() {
	for _, port := range c.listeners {
		for _, l := range port {
			l.reset()
		}
	}
	for _, g := range c.outgoing {
		g.reset()
	}
}

// addListener counts a listening socket. All of an SO_REUSEPORT group are one.
func (c *socketCount) addListener(s *sockdiag.Socket) {
	l := c.listenerOn(s)
	l.seen = c.now
	l.counts[s.State]++
	c.use(s.Local.Port)
}

func (c *socketCount) listenerOn(s *sockdiag.Socket) *listening {
	for _, l := range c.listeners[s.Local.Port] {
		if l.Endpoint == s.Local && l.family == s.Family {
			return l
		}
	}
	l := &listening{Endpoint: s.Local, family: s.Family}
	l.listener = l.address().String()
	c.listeners[s.Local.Port] = append(c.listeners[s.Local.Port], l)
	return l
}

// address is the listener's address as BPF programs tell it: IPv4 only if the socket
// is an IPv4 one.
func (l *listening) address() netip.AddrPort {
	if l.family == unix.AF_INET {
		return netip.AddrPortFrom(l.Addr(), l.Port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(l.IP), l.Port)
}

// wildcard tells whether it listens on all addresses.
func (l *listening) wildcard() bool {
	if l.family == unix.AF_INET {
		return l.IP == endpointAny4
	}
	return l.IP == [16]byte{}
}

var endpointAny4 = sockdiag.Address16(unix.AF_INET, []byte{0, 0, 0, 0})

// nameListeners finds the services of the listeners and forgets those that have gone.
func (c *socketCount) nameListeners() {
	for port, all := range c.listeners {
		all = slices.DeleteFunc(all, func(l *listening) bool { return c.now.Sub(l.seen) > listenerGone })
		if len(all) == 0 {
			delete(c.listeners, port)
			continue
		}
		c.listeners[port] = all
		for _, l := range all {
			l.service = c.sockets.environment.Resolver.ServiceOfListener(metric.Listener{Address: l.address(), Netns: c.inode, Cookie: c.cookie})
		}
	}
}

// listenerFor finds the listener that a connection came by: that on its local
// address, else that on all addresses. An IPv6 one has IPv4 connections, too, but
// not if an IPv4 one is there.
func (c *socketCount) listenerFor(s *sockdiag.Socket) *listening {
	if s.State == sockdiag.SynSent {
		return nil
	}
	var best *listening
	for _, l := range c.listeners[s.Local.Port] {
		switch {
		case l.IP == s.Local.IP:
			return l
		case !l.wildcard():
		case l.family == s.Family, l.family == unix.AF_INET6 && best == nil:
			best = l
		}
	}
	return best
}

// use notes that a port is taken and tells whether it is an ephemeral one.
func (c *socketCount) use(port uint16) bool {
	if c.ephemeral == nil || !c.ephemeral.has(port) {
		return false
	}
	c.used.add(port)
	return true
}

// add counts a socket that doesn't listen.
func (c *socketCount) add(s *sockdiag.Socket) {
	ephemeral := c.use(s.Local.Port)
	if s.State == sockdiag.CloseWait {
		if since, known := c.waiting[s.Cookie]; known {
			c.still[s.Cookie] = since
		} else {
			c.unknown = true
		}
	}
	if l := c.listenerFor(s); l != nil {
		c.countIn(c.countedNamespace, &l.socketGroup, s.State, s.Cookie)
		return
	}
	if ephemeral {
		c.countDestination(destination{s.Local.IP, s.Remote})
	}
	tgid, known := c.sockets.owners.of(s.Inode)
	if !known && c.sockets.owners.room(len(c.strays)) {
		c.strays = append(c.strays, straySocket{c.countedNamespace, s.Inode, s.State, s.Cookie})
		return
	}
	c.countIn(c.countedNamespace, c.groupOf(c.countedNamespace, tgid), s.State, s.Cookie)
}

func (c *socketCount) countIn(n *countedNamespace, g *socketGroup, state uint8, cookie uint64) {
	g.counts[state]++
	if state == sockdiag.CloseWait {
		c.leaks = append(c.leaks, leakedSocket{n, g, cookie})
	}
}

func (c *socketCount) countDestination(d destination) {
	all := c.sockets.destinations
	if _, known := all[d]; !known && len(all) >= maxDestinations {
		d = destination{}
	}
	all[d]++
}

// addCloseWait learns since when a socket is in CLOSE_WAIT: the peer's FIN came with
// an acknowledgement, and what came later (an answer to a keep-alive probe) only
// makes it seem younger. So the first answer is kept. A socket that came into the
// state after all were counted is left to the next count.
func (c *socketCount) addCloseWait(s *sockdiag.Socket) {
	if _, known := c.still[s.Cookie]; !known {
		c.still[s.Cookie] = c.now.Add(-s.LastAck)
	}
}

// assignOutgoing counts the outgoing connections that are new, by the processes that
// hold them.
func (c *socketCount) assignOutgoing() error {
	if len(c.strays) == 0 {
		return nil
	}
	inodes := make([]uint32, len(c.strays))
	for i, s := range c.strays {
		inodes[i] = s.inode
	}
	err := c.sockets.owners.find(inodes)
	for _, s := range c.strays {
		tgid, _ := c.sockets.owners.of(s.inode)
		c.countIn(s.namespace, c.groupOf(s.namespace, tgid), s.state, s.cookie)
	}
	if err != nil {
		return fmt.Errorf("find the holders of sockets: %w", err)
	}
	return nil
}

// ageLeaks finds the oldest socket in CLOSE_WAIT of each group.
func (c *socketCount) ageLeaks() {
	for _, leak := range c.leaks {
		since, known := leak.namespace.waiting[leak.cookie]
		if known && (leak.group.oldest.IsZero() || since.Before(leak.group.oldest)) {
			leak.group.oldest = since
		}
	}
}

// groupOf is the outgoing connections of a process's service.
func (c *socketCount) groupOf(n *countedNamespace, tgid uint32) *socketGroup {
	service, known := c.services[tgid]
	if !known {
		if tgid != 0 {
			service = c.sockets.environment.Resolver.ServiceOfProcess(tgid, 0)
		}
		if c.services == nil {
			c.services = map[uint32]string{}
		}
		c.services[tgid] = service
	}
	g, ok := n.outgoing[service]
	if !ok {
		g = &socketGroup{service: service}
		n.outgoing[service] = g
	}
	return g
}

// addPorts tells which ephemeral ports the sockets of the namespace have.
func (c *socketCount) addPorts() {
	if c.ephemeral == nil {
		return
	}
	c.found.Add(names.EphemeralPortsUsed, float64(c.used.size()), c.label)
	limit := int(c.sockets.options.Destinations)
	if limit == 0 {
		return
	}
	var top []busyDestination
	other := uint32(0)
	for d, ports := range c.sockets.destinations {
		other += ports
		busy := busyDestination{d, ports}
		if at, _ := slices.BinarySearchFunc(top, busy, busyDestination.compare); at < limit && d != (destination{}) {
			top = slices.Insert(top[:min(len(top), limit-1)], at, busy)
		}
	}
	for _, d := range top {
		other -= d.ports
		c.found.Add(names.EphemeralPortsByDestination, float64(d.ports), c.label, netip.AddrFrom16(d.source).Unmap().String(), d.remote.AddrPort().String())
	}
	if other > 0 {
		c.found.Add(names.EphemeralPortsByDestination, float64(other), c.label, "", "other")
	}
}

// busyDestination is a destination and the connections to it.
type busyDestination struct {
	destination
	ports uint32
}

// compare puts the busiest first; which of two equal ones is told must not change
// from scrape to scrape.
func (a busyDestination) compare(b busyDestination) int {
	return cmp.Or(cmp.Compare(b.ports, a.ports), bytes.Compare(a.remote.IP[:], b.remote.IP[:]), cmp.Compare(a.remote.Port, b.remote.Port), bytes.Compare(a.source[:], b.source[:]))
}

// addGroups tells the counts of a namespace. A series that there was once stays as
// long as its group has a socket, so that what has gone is 0.
func (c *socketCount) addGroups(n *countedNamespace) {
	add := func(g *socketGroup) (any bool) {
		if g.counts == ([len(sockdiag.States)]uint32{}) {
			return false
		}
		for state, count := range g.counts {
			if g.had[state] = g.had[state] || count > 0; g.had[state] {
				c.found.Add(names.SocketCount, float64(count), g.service, g.listener, n.label, sockdiag.States[state])
			}
		}
		if !g.oldest.IsZero() {
			c.found.Add(names.CloseWaitOldest, c.now.Sub(g.oldest).Seconds(), g.service, g.listener, n.label)
		}
		return true
	}
	for _, port := range n.listeners {
		for _, l := range port {
			add(&l.socketGroup)
		}
	}
	for service, g := range n.outgoing {
		if !add(g) {
			delete(n.outgoing, service)
		}
	}
}
