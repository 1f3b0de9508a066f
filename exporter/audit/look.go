// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// Source is where facts come from. The zero Source is this machine, as far as
// the caller may see it, without what only probes know.
type Source struct {
	Procfs string // "/proc" where empty
	Sysfs  string // "/sys" where empty
	// Owners names the owners of listening sockets, by inode; FindOwners where it
	// is nil. With an error it may still return some.
	Owners func(inodes []uint32) (map[uint32]Owner, error)
	// Metrics are those of a running exporter, which knows the live http.Servers;
	// nil where there is none. NoMetrics says why.
	Metrics   *Metrics
	NoMetrics string
	// Rings are the receive rings of network devices, by name.
	Rings func() (map[string]Ring, error)

	// Tests have no kernel.
	sockets     func(each func(*sockdiag.Socket)) error // listSockets where nil
	hiddenMPTCP func() string                           // mptcpHidden where nil
}

// Owner is the process that holds a listening socket.
type Owner struct {
	PID     uint32
	Service string
}

// Look reads the facts. It does not fail: what can't be read is missing, with
// the reason.
func Look(s Source) *Facts {
	s.Procfs, s.Sysfs = cmp.Or(s.Procfs, "/proc"), cmp.Or(s.Sysfs, "/sys")
	if s.Owners == nil {
		s.Owners = func(inodes []uint32) (map[uint32]Owner, error) { return FindOwners(s.Procfs, inodes, BaseName) }
	}
	if s.Rings == nil {
		s.Rings = func() (map[string]Ring, error) { return nil, errors.New("nobody asked for the rings of devices") }
	}
	if s.sockets == nil {
		s.sockets = listSockets
	}
	if s.hiddenMPTCP == nil {
		s.hiddenMPTCP = mptcpHidden
	}
	f := &Facts{Subjects: map[Kind][]Subject{}, Unseen: map[Kind]string{}, procfs: s.Procfs, sysctls: map[string]Value{}}
	f.Host.Fields = map[string]Value{}
	f.readCounters()
	f.readSoftnet()
	f.readPortRange()
	f.readOwners(s, f.readSockets(s))
	f.readServers(s)
	f.readDevices(s)
	return f
}

// listener is the sockets that listen on one address: one, or an SO_REUSEPORT
// group.
type listener struct {
	address  netip.AddrPort
	inodes   []uint32
	backlog  uint32 // the smallest of the group
	queue    uint32 // the longest
	drops    uint64 // all together
	mptcp    Value
	fastopen Value
}

// readSockets fills the host's numbers of sockets and returns the listeners by
// address.
func (f *Facts) readSockets(s Source) []*listener {
	byAddress := map[netip.AddrPort]*listener{}
	ports := map[uint16]bool{}
	type destination struct {
		to   sockdiag.Endpoint
		from uint16 // TIME_WAIT of a listener's port is an incoming connection's
	}
	waiting := map[destination]int{}
	hidden := s.hiddenMPTCP()
	err := s.sockets(func(one *sockdiag.Socket) {
		if one.State != sockdiag.Listen {
			waiting[destination{one.Remote, one.Local.Port}]++
			return
		}
		ports[one.Local.Port] = true
		address := one.Local.AddrPort()
		l := byAddress[address]
		if l == nil {
			l = &listener{address: address, backlog: one.Limit, mptcp: BoolOf(one.MPTCP)}
			if hidden != "" && !one.MPTCP {
				l.mptcp = Unknown(hidden)
			}
			byAddress[address] = l
		}
		l.inodes = append(l.inodes, one.Inode)
		l.backlog, l.queue = min(l.backlog, one.Limit), max(l.queue, one.Queue)
		l.drops += uint64(one.Drops)
	})
	host := f.Host.Fields
	host["time_wait"] = numberOr(timeWait(f.procfs))
	if err != nil {
		f.Unseen[Listener] = err.Error()
		f.Unseen[Service] = err.Error()
		for _, name := range []string{"listeners", "fastopen_listeners", "time_wait_outgoing", "time_wait_busiest", "busiest_destination"} {
			host[name] = Unknown(err.Error())
		}
		return nil
	}
	outgoing := 0
	to := map[netip.AddrPort]int{}
	for d, n := range waiting {
		if !ports[d.from] {
			outgoing += n
			to[d.to.AddrPort()] += n
		}
	}
	var busiest netip.AddrPort
	for d, n := range to {
		if n > to[busiest] || n == to[busiest] && d.Compare(busiest) < 0 {
			busiest = d
		}
	}
	host["time_wait_outgoing"], host["time_wait_busiest"] = NumberOf(float64(outgoing)), NumberOf(float64(to[busiest]))
	host["busiest_destination"] = TextOf("")
	if busiest.IsValid() {
		host["busiest_destination"] = TextOf(busiest.String())
	}
	all := slices.SortedFunc(maps.Values(byAddress), func(a, b *listener) int { return a.address.Compare(b.address) })
	f.readFastOpen(all)
	return all
}

