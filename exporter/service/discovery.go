// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// Discovery keeps a Registry up to date and attaches probes to the executables
// that it finds.
type Discovery struct {
	registry *Registry
	log      *slog.Logger

	mu     sync.Mutex
	probes []*probe.Probe

	events chan func() // what is done one after the other
	done   chan struct{}
}

// NewDiscovery prepares the discovery of services.
func NewDiscovery(r *Registry, log *slog.Logger) *Discovery {
	d := &Discovery{registry: r, log: log, events: make(chan func(), 256), done: make(chan struct{})}
	r.meet = func(tgid uint32) { d.after(0, func() { d.meets(tgid) }) }
	return d
}

func (d *Discovery) goProbes() []*probe.Probe {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.probes
}

// Run attaches the probes in set to what runs now and to what will, until the
// context ends; then it closes them. events is the ring buffer of the probe "service", wishes that
// of the probe "http" or nil. ready is called when the processes that run now
// have been seen.
func (d *Discovery) Run(ctx context.Context, set *probe.Set, events, wishes *ebpf.Map, ready func()) error {
	for _, p := range set.Probes {
		if p.IsGo() {
			d.probes = append(d.probes, p)
		}
	}
	defer close(d.done)
	var readers []*ringbuf.Reader
	defer func() {
		for _, r := range readers {
			r.Close()
		}
	}()
	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read := func(m *ebpf.Map, handle func(raw []byte)) error {
		if m == nil {
			return nil
		}
		r, err := ringbuf.NewReader(m)
		if err != nil {
			return fmt.Errorf("read ring buffer: %w", err)
		}
		readers = append(readers, r)
		wait.Go(func() {
			<-ctx.Done()
			r.Close()
		})
		wait.Go(func() { d.readRing(ctx, r, handle) })
		return nil
	}
	if err := read(events, func(raw []byte) { d.handleEvent(raw) }); err != nil {
		return err
	}
	if err := read(wishes, func(raw []byte) { d.handleWish(set, raw) }); err != nil {
		return err
	}
	leases := make(chan os.Signal, 1)
	signal.Notify(leases, syscall.SIGIO)
	defer signal.Stop(leases)
	d.scan()
	ready()
	for {
		select {
		case <-leases:
			d.yield()
		case <-ctx.Done():
			wait.Wait()
			d.close(set)
			return nil
		case do := <-d.events:
			do()
		}
	}
}

func (d *Discovery) readRing(ctx context.Context, r *ringbuf.Reader, handle func([]byte)) {
	var record ringbuf.Record
	for {
		if err := r.ReadInto(&record); err != nil {
			if !errors.Is(err, os.ErrClosed) && !errors.Is(err, ringbuf.ErrClosed) {
				d.log.Error("ring buffer can't be read", "error", err)
			}
			return
		}
		raw := append([]byte(nil), record.RawSample...)
		select {
		case d.events <- func() { handle(raw) }:
		case <-ctx.Done():
			return
		}
	}
}

// Events of bpf/service.bpf.c (enum event_kind).
const (
	eventListen = 1
	eventClose  = 2
	eventExec   = 3
	eventExit   = 4
)

// sizeofEvent is the size of struct event.
const sizeofEvent = 48

func (d *Discovery) handleEvent(raw []byte) {
	if len(raw) < sizeofEvent {
		return
	}
	tgid := binary.NativeEndian.Uint32(raw[4:])
	inode := binary.NativeEndian.Uint64(raw[8:])
	switch binary.NativeEndian.Uint32(raw) {
	case eventListen:
		d.listens(tgid, inode, metric.DecodeListener(raw[16:]))
	case eventClose:
		d.closes(inode)
	case eventExec:
		d.executes(tgid)
	case eventExit:
		d.ends(tgid)
	}
}

// Wishes of bpf/http.bpf.c (enum wish_kind).
const (
	wishDrain  = 1
	wishRouter = 2
)

func (d *Discovery) handleWish(set *probe.Set, raw []byte) {
	if len(raw) < 8 {
		return
	}
	switch binary.NativeEndian.Uint32(raw) {
	case wishDrain:
		err := set.Named("http").Drain("request_nanoseconds")
		if timeline := set.Named("timeline"); timeline != nil {
			err = errors.Join(err, timeline.Drain("request_stages"))
		}
		if err != nil {
			d.log.Error("requests can't be drained", "error", err)
		}
	case wishRouter:
		d.demand(binary.NativeEndian.Uint32(raw[4:]))
	}
}

