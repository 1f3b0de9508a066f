// SPDX-License-Identifier: Apache-2.0

// Package service knows which services run on this machine: their processes,
// their executables and their listening sockets, as they come and go. It is
// woken by events (a socket begins to listen, a process executes or ends) and
// reads /proc for the process that an event names, never on a timer.
package service

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/route"
)

// Registry is what is known of services. It implements metric.Resolver.
type Registry struct {
	ownNetns uint32
	now      func() time.Time
	meet     func(tgid uint32) // asks for a process to be examined; nil without discovery

	mu          sync.Mutex
	config      *config.Config
	generation  uint64
	questioned  map[uint32]bool // processes asked about in this generation: the others may come and go without a new one
	processes   map[uint32]*process
	ended       map[processKey]*ended // processes that ended, until their counts are served
	executables map[fileKey]*executable
	numbers     map[uint32]*executable
	listeners   map[metric.Listener]*listener
	sockets     map[uint64]*socket
	descriptors map[uint32]map[uint64]int // of processes that listen, by inode of the socket
	services    map[string]*service
	paths       *route.Limiter
}

// processKey tells a process from a later one with the same number, as far as the
// executable is known; 0 stands for any.
type processKey struct{ tgid, executable uint32 }

// ended is what a process was.
type ended struct {
	service string
	gone    departure
}

// process is a live process.
type process struct {
	tgid       uint32
	executable *executable // nil until it was examined, or for a kernel thread
	facts      config.Process
	service    string
}

// listener is the identity under which sockets are counted.
type listener struct {
	sockets map[uint64]*socket // open ones
	gone    departure
	service string // of the last owner, for the time after
	asked   bool   // since the last scrape: a map still has rows of it

	// replaced is set when a namespace with another cookie has got the inode of the
	// listener's: the two would share their series. Cookies are not in the order in
	// which namespaces are made: each CPU has its own range (include/linux/cookie.h).
	replaced bool
}

// socket is a listening TCP socket.
type socket struct {
	inode    uint64
	listener metric.Listener
	owner    uint32 // the first process that accepted; before, the one that listened
	orphan   bool   // no process is known to hold it
	workers  map[uint32]string
	accepted bool
	closed   bool
}

// service is a name under which processes are counted.
type service struct {
	gone      departure
	processes int
	learned   map[string]bool
	templates *route.Set
}

// departure tells when something has gone, and whether its last values have been
// served since.
type departure struct {
	at     time.Time // zero while it is there
	served bool
}

// How long the last values of what has gone are served: at least for a short
// while, so that two Prometheus servers see them, then until a scrape has seen
// them.
const longestRetention = 5 * time.Minute

func (d departure) keep(now time.Time, retention time.Duration) bool {
	if d.at.IsZero() {
		return true
	}
	age := now.Sub(d.at)
	return age < retention || !d.served && age < longestRetention
}

// New returns an empty registry.
func New(c *config.Config) (*Registry, error) {
	inode, err := netnsOf("self")
	if err != nil {
		return nil, err
	}
	r := &Registry{
		ownNetns: inode, now: time.Now, config: c,
		processes: map[uint32]*process{}, ended: map[processKey]*ended{},
		executables: map[fileKey]*executable{}, numbers: map[uint32]*executable{},
		listeners: map[metric.Listener]*listener{}, sockets: map[uint64]*socket{}, descriptors: map[uint32]map[uint64]int{},
		services: map[string]*service{}, questioned: map[uint32]bool{},
		paths: route.NewLimiter(c.Limits.PathsPerService),
	}
	r.reserveAll()
	return r, nil
}

var _ metric.Resolver = (*Registry)(nil)

// Generation changes with every answer.
func (r *Registry) Generation() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generation
}

// newGeneration says that an answer given before may be another one now.
func (r *Registry) newGeneration() {
	r.generation++
	clear(r.questioned)
}

