// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Socket states as /proc/net/tcp shows them (include/net/tcp_states.h). A
// request in the SYN queue is shown as SYN_RECV.
const (
	StateEstablished = 0x01
	StateSynRecv     = 0x03
	StateListen      = 0x0A
)

// Socket is one line of /proc/net/tcp or tcp6. For a listening socket RxQueue is
// the number of connections in its accept queue (net/ipv4/tcp_ipv4.c,
// get_tcp4_sock: sk_ack_backlog).
type Socket struct {
	Local, Remote netip.AddrPort
	State         int
	TxQueue       uint64
	RxQueue       uint64
	Inode         uint64
}

// Sockets lists the TCP sockets of ns; nil is the test process's own namespace.
func Sockets(t testing.TB, ns *NetNS) []Socket {
	t.Helper()
	var all []Socket
	for _, name := range []string{"tcp", "tcp6"} {
		var text []byte
		err := ns.Do(func() (err error) {
			text, err = os.ReadFile("/proc/thread-self/net/" + name)
			return err
		})
		if os.IsNotExist(err) && name == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			t.Fatalf("list sockets: %v", err)
		}
		sockets, err := parseProcTCP(string(text))
		if err != nil {
			t.Fatalf("/proc/net/%s: %v", name, err)
		}
		all = append(all, sockets...)
	}
	return all
}

// AcceptQueue is the number of connections that wait to be accepted, summed over
// all sockets that listen on addr.
func AcceptQueue(t testing.TB, ns *NetNS, addr netip.AddrPort) int {
	t.Helper()
	n := 0
	for _, s := range Sockets(t, ns) {
		if s.State == StateListen && s.Local == addr {
			n += int(s.RxQueue)
		}
	}
	return n
}

// SynQueue is the number of half-open connections to a local port.
func SynQueue(t testing.TB, ns *NetNS, port uint16) int {
	t.Helper()
	n := 0
	for _, s := range Sockets(t, ns) {
		if s.State == StateSynRecv && s.Local.Port() == port {
			n++
		}
	}
	return n
}

// WaitQueued waits until n connections wait on the sockets listening on addr and
// returns how many do. There can be more than the limit: the kernel looks at it before
// it adds (tcp_v4_syn_recv_sock()), and two final ACKs may come on two CPUs.
func WaitQueued(t testing.TB, ns *NetNS, addr netip.AddrPort, n int) (queued int) {
	t.Helper()
	Eventually(t, func() error {
		if queued = AcceptQueue(t, ns, addr); queued < n {
			return fmt.Errorf("accept queue of %s holds %d connections, want %d", addr, queued, n)
		}
		return nil
	})
	return queued
}

func parseProcTCP(text string) ([]Socket, error) {
	var sockets []Socket
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] == "sl" {
			continue
		}
		local, err := parseHexAddr(f[1])
		if err != nil {
			return nil, err
		}
		remote, err := parseHexAddr(f[2])
		if err != nil {
			return nil, err
		}
		state, err := strconv.ParseUint(f[3], 16, 8)
		if err != nil {
			return nil, fmt.Errorf("state %q: %w", f[3], err)
		}
		tx, rx, _ := strings.Cut(f[4], ":")
		txQueue, err := strconv.ParseUint(tx, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("tx_queue %q: %w", tx, err)
		}
		rxQueue, err := strconv.ParseUint(rx, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("rx_queue %q: %w", rx, err)
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("inode %q: %w", f[9], err)
		}
		sockets = append(sockets, Socket{local, remote, int(state), txQueue, rxQueue, inode})
	}
	return sockets, nil
}

// parseHexAddr reads "0100007F:1F90". The address is printed as 32-bit words in
// the byte order of the host, the port as a number.
func parseHexAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || (len(raw) != 4 && len(raw) != 16) {
		return netip.AddrPort{}, fmt.Errorf("address %q is neither IPv4 nor IPv6", s)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of %q: %w", s, err)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(p)), nil
}
