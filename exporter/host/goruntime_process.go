// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"hash/maphash"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/tcpslo/tcpslo/exporter/goroutine"
)

// goProcess is what is remembered of a process from one reading to the next.
type goProcess struct {
	leaks, descriptorLeaks goroutine.Leaks
	connections            goroutine.Connections
	held                   []heldConnections
}

// heldConnections are connections that a process should have closed.
type heldConnections struct {
	kind    FindingKind
	creator string
	line    string // of the go statement that created a goroutine that uses one
	count   int
	since   time.Time // of the first
	does    string    // what a goroutine that uses one does
}

func newGoProcess(options *GoRuntimeOptions) *goProcess {
	leaks := goroutine.Leaks{Window: time.Duration(options.Window), Windows: int(options.Windows)}
	return &goProcess{leaks: leaks, descriptorLeaks: leaks}
}

// judge ends a window with the descriptors and the goroutines that there are.
func (p *goProcess) judge(now time.Time, pid uint32, root string, descriptors []goroutine.Descriptor, all []goroutine.Goroutine) error {
	for _, g := range all {
		if g.MayLeak() {
			p.leaks.Add(g.ID, g.CreatedBy, g.CreatedAt)
		}
	}
	p.leaks.Judge(now)
	p.descriptorLeaks.Due(now)
	for _, d := range descriptors {
		if d.Waiting == [2]uint64{} { // else the peer can end it
			p.descriptorLeaks.Add(descriptorID(d), descriptorKind(d), "")
		}
	}
	p.descriptorLeaks.Judge(now)
	idle := p.connections.Judge(now, descriptors, all)
	p.held = nil
	if len(idle) == 0 {
		return nil
	}
	tcp, err := readTCP(filepath.Join(root, strconv.FormatUint(uint64(pid), 10)))
	if err != nil {
		return err
	}
	for _, u := range idle {
		if kind, ok := tcp.judge(u); ok {
			p.hold(kind, u)
		}
	}
	return nil
}

// hold counts a connection among those of its kind and its creator.
func (p *goProcess) hold(kind FindingKind, u goroutine.Unwatched) {
	does := u.User.WaitReason
	if does == "" {
		does = u.User.Status
	}
	for i := range p.held {
		if h := &p.held[i]; h.kind == kind && h.creator == u.CreatedBy {
			h.count++
			if u.Since.Before(h.since) {
				h.since = u.Since
			}
			return
		}
	}
	p.held = append(p.held, heldConnections{kind, u.CreatedBy, u.User.CreatedAt, 1, u.Since, does})
}

// tcpTable is what /proc/PID/net/tcp and tcp6 tell of a network namespace.
type tcpTable struct {
	sockets   map[uint64]tcpSocket // by inode
	listening map[uint64]bool      // by port
}

type tcpSocket struct{ state, port uint64 }

// States of include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpCloseWait   = 8
	tcpListen      = 10
)

// readTCP reads the table of the namespace of a process. It is read only when there
// is a connection that nobody waits for.
func readTCP(directory string) (*tcpTable, error) {
	fs, err := procfs.NewFS(directory)
	if err != nil {
		return nil, err
	}
	t := &tcpTable{map[uint64]tcpSocket{}, map[uint64]bool{}}
	for _, read := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
		lines, err := read()
		if err != nil && !isGone(err) { // there may be no IPv6
			return nil, err
		}
		for _, line := range lines {
			switch line.St {
			case tcpListen:
				t.listening[line.LocalPort] = true
			case tcpEstablished, tcpCloseWait:
				t.sockets[line.Inode] = tcpSocket{line.St, line.LocalPort}
			}
		}
	}
	return t, nil
}

// judge tells what is wrong with a connection that nobody waits for. Ok is false if
// nothing is: somebody works for it, or it waits in a pool of a client's.
func (t *tcpTable) judge(u goroutine.Unwatched) (kind FindingKind, ok bool) {
	socket, isTCP := t.sockets[u.Socket()]
	used, accepted := u.User.ID != 0, t.listening[socket.port]
	switch {
	case !isTCP:
		return "", false
	case accepted && !used:
		return hijackedForgotten, true
	case socket.state == tcpCloseWait:
		return closeWait, true
	}
	return "", false
}

// seed makes the IDs of descriptors.
var seed = maphash.MakeSeed()

// descriptorID tells a descriptor from a later one with the same number.
func descriptorID(d goroutine.Descriptor) uint64 {
	return maphash.String(seed, fmt.Sprint(d.FD, " ", d.Link))
}

// descriptorKind is "socket", "pipe", "anon_inode" or the directory of a file.
func descriptorKind(d goroutine.Descriptor) string {
	if strings.HasPrefix(d.Link, "/") {
		return filepath.Dir(d.Link)
	}
	kind, _, _ := strings.Cut(d.Link, ":")
	return kind
}

// findings tells all that is wrong with the process.
func (p *goProcess) findings(of Process) []Finding {
	var all []Finding
	add := func(kind FindingKind, count int, since time.Time, creator, line, summary string) {
		all = append(all, Finding{kind, of.Service, of.PID, count, since, creator, line, summary, remedies[kind]})
	}
	for _, l := range p.leaks.Suspected() {
		add(goroutineLeak, l.Count, l.Since, l.CreatedBy, l.CreatedAt, fmt.Sprintf("%d goroutines created by %s are left; window after window more of them, and none has ended", l.Count, l.CreatedBy))
	}
	for _, l := range p.descriptorLeaks.Suspected() {
		add(fdLeak, l.Count, l.Since, l.CreatedBy, "", fmt.Sprintf("%d descriptors (%s) are left open; window after window more of them, and none was closed", l.Count, l.CreatedBy))
	}
	for _, h := range p.held {
		add(h.kind, h.count, h.since, h.creator, h.line, h.summary())
	}
	return all
}

func (h heldConnections) summary() string {
	what, user := "accepted connections are open that no goroutine waits for or serves", "the last one that did was created by "+h.creator
	if h.kind == closeWait {
		what, user = "connections whose peer has gone are still open", fmt.Sprintf("used by goroutines created by %s (%s)", h.creator, h.does)
	}
	if h.creator == "" {
		user = "none was ever seen to wait for them"
	}
	return fmt.Sprintf("%d %s; %s", h.count, what, user)
}