// NetworkNamespace is "" for the exporter's own namespace.
func (r *Registry) NetworkNamespace(inode uint32) string {
	if inode == r.ownNetns {
		return ""
	}
	return formatUint(uint64(inode))
}

// ServiceOfListener names the service that owns a listener.
func (r *Registry) ServiceOfListener(l metric.Listener) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listenerOf(l).service
}

// ServiceOfLocalAddress names the service that accepted a connection with a local
// address, and its listener: the one of this very address, else the one of every
// address. [::] serves IPv4 too, unless the listener was told otherwise. An open
// listener comes before one that has gone.
func (r *Registry) ServiceOfLocalAddress(local metric.Listener) (service string, listener metric.Listener, ok bool) {
	addresses := []netip.Addr{local.Address.Addr(), netip.IPv6Unspecified()}
	if local.Address.Addr().Is4() {
		addresses = []netip.Addr{local.Address.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, address := range addresses {
		local.Address = netip.AddrPortFrom(address, local.Address.Port())
		known, found := r.listeners[local]
		if found && (!ok || len(known.sockets) > 0) {
			service, listener, ok = known.service, local, true
		}
		if found && len(known.sockets) > 0 {
			break
		}
	}
	return service, listener, ok
}

// listenerOf returns a listener. One that was never announced is taken for one
// that has just gone: if it is real, the announcement is on its way.
func (r *Registry) listenerOf(l metric.Listener) *listener {
	known, ok := r.listeners[l]
	if !ok {
		known = &listener{sockets: map[uint64]*socket{}, gone: departure{at: r.now()}}
		r.listeners[l] = known
	}
	known.asked = true
	return known
}

// ListenerAlive tells whether a listener's values should be served.
func (r *Registry) ListenerAlive(l metric.Listener) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.listenerOf(l)
	return !known.replaced && known.gone.keep(r.now(), r.config.Limits.SeriesRetention)
}

// Worker names a process and its descriptor of a listening socket, PID/FD. Who
// accepts is the owner of the socket, whoever made it: a socket may be
// inherited, or handed over by a service manager that keeps it too.
func (r *Registry) Worker(tgid uint32, inode uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sockets[inode]
	if !ok {
		return formatUint(uint64(tgid))
	}
	if name, ok := s.workers[tgid]; ok {
		return name
	}
	name := formatUint(uint64(tgid))
	if fd, ok := r.descriptor(tgid, inode); ok {
		name += "/" + formatUint(uint64(fd))
	}
	s.workers[tgid] = name
	if !s.accepted && !s.closed {
		s.accepted = true
		r.own(s, tgid)
	}
	return name
}

// descriptor finds by which descriptor a process holds a socket. All sockets of
// the process are read at once and kept: a server may listen on a thousand.
func (r *Registry) descriptor(tgid uint32, inode uint64) (fd int, held bool) {
	if fd, known := r.descriptors[tgid][inode]; known && holds(tgid, fd, inode) {
		return fd, true
	}
	r.descriptors[tgid] = socketsOf(tgid)
	fd, held = r.descriptors[tgid][inode]
	return fd, held
}

// own makes a process the owner of a socket.
func (r *Registry) own(s *socket, tgid uint32) {
	s.owner, s.orphan = tgid, false
	r.newGeneration()
	if p, ok := r.processes[tgid]; ok {
		p.facts.Ports = r.portsOf(tgid)
		r.rename(p)
		r.listenerOf(s.listener).service = p.service
	}
}

// portsOf lists the ports that a process listens on.
func (r *Registry) portsOf(tgid uint32) []uint16 {
	var ports []uint16
	for _, s := range r.sockets {
		if s.owner == tgid && !s.closed {
			ports = append(ports, s.listener.Address.Port())
		}
	}
	return ports
}

// ServiceOfProcess names the service of a process that executes the executable
// with a number, or any where that is 0.
func (r *Registry) ServiceOfProcess(tgid, number uint32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.questioned[tgid] = true
	p, ok := r.processes[tgid]
	if ok && (number == 0 || p.executable != nil && p.executable.number == number) {
		return p.service
	}
	if e, ok := r.ended[processKey{tgid, number}]; ok {
		return e.service
	}
	if x, ok := r.numbers[number]; ok {
		return x.name()
	}
	if number == 0 && tgid != 0 {
		return r.stranger(tgid)
	}
	return ""
}

// stranger names the service of a process that neither executed a program nor
// listened since the exporter was started: one that was forked, such as the
// worker of a pre-forking server. It is none the next time.
func (r *Registry) stranger(tgid uint32) string {
	x, err := executableOf(tgid)
	if err != nil {
		return "" // it has ended, or is a thread of the kernel
	}
	if r.meet != nil {
		r.meet(tgid)
	}
	name, _ := r.config.ServiceFor(factsOf(tgid, x.path))
	return name
}

// ProcessAlive tells whether a process runs and executes the executable with a
// number, or any where that is 0.
func (r *Registry) ProcessAlive(tgid, number uint32) bool {
	r.mu.Lock()
	p, ok := r.processes[tgid]
	r.mu.Unlock()
	if ok {
		return number == 0 || p.executable.number == number
	}
	return processExists(tgid) // seen by a probe before the event has come
}

// ServiceAlive tells whether a service's values should be served. Those of
// processes that are not known always are: the sum must not step back when one
// of them ends.
func (r *Registry) ServiceAlive(name string) bool {
	if name == "" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.services[name]
	return ok && s.gone.keep(r.now(), r.config.Limits.SeriesRetention)
}

// Config is the configuration in force.
func (r *Registry) Config() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config
}