// scan looks at every process once, at start.
func (d *Discovery) scan() {
	all, err := sockdiag.Processes(proc)
	if err != nil {
		d.log.Error("processes can't be listed", "error", err)
		return
	}
	for _, tgid := range all {
		d.executes(tgid)
	}
}

// executes examines a process that executes a new program.
func (d *Discovery) executes(tgid uint32) {
	seen, err := executableOf(tgid)
	if err != nil {
		if !isGone(err) {
			d.log.Debug("process can't be examined", "pid", tgid, "error", err)
		}
		return
	}
	d.ends(tgid) // what it was before
	x := d.executable(seen, tgid)
	p := &process{tgid: tgid, executable: x, facts: factsOf(tgid, seen.path)}
	for _, attached := range x.attached {
		if err := attached.AddProcess(tgid); err != nil {
			d.log.Warn("process is introduced late", "pid", tgid, "error", err)
		}
	}
	r := d.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	x.processes[tgid] = p
	r.processes[tgid] = p
	p.facts.Ports = r.portsOf(tgid)
	r.join(p)
}

// meets examines a process that no event has told of.
func (d *Discovery) meets(tgid uint32) {
	d.registry.mu.Lock()
	_, known := d.registry.processes[tgid]
	d.registry.mu.Unlock()
	if !known {
		d.executes(tgid)
	}
}

// executable returns what is known of the file that a process was seen to
// execute, after a look at it if it is new.
func (d *Discovery) executable(seen *executable, tgid uint32) *executable {
	r := d.registry
	r.mu.Lock()
	known, ok := r.executables[seen.key]
	// An inode can be another file's only after the last process has left it.
	if ok && len(known.processes) == 0 && known.state != seen.state {
		r.mu.Unlock()
		d.forget(known)
		r.mu.Lock()
		ok = false
	}
	if ok {
		if known.detach != nil {
			known.detach.Stop()
			known.detach = nil
			release(known.file)
		}
		r.mu.Unlock()
		return known
	}
	for seen.number = 1; r.numbers[seen.number] != nil; seen.number++ {
	}
	r.executables[seen.key], r.numbers[seen.number] = seen, seen
	r.mu.Unlock()
	found := identity{goVersion: runtime.Version(), reasons: map[string]string{"http": "the exporter does not observe itself"}}
	if tgid != uint32(os.Getpid()) {
		found = d.identify(seen, tgid)
	}
	r.mu.Lock()
	seen.identity = found
	r.mu.Unlock()
	return seen
}

// ends forgets a process, and after a while the executable that it was the last
// one to execute.
func (d *Discovery) ends(tgid uint32) {
	r := d.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.processes[tgid]
	if !ok {
		return
	}
	r.leave(p)
	x := p.executable
	delete(x.processes, tgid)
	if len(x.processes) == 0 {
		d.linger(x)
	}
	var orphans []*socket
	for _, s := range r.sockets {
		if s.owner == tgid && !s.closed {
			orphans = append(orphans, s)
		}
	}
	if len(orphans) > 0 {
		// A socket that is not closed by now has been inherited or handed over.
		d.after(time.Second, func() { d.adopt(orphans) })
	}
}

// after does something in the order of events, later.
func (d *Discovery) after(wait time.Duration, do func()) *time.Timer {
	return time.AfterFunc(wait, func() {
		select {
		case d.events <- do:
		case <-d.done:
		}
	})
}

// linger leaves the probes in an executable for a while, if that is safe.
func (d *Discovery) linger(x *executable) {
	wait := linger
	if x.file == nil {
		wait = 0
	} else if err := lease(x.file, x.state); err != nil {
		d.log.Debug("probes do not linger", "executable", x.path, "reason", err)
		wait = 0
	}
	x.detach = d.after(wait, func() { d.forget(x) })
}

// yield detaches probes from the executables that somebody waits to write to.
func (d *Discovery) yield() {
	r := d.registry
	r.mu.Lock()
	var busy []*executable
	for _, x := range r.executables {
		if x.detach != nil && x.file != nil && wanted(x.file) {
			busy = append(busy, x)
		}
	}
	r.mu.Unlock()
	for _, x := range busy {
		d.forget(x)
	}
}

