// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ListenOptions say how to listen. The socket is made by system calls of the
// test, so that backlog and options are those asked for and nothing accepts
// unless the test does.
type ListenOptions struct {
	Addr        string // "127.0.0.1:0", "[::]:8080"; port 0 picks a free one
	Backlog     int    // second argument of listen(2); 0 means 128
	ReusePort   bool   // SO_REUSEPORT
	DeferAccept int    // TCP_DEFER_ACCEPT in seconds; 0 leaves it off
	MPTCP       bool   // IPPROTO_MPTCP, what Go 1.24 and later listen with
}

// Listener is a listening TCP socket that the test drives by hand. It is
// used by one goroutine at a time.
type Listener struct {
	FD   int
	Addr netip.AddrPort

	closed bool
}

// ErrNoConnection says that a listener's accept queue stayed empty.
var ErrNoConnection = errors.New("no connection to accept")

// Listen opens a listener in the namespace ns (nil: the test process's own) and
// closes it when the test ends.
func Listen(t testing.TB, ns *NetNS, opts ListenOptions) *Listener {
	t.Helper()
	var l *Listener
	err := ns.Do(func() (err error) {
		l, err = listen(opts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func listen(opts ListenOptions) (*Listener, error) {
	addr, err := netip.ParseAddrPort(opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", opts.Addr, err)
	}
	fd, err := unix.Socket(family(addr), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol(opts.MPTCP))
	if err != nil {
		return nil, fmt.Errorf("open socket to listen: %w", err)
	}
	l := &Listener{FD: fd}
	if err := l.configure(addr, opts); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on %q: %w", opts.Addr, err)
	}
	return l, nil
}

func (l *Listener) configure(addr netip.AddrPort, opts ListenOptions) error {
	type option struct{ level, name, value int }
	set := []option{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}
	if opts.ReusePort {
		set = append(set, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if addr.Addr().Is6() {
		set = append(set, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0})
	}
	if opts.DeferAccept > 0 {
		set = append(set, option{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, opts.DeferAccept})
	}
	for _, o := range set {
		if err := unix.SetsockoptInt(l.FD, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set option %d of level %d: %w", o.name, o.level, err)
		}
	}
	if err := unix.Bind(l.FD, sockaddr(addr)); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	backlog := opts.Backlog
	if backlog == 0 {
		backlog = 128
	}
	if err := unix.Listen(l.FD, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	sa, err := unix.Getsockname(l.FD)
	if err != nil {
		return fmt.Errorf("read own address: %w", err)
	}
	l.Addr = addrPort(sa)
	return nil
}

// Worker is the label value that names this socket: the process and its file
// descriptor, as "PID/FD".
func (l *Listener) Worker() string { return fmt.Sprintf("%d/%d", os.Getpid(), l.FD) }

// Accept takes one connection off the accept queue, waiting at most for the time
// given, and returns ErrNoConnection if none came.
func (l *Listener) Accept(wait time.Duration) (*Conn, error) {
	deadline := time.Now().Add(wait)
	for {
		fd, _, err := unix.Accept4(l.FD, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			return &Conn{FD: fd}, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("accept: %w", err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, ErrNoConnection
		}
		poll := []unix.PollFd{{Fd: int32(l.FD), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("wait for a connection: %w", err)
		}
	}
}

// MustAccept accepts n connections, which the test keeps open to its end.
func (l *Listener) MustAccept(t testing.TB, n int) []*Conn {
	t.Helper()
	var conns []*Conn
	for range n {
		c, err := l.Accept(5 * time.Second * patience())
		if err != nil {
			t.Fatalf("connection %d of %d: %v", len(conns)+1, n, err)
		}
		t.Cleanup(c.Close)
		conns = append(conns, c)
	}
	return conns
}

// Close closes the socket; the kernel resets what its accept queue still holds.
func (l *Listener) Close() {
	if !l.closed {
		l.closed = true
		unix.Close(l.FD)
	}
}

// duplicate returns a copy of a descriptor that an os.File may own and close.
func duplicate(fd int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(dup), "listener"), nil
}

func family(addr netip.AddrPort) int {
	if addr.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func protocol(mptcp bool) int {
	if mptcp {
		return unix.IPPROTO_MPTCP
	}
	return unix.IPPROTO_TCP
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
	}
	return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}
