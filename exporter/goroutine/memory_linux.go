// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// word is the size of a pointer, in bytes, and sliceSize that of a slice header.
const (
	word      = 8
	sliceSize = 3 * word
)

// batch is how many pieces of memory one system call reads (UIO_MAXIOV, uio(7)).
const batch = 1024

// span is a piece of memory.
type span struct{ address, size uint64 }

// memory is that of a process.
type memory struct{ pid int }

// read fills a buffer with spans, one after the other, all or nothing.
func (m memory) read(into []byte, from []span) error {
	remote := make([]unix.RemoteIovec, len(from))
	for i, s := range from {
		remote[i] = unix.RemoteIovec{Base: uintptr(s.address), Len: int(s.size)}
	}
	n, err := m.readv(into, remote)
	if err == nil && n < len(into) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readEach calls visit with the size bytes at offset from each address, at most
// batch of them, where there is memory. The bytes are good until visit returns.
func (m memory) readEach(addresses []uint64, offset, size uint64, buffer []byte, visit func(address uint64, data []byte)) error {
	remote := make([]unix.RemoteIovec, len(addresses))
	for i, address := range addresses {
		remote[i] = unix.RemoteIovec{Base: uintptr(address + offset), Len: int(size)}
	}
	for len(addresses) > 0 {
		n, err := m.readv(buffer[:len(addresses)*int(size)], remote)
		if err != nil && err != unix.EFAULT {
			return fmt.Errorf("read memory: %w", err)
		}
		whole := max(n, 0) / int(size)
		for i, address := range addresses[:whole] {
			visit(address, buffer[i*int(size):][:size])
		}
		if whole == len(addresses) {
			return nil
		}
		addresses, remote = addresses[whole+1:], remote[whole+1:] // the one that stopped it is unmapped
	}
	return nil
}

// readv reads as much as there is, up to the first piece that is not mapped.
func (m memory) readv(into []byte, remote []unix.RemoteIovec) (int, error) {
	local := []unix.Iovec{{Base: unsafe.SliceData(into), Len: uint64(len(into))}}
	return unix.ProcessVMReadv(m.pid, local, remote, 0)
}
