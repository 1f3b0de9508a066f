// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// soReusePort is SO_REUSEPORT of include/uapi/asm-generic/socket.h, the same on
// amd64 and arm64; package syscall does not name it on Linux.
const soReusePort = 15

// A listener is one listening socket that counts what it accepts. Accept returns
// the connection as package net made it, so net/http sees a plain *net.TCPConn,
// unless wrap is set.
type listener struct {
	accepted uint64 // first, for atomic access on 32-bit machines
	net.Listener
	name  string // as printed in the ready line
	fd    int
	inode uint64
	wrap  bool
	pause time.Duration
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	atomic.AddUint64(&l.accepted, 1)
	time.Sleep(l.pause)
	if l.wrap {
		return &wrappedConn{opened: time.Now(), Conn: conn}, nil
	}
	return conn, nil
}

// A wrappedConn is what limiting, tracing and PROXY-protocol listeners return: the
// real connection is a field of it, and not the first one.
type wrappedConn struct {
	opened time.Time
	net.Conn
}

// openAll opens the sockets of every -listen flag. The addresses are one for each
// flag, whatever the number of sockets behind it.
func openAll(opts *options) (listeners []*listener, addresses []string, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
		}
	}()
	for _, spec := range opts.listen {
		for i := 0; i < spec.sockets; i++ {
			l, err := open(spec, opts.backlog)
			if err != nil {
				return listeners, nil, fmt.Errorf("listening on %q: %w", spec.address, err)
			}
			l.wrap, l.pause = opts.router == "wrapped", opts.pause
			listeners = append(listeners, l)
			// The first socket of a group picks the port, the others share it.
			if spec.network == "tcp" {
				spec.address = l.Addr().String()
			}
		}
		addresses = append(addresses, listeners[len(listeners)-1].name)
	}
	return listeners, addresses, nil
}

func closeAll(listeners []*listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// open opens one listening socket and learns its descriptor and inode. A second
// listen(2) on a listening socket replaces its backlog (inet_listen, mptcp_listen
// and unix_listen alike), which is how Go's choice of somaxconn is overridden
// before anyone knows the address.
func open(spec listenSpec, backlog int) (*listener, error) {
	var config net.ListenConfig
	if spec.reusePort {
		config.Control = reusePort
	}
	inner, err := config.Listen(context.Background(), spec.network, spec.address)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, name: inner.Addr().String()}
	if spec.network == "unix" {
		l.name = "unix:" + l.name
	}
	raw, err := inner.(syscall.Conn).SyscallConn()
	if err != nil {
		inner.Close()
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		l.fd = int(fd)
		var stat syscall.Stat_t
		if err = syscall.Fstat(l.fd, &stat); err != nil {
			return
		}
		l.inode = stat.Ino
		if backlog > 0 {
			err = syscall.Listen(l.fd, backlog)
		}
	})
	if err == nil {
		err = controlErr
	}
	if err != nil {
		inner.Close()
		return nil, err
	}
	return l, nil
}

func reusePort(_, _ string, raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
	})
	if err == nil {
		err = controlErr
	}
	return err
}

// acceptsHandler answers GET /-/accepts. The counts include the connection that
// the question came on.
func acceptsHandler(listeners []*listener) http.HandlerFunc {
	type count struct {
		Listen string `json:"listen"`
		FD     int    `json:"fd"`
		Inode  uint64 `json:"inode"`
		Count  uint64 `json:"count"`
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		counts := []count{}
		for _, l := range listeners {
			counts = append(counts, count{l.name, l.fd, l.inode, atomic.LoadUint64(&l.accepted)})
		}
		writeJSON(w, map[string]interface{}{"listeners": counts})
	}
}
