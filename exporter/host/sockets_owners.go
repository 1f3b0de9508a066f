// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxOwned bounds how many outgoing connections are assigned to processes. It
// takes about 5 MiB for both maps of socketOwners; what is beyond has no service.
const maxOwned = 1 << 17

// socketOwners knows which process holds a socket. That stands in the links of
// /proc/PID/fd only, so it is read when a socket is new and kept for as long as
// the socket is there; nothing is read for those that come from a listener.
type socketOwners struct {
	procfs string
	known  map[uint32]uint32 // process by inode of a socket, 0 where none was found
	next   map[uint32]uint32 // those of known that were asked for since the last forget
	link   [64]byte
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
// is known come first, and it ends with the last socket, so that thousands of new
// connections of one process cost a look at that process.
func (o *socketOwners) find(inodes []uint32) error {
	wanted := make(map[uint32]struct{}, len(inodes))
	for _, inode := range inodes {
		wanted[inode] = struct{}{}
	}
	processes, err := processNumbers(o.procfs)
	if err != nil {
		return err
	}
	held := map[uint32]int{}
	for _, tgid := range o.next {
		held[tgid]++
	}
	slices.SortStableFunc(processes, func(a, b uint32) int { return held[b] - held[a] })
	for _, tgid := range processes {
		if len(wanted) == 0 {
			break
		}
		o.take(tgid, wanted)
	}
	for inode := range wanted {
		o.next[inode] = 0
	}
	return nil
}

// take notes the sockets of a process that are wanted. A process that can't be read
// has ended, or is another user's and its sockets stay without a service.
func (o *socketOwners) take(tgid uint32, wanted map[uint32]struct{}) {
	directory, err := os.Open(filepath.Join(o.procfs, strconv.FormatUint(uint64(tgid), 10), "fd"))
	if err != nil {
		return
	}
	defer directory.Close()
	for len(wanted) > 0 {
		names, err := directory.Readdirnames(1024) // a process may have a million
		if err != nil {
			return
		}
		for _, name := range names {
			n, err := unix.Readlinkat(int(directory.Fd()), name, o.link[:])
			if err != nil {
				continue // closed since
			}
			inode, isSocket := socketInode(o.link[:n])
			if _, want := wanted[inode]; isSocket && want {
				o.next[inode] = tgid
				delete(wanted, inode)
			}
		}
	}
}

// socketInode reads "socket:[12345]".
func socketInode(link []byte) (uint32, bool) {
	digits, isSocket := bytes.CutPrefix(link, []byte("socket:["))
	digits, closed := bytes.CutSuffix(digits, []byte("]"))
	if !isSocket || !closed || len(digits) == 0 {
		return 0, false
	}
	inode := uint64(0)
	for _, digit := range digits {
		if digit < '0' || digit > '9' || inode > 1<<32 {
			return 0, false
		}
		inode = 10*inode + uint64(digit-'0')
	}
	return uint32(inode), inode < 1<<32
}

// processNumbers lists the processes of a procfs.
func processNumbers(procfs string) ([]uint32, error) {
	directory, err := os.Open(filepath.Clean(procfs))
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []uint32
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 32); err == nil {
			all = append(all, uint32(n))
		}
	}
	return all, nil
}
