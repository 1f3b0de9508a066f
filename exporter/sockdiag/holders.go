// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processes lists the processes of a procfs, the lowest number first.
func Processes(procfs string) ([]uint32, error) {
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
	slices.Sort(all)
	return all, nil
}

// Holders finds which processes hold sockets, by inode. That stands in the links
// of /proc/PID/fd only, so it looks at one process after the other until it has
// found all sockets; one that several hold is told to be the first one's. Hidden
// tells that a process could not be looked at: another user's, without
// CAP_SYS_PTRACE.
func Holders(procfs string, processes, inodes []uint32) (holders map[uint32]uint32, hidden bool) {
	h := holding{procfs: procfs, wanted: make(map[uint32]struct{}, len(inodes)), holders: map[uint32]uint32{}}
	for _, inode := range inodes {
		h.wanted[inode] = struct{}{}
	}
	for _, tgid := range processes {
		if len(h.wanted) == 0 {
			break
		}
		if err := h.look(tgid); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // ended meanwhile
			hidden = true
		}
	}
	return h.holders, hidden
}

// holding is a search.
type holding struct {
	procfs  string
	wanted  map[uint32]struct{} // inodes of which no holder is found yet
	holders map[uint32]uint32   // process by inode
	link    [64]byte
}

// look notes the sockets of a process that are wanted.
func (h *holding) look(tgid uint32) error {
	directory, err := os.Open(filepath.Join(h.procfs, strconv.FormatUint(uint64(tgid), 10), "fd"))
	if err != nil {
		return err
	}
	defer directory.Close()
	for len(h.wanted) > 0 {
		names, err := directory.Readdirnames(1024) // a process may have a million
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			n, err := unix.Readlinkat(int(directory.Fd()), name, h.link[:])
			if err != nil {
				continue // closed since
			}
			inode, isSocket := socketInode(h.link[:n])
			if _, want := h.wanted[inode]; isSocket && want {
				h.holders[inode] = tgid
				delete(h.wanted, inode)
			}
		}
	}
	return nil
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
