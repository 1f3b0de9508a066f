// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Descriptor is an open file descriptor of a process.
type Descriptor struct {
	FD   int
	Link string // of /proc/PID/fd: "socket:[123]", "pipe:[123]", a path
	// Polled tells that the runtime's network poller watches it, as it does every
	// connection of package net.
	Polled bool
	// Waiting are the addresses of the goroutines that wait until it can be read and
	// until it can be written; 0 for none.
	Waiting [2]uint64
}

// Socket is the inode of a socket, 0 of any other.
func (d Descriptor) Socket() uint64 {
	digits, ok := strings.CutPrefix(d.Link, "socket:[")
	if !ok {
		return 0
	}
	inode, _ := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
	return inode
}

// mostDescriptors bounds what is read of a process.
const mostDescriptors = 1 << 17

// Descriptors lists the open descriptors of a process and which goroutines wait for
// them. The kernel tells what the runtime has registered with epoll
// (/proc/PID/fdinfo, fs/eventpoll.c): the address of its runtime.pollDesc
// (runtime/netpoll.go), which holds the goroutines that wait. It fails as Each does.
func (r *Reader) Descriptors(pid uint32) ([]Descriptor, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := r.process(pid)
	if err != nil {
		return nil, fmt.Errorf("descriptors of process %d: %w", pid, err)
	}
	all, err := r.descriptors(p, filepath.Join(r.procfs, strconv.FormatUint(uint64(pid), 10)))
	if err != nil {
		return nil, fmt.Errorf("descriptors of process %d: %w", pid, err)
	}
	return all, nil
}

func (r *Reader) descriptors(p *process, directory string) ([]Descriptor, error) {
	folder, err := os.Open(filepath.Join(directory, "fd"))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	numbers, err := folder.Readdirnames(mostDescriptors)
	if err != nil {
		return nil, err
	}
	var all []Descriptor
	place := map[int]int{}
	var polls []string
	for _, number := range numbers {
		link, err := os.Readlink(filepath.Join(folder.Name(), number))
		fd, notNumber := strconv.Atoi(number)
		if err != nil || notNumber != nil {
			continue // closed since
		}
		if link == "anon_inode:[eventpoll]" {
			polls = append(polls, number)
		}
		place[fd] = len(all)
		all = append(all, Descriptor{FD: fd, Link: link})
	}
	for _, number := range polls {
		info, err := os.ReadFile(filepath.Join(directory, "fdinfo", number))
		if err != nil {
			continue
		}
		if err := r.polled(p, info, func(fd int, waiting [2]uint64) {
			if i, ok := place[fd]; ok {
				all[i].Polled, all[i].Waiting = true, waiting
			}
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// polled calls visit with each descriptor that is registered with an epoll of the
// runtime's. Another one, of C or of a library, holds no addresses of a
// runtime.pollDesc with the same descriptor.
func (r *Reader) polled(p *process, info []byte, visit func(fd int, waiting [2]uint64)) error {
	f := &p.executable.poll
	registered := map[int]uint64{}
	read := func() error {
		err := p.memory.readEach(r.addresses, f.first, f.size, r.buffer, func(address uint64, poll []byte) {
			number := func(offset uint64) uint64 { return binary.LittleEndian.Uint64(poll[offset:]) }
			fd := int(number(f.fd))
			if data, ok := registered[fd]; ok && slices.Contains(pollDescs(data), address) {
				visit(fd, [2]uint64{goroutineIn(number(f.rg)), goroutineIn(number(f.wg))})
			}
		})
		r.addresses = r.addresses[:0]
		return err
	}
	r.addresses = r.addresses[:0]
	for line := range bytes.Lines(info) {
		fd, data, ok := parseTarget(line)
		if !ok {
			continue
		}
		registered[fd] = data
		r.addresses = append(r.addresses, pollDescs(data)...)
		if len(r.addresses) > batch-3 {
			if err := read(); err != nil {
				return err
			}
		}
	}
	return read()
}

// parseTarget reads what is registered from a line such as
//
//	tfd:        6 events: 80002019 data: 7f0c5c1d6eb80001  pos:0 ino:5d2b sdev:9
func parseTarget(line []byte) (fd int, data uint64, ok bool) {
	words := bytes.Fields(line)
	if len(words) < 6 || string(words[0]) != "tfd:" || string(words[4]) != "data:" {
		return 0, 0, false
	}
	fd, err := strconv.Atoi(string(words[1]))
	if err != nil {
		return 0, 0, false
	}
	data, err = strconv.ParseUint(string(words[5]), 16, 64)
	return fd, data, err == nil
}

// pollDescs are the addresses that a registration may stand for. Up to Go 1.20 it
// is the address itself. Since then a number that tells one use of the pollDesc from
// the next is packed with it, into the bits above the address and those that its
// alignment leaves free (runtime/tagptr_64bit.go): 16 and 3 up to Go 1.24; then the
// alignment is 512, and from some patch release on an address has 49 bits.
func pollDescs(data uint64) []uint64 {
	if data < 1<<47 {
		return []uint64{data}
	}
	return []uint64{data >> 16 &^ 7, data >> 16 &^ 511, data >> 15 &^ 511}
}

// goroutineIn is the address of the goroutine in a field of a pollDesc, which may
// hold a mark instead: pdReady or pdWait (runtime/netpoll.go).
func goroutineIn(field uint64) uint64 {
	if field <= 2 {
		return 0
	}
	return field
}
