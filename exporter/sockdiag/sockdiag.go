// SPDX-License-Identifier: Apache-2.0

// Package sockdiag lists TCP sockets by sock_diag(7), which needs no privilege
// and has been there since Linux 3.3, and finds the processes that hold them, by
// procfs.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Conn is a netlink socket for sock_diag(7). It sees the network namespace that
// it was opened in and keeps that alive, so it shouldn't be kept.
type Conn struct {
	fd     int
	buffer []byte
}

// BufferSize is what the kernel puts into one message of a dump at most
// (netlink_recvmsg(), net/netlink/af_netlink.c).
const BufferSize = 32 << 10

// Open opens a socket in the calling thread's network namespace. Answers are read
// into the buffer, of BufferSize.
func Open(buffer []byte) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	return &Conn{fd, buffer}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// NetnsCookie is the cookie of the namespace (getsockopt SO_NETNS_COOKIE, Linux
// 5.14), 0 where the kernel doesn't tell.
func (c *Conn) NetnsCookie() uint64 {
	cookie, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}

// families are asked for one after the other: one request is for one family.
var families = [...]uint8{unix.AF_INET, unix.AF_INET6}

// Dump calls each for every TCP socket, of IPv4 and then of IPv6, that is in one
// of the states (1<<Listen | …), with what the extensions tell of it. The Socket
// that each gets is overwritten by the next. Nothing is allocated for a socket.
func (c *Conn) Dump(states uint32, extensions Extensions, each func(*Socket)) error {
	for _, family := range families {
		if err := c.dump(family, states, extensions, each); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) dump(family uint8, states uint32, extensions Extensions, each func(*Socket)) error {
	if err := c.request(family, states, extensions); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	var s Socket
	for {
		n, err := unix.Read(c.fd, c.buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read sock_diag: %w", err)
		}
		done, err := decodeDump(c.buffer[:n], &s, each)
		if err != nil || done {
			return err
		}
	}
}

func (c *Conn) request(family uint8, states uint32, extensions Extensions) error {
	var m [unix.SizeofNlMsghdr + sizeofRequest]byte
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], byFamily)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := m[unix.SizeofNlMsghdr:]
	body[0], body[1], body[2] = family, unix.IPPROTO_TCP, uint8(extensions)
	binary.NativeEndian.PutUint32(body[4:], states)
	return unix.Sendto(c.fd, m[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}
