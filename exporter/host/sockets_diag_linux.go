// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where members are in the messages of sock_diag(7) (include/uapi/linux/inet_diag.h
// and sock_diag.h); addresses and ports are in network byte order, all else in that
// of the host.
const (
	sockDiagByFamily = 20

	sizeofDiagRequest = 56 // struct inet_diag_req_v2
	sizeofDiagMessage = 72 // struct inet_diag_msg

	diagInfo = 2 // INET_DIAG_INFO, an attribute with a struct tcp_info
)

// stateNames are the states of enum include/net/tcp_states.h. The kernel shows a
// request (NEW_SYN_RECV) as SYN_RECV, and a socket in CLOSE in no table.
var stateNames = [...]string{
	1: "established", 2: "syn_sent", 3: "syn_recv", 4: "fin_wait1", 5: "fin_wait2", 6: "time_wait",
	7: "close", 8: "close_wait", 9: "last_ack", 10: "listen", 11: "closing", 12: "new_syn_recv",
}

// The states that are told apart, as in stateNames.
const (
	stateSynSent   = 2
	stateCloseWait = 8
	stateListen    = 10
)

// Sets of states to ask for.
const (
	allStates    = 1<<len(stateNames) - 1
	onlyListen   = 1 << stateListen
	allButListen = allStates &^ onlyListen
)

// endpoint is an address and port. IPv4 is written as the IPv6 address that it is
// mapped to.
type endpoint struct {
	ip   [16]byte
	port uint16
}

func (e endpoint) addr() netip.Addr { return netip.AddrFrom16(e.ip).Unmap() }

// diagSocket is what the kernel says of a socket.
type diagSocket struct {
	family        uint8 // AF_INET or AF_INET6; that of an IPv6 socket with an IPv4 peer is AF_INET6
	state         uint8
	local, remote endpoint
	inode         uint32 // 0 where no process holds it: in TIME_WAIT, in the SYN queue, in the accept queue
	cookie        uint64 // no two sockets of one boot have the same
	lastAck       time.Duration
}

// diagConn is a netlink socket for sock_diag(7). It sees the network namespace that
// it was opened in and keeps that alive, so it isn't kept.
type diagConn struct {
	fd     int
	buffer []byte
}

// diagBuffer is what the kernel puts into one message of a dump at most
// (netlink_recvmsg(), net/netlink/af_netlink.c).
const diagBuffer = 32 << 10

// openDiag opens a socket in the calling thread's network namespace. Answers are
// read into the buffer.
func openDiag(buffer []byte) (*diagConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	return &diagConn{fd, buffer}, nil
}

func (c *diagConn) Close() error { return unix.Close(c.fd) }

// netnsCookie is the cookie of the namespace (getsockopt SO_NETNS_COOKIE, Linux
// 5.14), 0 where the kernel doesn't tell.
func (c *diagConn) netnsCookie() uint64 {
	cookie, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}

// dump calls each for every TCP socket of a family (AF_INET, AF_INET6) in one of
// the states; lastAck is known only if info is asked for, which makes the kernel
// lock each socket. The socket that each gets is overwritten by the next. Nothing
// is allocated for a socket.
func (c *diagConn) dump(family uint8, states uint32, info bool, each func(*diagSocket)) error {
	if err := c.request(family, states, info); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	var s diagSocket
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

func (c *diagConn) request(family uint8, states uint32, info bool) error {
	var m [unix.SizeofNlMsghdr + sizeofDiagRequest]byte
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := m[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	if info {
		body[2] = 1 << (diagInfo - 1)
	}
	binary.NativeEndian.PutUint32(body[4:], states)
	return unix.Sendto(c.fd, m[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// errNoTCPDiag explains ENOENT.
var errNoTCPDiag = errors.New("the kernel has no sock_diag for TCP (CONFIG_INET_TCP_DIAG, module tcp_diag)")

// decodeDump reads one answer, of many messages, and tells whether it was the last.
func decodeDump(answer []byte, s *diagSocket, each func(*diagSocket)) (done bool, err error) {
	for len(answer) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(answer))
		if length < unix.SizeofNlMsghdr || length > len(answer) {
			return false, fmt.Errorf("sock_diag: message of %d bytes in %d", length, len(answer))
		}
		kind, body := binary.NativeEndian.Uint16(answer[4:]), answer[unix.SizeofNlMsghdr:length]
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return true, dumpError(body)
		case sockDiagByFamily:
			if len(body) < sizeofDiagMessage {
				return false, fmt.Errorf("sock_diag: socket of %d bytes", len(body))
			}
			s.decode(body)
			each(s)
		}
		answer = answer[min(align4(length), len(answer)):]
	}
	return false, nil
}

// dumpError is the error that a message of the kinds DONE and ERROR begins with, as
// a negative number.
func dumpError(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
	switch errno {
	case 0:
		return nil
	case unix.ENOENT:
		return errNoTCPDiag
	}
	return fmt.Errorf("sock_diag: %w", errno)
}

func (s *diagSocket) decode(body []byte) {
	s.family, s.state = body[0], body[1]
	s.local.port, s.remote.port = binary.BigEndian.Uint16(body[4:]), binary.BigEndian.Uint16(body[6:])
	s.local.ip, s.remote.ip = address16(s.family, body[8:24]), address16(s.family, body[24:40])
	s.cookie = uint64(binary.NativeEndian.Uint32(body[44:])) | uint64(binary.NativeEndian.Uint32(body[48:]))<<32
	s.inode = binary.NativeEndian.Uint32(body[68:])
	s.lastAck = lastAck(body[sizeofDiagMessage:])
}

func address16(family uint8, raw []byte) [16]byte {
	if family == unix.AF_INET {
		return [16]byte{10: 0xff, 11: 0xff, 12: raw[0], 13: raw[1], 14: raw[2], 15: raw[3]}
	}
	return [16]byte(raw)
}

// lastAck finds in the attributes how long ago the peer acknowledged last, to the
// kernel's tick; 0 where they don't tell.
func lastAck(attributes []byte) time.Duration {
	const at = unsafe.Offsetof(unix.TCPInfo{}.Last_ack_recv)
	for len(attributes) >= unix.SizeofNlAttr {
		length, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])
		if length < unix.SizeofNlAttr || length > len(attributes) {
			return 0
		}
		if value := attributes[unix.SizeofNlAttr:length]; kind == diagInfo && len(value) >= int(at)+4 {
			return time.Duration(binary.NativeEndian.Uint32(value[at:])) * time.Millisecond
		}
		attributes = attributes[min(align4(length), len(attributes)):]
	}
	return 0
}

func align4(n int) int { return (n + 3) &^ 3 }