// HTTPServices names the services that listen and of which requests are observed, each
// once: many a Go program has net/http in it as a client.
func (r *Registry) HTTPServices() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, p := range r.processes {
		if p.executable != nil && p.executable.attached["http"] != nil && len(p.facts.Ports) > 0 && !slices.Contains(all, p.service) {
			all = append(all, p.service)
		}
	}
	return all
}

// SlowerThan lists the processes of services for which the configuration says which
// requests are slow.
func (r *Registry) SlowerThan() map[uint32]time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	given := map[string]time.Duration{}
	for _, s := range r.config.Services {
		if s.SlowerThan > 0 {
			given[s.Name] = s.SlowerThan
		}
	}
	all := map[uint32]time.Duration{}
	for tgid, p := range r.processes {
		if threshold, ok := given[p.service]; ok {
			all[tgid] = threshold
		}
	}
	return all
}

// Served says that a scrape has been answered: what has gone may be forgotten
// when its time is up.
func (r *Registry) Served() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, retention := r.now(), r.config.Limits.SeriesRetention
	for identity, l := range r.listeners {
		l.gone.served = true
		// Forgotten too early, it would be met again as one that has just gone.
		if dead := l.replaced || !l.gone.keep(now, retention); dead && !l.asked {
			delete(r.listeners, identity)
			r.newGeneration()
		}
		l.asked = false
	}
	for inode, s := range r.sockets {
		if _, ok := r.listeners[s.listener]; s.closed && !ok {
			delete(r.sockets, inode)
		}
	}
	for name, s := range r.services {
		if s.gone.served = true; !s.gone.keep(now, retention) {
			delete(r.services, name)
			r.paths.Forget(name)
			r.reserve(name)
		}
	}
	for key, e := range r.ended {
		if e.gone.served = true; !e.gone.keep(now, retention) {
			delete(r.ended, key)
		}
	}
}

// serviceNamed returns a service, new ones too.
func (r *Registry) serviceNamed(name string) *service {
	s, ok := r.services[name]
	if !ok {
		s = &service{learned: map[string]bool{}}
		r.services[name] = s
	}
	return s
}