// forget detaches probes from an executable that nobody executes any more.
func (d *Discovery) forget(x *executable) {
	r := d.registry
	r.mu.Lock()
	if len(x.processes) > 0 || r.executables[x.key] != x {
		r.mu.Unlock()
		return
	}
	delete(r.executables, x.key)
	delete(r.numbers, x.number)
	if x.detach != nil {
		x.detach.Stop()
	}
	r.mu.Unlock()
	for name, attached := range x.attached {
		attached.Close()
		d.log.Info("probe detached: no process left", "probe", name, "executable", x.path)
	}
	if x.file != nil {
		release(x.file)
		x.file.Close()
	}
}

// close closes the probes, which detaches all of them at once, and then lets go of
// the executables.
func (d *Discovery) close(set *probe.Set) {
	if err := set.Close(); err != nil {
		d.log.Error("probes can't be closed", "error", err)
	}
	for _, x := range d.registry.executables {
		if x.file != nil {
			x.file.Close()
		}
	}
}

// listens notes a listening socket and the process that holds it.
func (d *Discovery) listens(tgid uint32, inode uint64, l metric.Listener) {
	r := d.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.sockets[inode]
	if known && !s.closed {
		if _, owned := r.processes[s.owner]; owned {
			return // another process holds the same socket
		}
	} else {
		s = &socket{inode: inode, listener: l, workers: map[uint32]string{}}
		r.sockets[inode] = s
	}
	for identity, other := range r.listeners {
		if identity.Netns == l.Netns && identity.Cookie != l.Cookie {
			other.replaced = true
		}
	}
	listener := r.listenerOf(l)
	listener.sockets[inode] = s
	listener.gone = departure{}
	r.own(s, tgid)
}

// closes notes that a listening socket was closed.
func (d *Discovery) closes(inode uint64) {
	r := d.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sockets[inode]
	if !ok || s.closed {
		return
	}
	s.closed = true
	l := r.listenerOf(s.listener)
	delete(l.sockets, inode)
	if len(l.sockets) == 0 {
		l.gone = departure{at: r.now()}
	}
	r.newGeneration()
}

// adopt finds the processes that hold the sockets of one that has ended.
func (d *Discovery) adopt(orphans []*socket) {
	r := d.registry
	for _, s := range orphans {
		r.mu.Lock()
		_, owned := r.processes[s.owner]
		closed := s.closed
		r.mu.Unlock()
		if closed || owned {
			continue
		}
		if tgid, _, found := holderOf(s.inode); found {
			d.listens(tgid, s.inode, s.listener)
		}
	}
}

// join counts a process among those of its service.
func (r *Registry) join(p *process) {
	p.service, _ = r.config.ServiceFor(p.facts)
	s := r.serviceNamed(p.service)
	s.processes++
	s.gone = departure{}
	changes := r.questioned[p.tgid]
	for _, socket := range r.sockets {
		if socket.owner == p.tgid && !socket.closed {
			r.listenerOf(socket.listener).service = p.service
			changes = true
		}
	}
	if changes {
		r.newGeneration()
	}
}

// leave begins no generation: an ended process keeps its name.
func (r *Registry) leave(p *process) {
	delete(r.processes, p.tgid)
	delete(r.descriptors, p.tgid)
	gone := ended{p.service, departure{at: r.now()}}
	for _, number := range []uint32{p.executable.number, 0} {
		r.ended[processKey{p.tgid, number}] = &gone
	}
	s := r.serviceNamed(p.service)
	if s.processes--; s.processes == 0 {
		s.gone = departure{at: r.now()}
	}
}

// rename finds the service of a process anew, after something that it is
// matched by has changed.
func (r *Registry) rename(p *process) {
	name, _ := r.config.ServiceFor(p.facts)
	if name == p.service {
		return
	}
	old := r.serviceNamed(p.service)
	if old.processes--; old.processes == 0 {
		old.gone = departure{at: r.now()}
	}
	r.join(p)
}

// SetConfig puts another configuration in force: processes may get other names,
// requests other routes.
func (r *Registry) SetConfig(c *config.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.config = c
	r.reserveAll()
	for _, p := range r.processes {
		r.rename(p)
	}
	r.newGeneration()
}
