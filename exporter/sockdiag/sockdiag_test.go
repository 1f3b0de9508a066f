// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dump lists the sockets on a port.
func dump(t *testing.T, states uint32, extensions Extensions, port uint16) (all []Socket) {
	t.Helper()
	c, err := Open(make([]byte, BufferSize))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Dump(states, extensions, func(s *Socket) {
		if s.Local.Port == port {
			all = append(all, *s)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestListener_is_told_with_its_queue_and_its_limit(t *testing.T) {
	for family, to := range map[uint8]string{unix.AF_INET: "127.0.0.1", unix.AF_INET6: "::1"} {
		const limit, waiting = 5, 2
		fd, err := unix.Socket(int(family), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		var bind unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		if family == unix.AF_INET6 {
			bind = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
		}
		if err := unix.Bind(fd, bind); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(fd, limit); err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		var port int
		switch name := name.(type) {
		case *unix.SockaddrInet4:
			port = name.Port
		case *unix.SockaddrInet6:
			port = name.Port
		}
		address := netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port))
		for range waiting {
			conn, err := net.Dial("tcp", address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			t.Fatal(err)
		}
		all := dump(t, 1<<Listen, Info|Memory, address.Port())
		if len(all) != 1 {
			t.Fatalf("%s is told %d times", address, len(all))
		}
		s := all[0]
		if s.Family != family || s.State != Listen || s.Local.AddrPort() != address || s.Inode != uint32(stat.Ino) || s.Queue != waiting || s.Limit != limit || s.Drops != 0 || s.MPTCP {
			t.Errorf("%s, inode %d, is %+v", address, stat.Ino, s)
		}
		if others := dump(t, AllStates&^(1<<Listen), 0, address.Port()); len(others) != waiting {
			t.Errorf("%d sockets are not listening on %s, want %d", len(others), address, waiting)
		}
	}
}

func TestLast_acknowledgement_is_as_old_as_the_last_write(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := time.Now()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	time.Sleep(300 * time.Millisecond)
	least := time.Since(after)
	all := dump(t, AllStates, Info, conn.LocalAddr().(*net.TCPAddr).AddrPort().Port())
	most := time.Since(before)
	const tick, delayed = 20 * time.Millisecond, 40 * time.Millisecond // of a kernel with 100 Hz, twice; TCP_DELACK_MIN
	if len(all) != 1 || all[0].LastAck < least-tick-delayed || all[0].LastAck > most+tick {
		t.Errorf("told are %+v, want one socket with %s to %s", all, least, most)
	}
}
