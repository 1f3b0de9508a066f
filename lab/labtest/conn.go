// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DialOptions say how to connect.
type DialOptions struct {
	// MPTCP asks for a multipath connection.
	MPTCP bool
	// Deaf makes the client ignore every answer: its SYN goes out and each
	// SYN-ACK is thrown away on arrival, as when the way back is cut. The
	// request stays in the server's SYN queue.
	Deaf bool
}

// Conn is one end of a TCP connection, non-blocking.
type Conn struct {
	FD int

	closed bool
}

// Dial starts to connect to addr in the namespace ns (nil: the test process's
// own) and returns at once, connected or not; the connection is reset when the
// test ends.
func Dial(t testing.TB, ns *NetNS, addr netip.AddrPort, opts DialOptions) *Conn {
	t.Helper()
	var c *Conn
	err := ns.Do(func() (err error) {
		c, err = TryDial(addr, opts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Reset)
	return c
}

// DialMany starts n connections, one after the other.
func DialMany(t testing.TB, ns *NetNS, addr netip.AddrPort, n int, opts DialOptions) []*Conn {
	t.Helper()
	conns := make([]*Conn, n)
	for i := range conns {
		conns[i] = Dial(t, ns, addr, opts)
	}
	return conns
}

// ResetAll resets every connection, which also ends the retransmissions of those
// that never got an answer.
func ResetAll(conns []*Conn) {
	for _, c := range conns {
		c.Reset()
	}
}

// TryDial is Dial in the calling goroutine's namespace, for code that is not the
// test's own goroutine: it returns its error and closes nothing.
func TryDial(addr netip.AddrPort, opts DialOptions) (*Conn, error) {
	fd, err := unix.Socket(family(addr), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol(opts.MPTCP))
	if err != nil {
		return nil, fmt.Errorf("open socket to dial: %w", err)
	}
	c := &Conn{FD: fd}
	if opts.Deaf {
		if err := c.deafen(); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := unix.Connect(fd, sockaddr(addr)); err != nil && err != unix.EINPROGRESS {
		c.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return c, nil
}

// Deafen makes the socket throw away every segment on arrival, unacknowledged.
func (c *Conn) Deafen(t testing.TB) {
	t.Helper()
	if err := c.deafen(); err != nil {
		t.Fatal(err)
	}
}

func (c *Conn) deafen() error {
	// A classic BPF filter that accepts no byte.
	nothing := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	if err := unix.SetsockoptSockFprog(c.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// Hear ends what Deafen began: what its peer sends again arrives.
func (c *Conn) Hear(t testing.TB) {
	t.Helper()
	if err := unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		t.Fatalf("detach filter: %v", err)
	}
}

// Connected reports whether the client's side of the handshake is complete.
func (c *Conn) Connected() bool {
	poll := []unix.PollFd{{Fd: int32(c.FD), Events: unix.POLLOUT}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 1 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) == 0
}

// WaitConnected waits until every connection is established on its own side.
func WaitConnected(t testing.TB, conns []*Conn) {
	t.Helper()
	Eventually(t, func() error {
		for i, c := range conns {
			if !c.Connected() {
				return fmt.Errorf("connection %d of %d is not established", i+1, len(conns))
			}
		}
		return nil
	})
}

// Send writes data, which must fit the send buffer.
func (c *Conn) Send(t testing.TB, data string) {
	t.Helper()
	if n, err := unix.Write(c.FD, []byte(data)); err != nil || n != len(data) {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(data), err)
	}
}

// Drops is how many segments the kernel has thrown away on arrival at this
// socket: on a Deaf client, the SYN-ACKs that the server sent. Source:
// getsockopt SO_MEMINFO, include/uapi/linux/sock_diag.h, SK_MEMINFO_DROPS.
func (c *Conn) Drops(t testing.TB) int {
	t.Helper()
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(c.FD), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		t.Fatalf("read SO_MEMINFO: %v", errno)
	}
	return int(info[8])
}

// Close closes the socket the orderly way.
func (c *Conn) Close() {
	if !c.closed {
		c.closed = true
		unix.Close(c.FD)
	}
}

// Reset closes the socket with an RST and nothing left behind: no TIME_WAIT, no
// retransmission.
func (c *Conn) Reset() {
	if !c.closed {
		unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		c.Close()
	}
}
