// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// maxOwned bounds how many outgoing connections are assigned to processes. It
// takes about 5 MiB for both maps of socketOwners; what is beyond has no service.
const maxOwned = 1 << 17

// socketOwners knows which process holds a socket. It is looked for when a socket
// is new and kept for as long as the socket is there; nothing is looked for for
// those that come from a listener.
type socketOwners struct {
	procfs string
	known  map[uint32]uint32 // process by inode of a socket, 0 where none was found
	next   map[uint32]uint32 // those of known that were asked for since the last forget
}

func newSocketOwners(procfs string) *socketOwners {
	return &socketOwners{procfs: procfs, known: map[uint32]uint32{}, next: map[uint32]uint32{}}
}

// of returns the process that holds a socket, 0 where none is known to, and false
// where find has not looked for it yet.
func (o *socketOwners) of(inode uint32) (tgid uint32, known bool) {
	if inode == 0 {
		return 0, true
	}
	if tgid, known = o.known[inode]; known {
		o.next[inode] = tgid
		return tgid, true
	}
	tgid, known = o.next[inode]
	return tgid, known
}

// room tells whether more sockets may be looked for when so many are going to be.
func (o *socketOwners) room(strays int) bool {
	return max(len(o.known), len(o.next))+strays < maxOwned
}

// forget drops the sockets that were not asked for since the last call.
func (o *socketOwners) forget() {
	clear(o.known)
	o.known, o.next = o.next, o.known
}

// find looks for the processes that hold sockets. Those that already hold one that
// is known come first, so that thousands of new connections of one process cost a
// look at that process. Sockets of processes that can't be looked at stay without
// a service.
func (o *socketOwners) find(inodes []uint32) error {
	processes, err := sockdiag.Processes(o.procfs)
	if err != nil {
		return err
	}
	held := map[uint32]int{}
	for _, tgid := range o.next {
		held[tgid]++
	}
	slices.SortStableFunc(processes, func(a, b uint32) int { return held[b] - held[a] })
	holders, _ := sockdiag.Holders(o.procfs, processes, inodes)
	for _, inode := range inodes {
		o.next[inode] = holders[inode]
	}
	return nil
}