// readFastOpen finds the Fast Open queues, which sock_diag doesn't tell.
func (f *Facts) readFastOpen(all []*listener) {
	limits, err := fastOpenLimits(f.procfs)
	with := 0
	for _, l := range all {
		l.fastopen = Unknown(fmt.Sprintf("%s/net/tcp no longer has the socket", f.procfs))
		if err != nil {
			l.fastopen = Unknown(err.Error())
		}
		for _, inode := range l.inodes {
			if limit, ok := limits[inode]; ok {
				l.fastopen = NumberOf(max(limit, l.fastopen.number))
			}
		}
		if l.fastopen.number > 0 {
			with++
		}
	}
	f.Host.Fields["listeners"] = NumberOf(float64(len(all)))
	f.Host.Fields["fastopen_listeners"] = NumberOf(float64(with))
	if err != nil {
		f.Host.Fields["fastopen_listeners"] = Unknown(err.Error())
	}
}

// readOwners fills listeners and services.
func (f *Facts) readOwners(s Source, listeners []*listener) {
	var inodes []uint32
	for _, l := range listeners {
		inodes = append(inodes, l.inodes...)
	}
	owners, err := s.Owners(inodes)
	hidden := "no process that can be seen from here holds it"
	if err != nil {
		hidden = err.Error()
	}
	processes := map[string][]uint32{}
	var ownerless []string
	executables := map[uint32]Value{} // whether a process's is Go's
	for _, l := range listeners {
		subject := l.subject()
		subject.Fields["service"], subject.Fields["built_by_go"] = Unknown(hidden), Unknown(hidden)
		found := false
		for _, inode := range l.inodes {
			owner, ok := owners[inode]
			if !ok || owner.Service == "" { // the registry knows the socket only
				continue
			}
			if !found {
				found = true
				subject.Service = owner.Service
				subject.Fields["service"] = TextOf(owner.Service)
				if _, looked := executables[owner.PID]; !looked {
					executables[owner.PID] = builtByGo(f.procfs, owner.PID)
				}
				subject.Fields["built_by_go"] = executables[owner.PID]
			}
			processes[owner.Service] = append(processes[owner.Service], owner.PID)
		}
		if subject.Service != "" {
			subject.Name += " (" + printable(subject.Service) + ")"
		}
		if !found {
			ownerless = append(ownerless, subject.Listener)
		}
		f.Subjects[Listener] = append(f.Subjects[Listener], subject)
	}
	for _, name := range slices.Sorted(maps.Keys(processes)) {
		pids := slices.Sorted(slices.Values(processes[name]))
		f.Subjects[Service] = append(f.Subjects[Service], f.service(name, slices.Compact(pids), s))
	}
	if len(ownerless) > 0 {
		f.Unseen[Service] = fmt.Sprintf("services of %s: %s", few(ownerless), hidden)
	}
}

// few names the first of many.
func few(names []string) string {
	if len(names) > 3 {
		names = append(slices.Clone(names[:3]), fmt.Sprintf("%d more", len(names)-3))
	}
	return strings.Join(names, ", ")
}

func (l *listener) subject() Subject {
	return Subject{
		Name:     l.address.String(),
		Listener: l.address.String(),
		Fields: map[string]Value{
			"address":  TextOf(l.address.String()),
			"port":     NumberOf(float64(l.address.Port())),
			"loopback": BoolOf(l.address.Addr().IsLoopback()),
			"backlog":  NumberOf(float64(l.backlog)),
			"queue":    NumberOf(float64(l.queue)),
			"drops":    NumberOf(float64(l.drops)),
			"mptcp":    l.mptcp,
			"fastopen": l.fastopen,
		},
	}
}

// service describes a service by the process that is nearest to its limit.
func (f *Facts) service(name string, pids []uint32, source Source) Subject {
	s := Subject{Name: printable(name), Service: name, Fields: map[string]Value{}}
	source.readWindow(name, s.Fields)
	s.Fields["name"] = TextOf(name)
	var errs []error
	nearest := -1.0
	for _, pid := range pids {
		open, limit, err := openFiles(f.procfs, pid)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if used := open / limit; used > nearest {
			nearest = used
			s.Fields["pid"], s.Fields["open_files"], s.Fields["nofile_limit"] = NumberOf(float64(pid)), NumberOf(open), NumberOf(limit)
		}
	}
	if err := errors.Join(errs...); err != nil { // the nearest may be the one that could not be read
		s.Fields["pid"], s.Fields["open_files"], s.Fields["nofile_limit"] = Unknown(err.Error()), Unknown(err.Error()), Unknown(err.Error())
	}
	return s
}
