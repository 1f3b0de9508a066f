// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// States of sockets that matter here (include/net/tcp_states.h).
const (
	stateTimeWait = 6
	stateListen   = 10
)

// socket is a TCP socket that listens or is in TIME_WAIT.
type socket struct {
	local, remote netip.AddrPort
	state         uint8
	inode         uint32
	// Of one that listens:
	queue   uint32 // sk_ack_backlog
	backlog uint32 // sk_max_ack_backlog
	drops   uint32 // sk_drops
	mptcp   Value
}

// Sizes and offsets of include/uapi/linux/inet_diag.h.
const (
	diagRequestSize = 56 // struct inet_diag_req_v2
	diagMessageSize = 72 // struct inet_diag_msg

	diagInfo      = 2 // enum, INET_DIAG_INFO
	diagSkmeminfo = 7
	diagUlpInfo   = 19
	ulpInfoName   = 1

	skmeminfoDrops = 8 // SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h
)

// diagnose calls each with every TCP socket of the own network namespace that
// listens or is in TIME_WAIT: sock_diag(7), which needs no privilege.
func diagnose(each func(socket)) error {
	hidden := mptcpHidden()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := dump(family, hidden, each); err != nil {
			return fmt.Errorf("list sockets (sock_diag): %w", err)
		}
	}
	return nil
}

func dump(family uint8, hidden string, each func(socket)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := make([]byte, unix.SizeofNlMsghdr+diagRequestSize)
	native := binary.NativeEndian
	native.PutUint32(request[0:], uint32(len(request)))
	native.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.SizeofNlMsghdr:]
	// The upper-layer protocol comes with the information about TCP.
	body[0], body[1], body[2] = family, unix.IPPROTO_TCP, 1<<(diagSkmeminfo-1)|1<<(diagInfo-1)
	native.PutUint32(body[4:], 1<<stateListen|1<<stateTimeWait)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10) // the kernel fills up to 32 KiB at once
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return errors.New("short error message")
				}
				if code := int32(native.Uint32(m.Data)); code != 0 {
					return syscall.Errno(-code)
				}
			default:
				if one, ok := parseSocket(m.Data, hidden); ok {
					each(one)
				}
			}
		}
	}
}

// parseSocket reads a struct inet_diag_msg and its attributes.
func parseSocket(data []byte, hidden string) (socket, bool) {
	if len(data) < diagMessageSize {
		return socket{}, false
	}
	native := binary.NativeEndian
	s := socket{
		state:  data[1],
		local:  address(data[0], data[8:], data[4:]),
		remote: address(data[0], data[24:], data[6:]),
		queue:  native.Uint32(data[56:]), backlog: native.Uint32(data[60:]), inode: native.Uint32(data[68:]),
		mptcp: BoolOf(false),
	}
	if hidden != "" {
		s.mptcp = Unknown(hidden)
	}
	for kind, value := range attributes(data[diagMessageSize:]) {
		switch {
		case kind == diagSkmeminfo && len(value) >= 4*(skmeminfoDrops+1):
			s.drops = native.Uint32(value[4*skmeminfoDrops:])
		case kind == diagUlpInfo:
			for kind, name := range attributes(value) {
				if kind == ulpInfoName && strings.TrimRight(string(name), "\x00") == "mptcp" {
					s.mptcp = BoolOf(true)
				}
			}
		}
	}
	return s, true
}

// attributes goes through netlink attributes.
func attributes(data []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(data) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(data))
			if size < unix.SizeofNlAttr || size > len(data) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(data[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), data[unix.SizeofNlAttr:size]) {
				return
			}
			data = data[min(len(data), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}

// address reads an address and a port; an IPv4 address within IPv6 is the IPv4
// address.
func address(family uint8, ip, port []byte) netip.AddrPort {
	var of netip.Addr
	if family == unix.AF_INET {
		of = netip.AddrFrom4([4]byte(ip))
	} else {
		of = netip.AddrFrom16([16]byte(ip)).Unmap()
	}
	return netip.AddrPortFrom(of, binary.BigEndian.Uint16(port))
}

// mptcpHidden says why the kernel wouldn't tell that a socket is Multipath TCP's,
// or is empty if it would: before Linux 6.15 it tells its upper-layer protocol
// only to who has CAP_NET_ADMIN (net/ipv4/tcp_diag.c, tcp_diag_get_aux).
func mptcpHidden() string {
	if enabled, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); err != nil || strings.TrimSpace(string(enabled)) == "0" {
		return "" // there is none
	}
	var major, minor int
	var release unix.Utsname
	if unix.Uname(&release) == nil {
		fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if major > 6 || major == 6 && minor >= 15 || unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0 {
		return ""
	}
	return "before Linux 6.15 only CAP_NET_ADMIN may see whether a socket is Multipath TCP's"
}
