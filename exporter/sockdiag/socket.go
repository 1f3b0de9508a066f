// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is what the kernel says of a TCP socket.
type Socket struct {
	Family        uint8 // AF_INET or AF_INET6; that of an IPv6 socket with an IPv4 peer is AF_INET6
	State         uint8
	Local, Remote Endpoint
	Inode         uint32 // 0 where no process holds it: in TIME_WAIT, in the SYN queue, in the accept queue
	Cookie        uint64 // no two sockets of one boot have the same
	// Queue and Limit are, of a socket in Listen, the connections in its accept queue
	// and how many may be there (sk_ack_backlog, sk_max_ack_backlog); of others, bytes
	// that wait to be read and to be acknowledged.
	Queue, Limit uint32
	// LastAck is how long ago the peer acknowledged last, to the kernel's tick. It
	// comes with Info.
	LastAck time.Duration
	// Acked and Received are the bytes that the peer has acknowledged, with the SYN of a
	// connection that this end began, and that have come from it (RFC 4898). They come
	// with Info, since Linux 4.1.
	Acked, Received uint64
	// MPTCP tells that the socket is Multipath TCP's. It comes with Info, before Linux
	// 6.15 for who has CAP_NET_ADMIN (tcp_diag_get_aux(), net/ipv4/tcp_diag.c).
	MPTCP bool
	// Drops is sk_drops. It comes with Memory.
	Drops uint32
}

// Endpoint is an address and port. IPv4 is written as the IPv6 address that it is
// mapped to.
type Endpoint struct {
	IP   [16]byte
	Port uint16
}

// Addr is the address; an IPv4 address within IPv6 is the IPv4 address.
func (e Endpoint) Addr() netip.Addr { return netip.AddrFrom16(e.IP).Unmap() }

// AddrPort is the address, as Addr has it, and the port.
func (e Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.Addr(), e.Port) }

// Address16 is an address of a family in the form of Endpoint.
func Address16(family uint8, raw []byte) [16]byte {
	if family == unix.AF_INET {
		return [16]byte{10: 0xff, 11: 0xff, 12: raw[0], 13: raw[1], 14: raw[2], 15: raw[3]}
	}
	return [16]byte(raw)
}

// States are the states of enum include/net/tcp_states.h, by number. The kernel
// shows a request (NEW_SYN_RECV) as SYN_RECV, and a socket in CLOSE in no table.
var States = [...]string{
	1: "established", 2: "syn_sent", 3: "syn_recv", 4: "fin_wait1", 5: "fin_wait2", 6: "time_wait",
	7: "close", 8: "close_wait", 9: "last_ack", 10: "listen", 11: "closing", 12: "new_syn_recv",
}

// The states that somebody tells apart, as in States.
const (
	SynSent   = 2
	TimeWait  = 6
	CloseWait = 8
	Listen    = 10
)

// AllStates asks for sockets in every state.
const AllStates = 1<<len(States) - 1

// Extensions are what to ask for beside the socket itself.
type Extensions uint8

const (
	// Info asks for LastAck, Acked, Received and MPTCP; it makes the kernel lock each socket that
	// doesn't listen.
	Info Extensions = 1 << (attributeInfo - 1)
	// Memory asks for Drops.
	Memory Extensions = 1 << (attributeMemory - 1)
)
