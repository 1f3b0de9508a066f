// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where members are in the messages of sock_diag(7) (include/uapi/linux/inet_diag.h
// and sock_diag.h); addresses and ports are in network byte order, all else in that
// of the host.
const (
	byFamily = 20 // SOCK_DIAG_BY_FAMILY

	sizeofRequest = 56 // struct inet_diag_req_v2
	sizeofMessage = 72 // struct inet_diag_msg

	attributeInfo   = 2  // INET_DIAG_INFO, a struct tcp_info
	attributeMemory = 7  // INET_DIAG_SKMEMINFO, numbers
	attributeULP    = 19 // INET_DIAG_ULP_INFO, attributes
	attributeName   = 1  // INET_ULP_INFO_NAME, one of those

	offsetLastAck  = int(unsafe.Offsetof(unix.TCPInfo{}.Last_ack_recv))
	offsetAcked    = int(unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked))
	offsetReceived = int(unsafe.Offsetof(unix.TCPInfo{}.Bytes_received))
	offsetDrops    = 4 * 8 // SK_MEMINFO_DROPS
)

// errNoTCPDiag explains ENOENT.
var errNoTCPDiag = errors.New("the kernel has no sock_diag for TCP (CONFIG_INET_TCP_DIAG, module tcp_diag)")

// decodeDump reads one answer, of many messages, into s, again and again, and tells
// whether it was the last.
func decodeDump(answer []byte, s *Socket, each func(*Socket)) (done bool, err error) {
	for len(answer) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(answer))
		if length < unix.SizeofNlMsghdr || length > len(answer) {
			return false, fmt.Errorf("sock_diag: message of %d bytes in %d", length, len(answer))
		}
		kind, body := binary.NativeEndian.Uint16(answer[4:]), answer[unix.SizeofNlMsghdr:length]
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return true, errorIn(body)
		case byFamily:
			if len(body) < sizeofMessage {
				return false, fmt.Errorf("sock_diag: socket of %d bytes", len(body))
			}
			s.decode(body)
			each(s)
		}
		answer = answer[min(align4(length), len(answer)):]
	}
	return false, nil
}

// errorIn is the error that a message of the kinds DONE and ERROR begins with, as
// a negative number.
func errorIn(body []byte) error {
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

// decode reads a struct inet_diag_msg and the attributes that follow it.
func (s *Socket) decode(body []byte) {
	s.Family, s.State = body[0], body[1]
	s.Local.Port, s.Remote.Port = binary.BigEndian.Uint16(body[4:]), binary.BigEndian.Uint16(body[6:])
	s.Local.IP, s.Remote.IP = Address16(s.Family, body[8:24]), Address16(s.Family, body[24:40])
	s.Cookie = uint64(binary.NativeEndian.Uint32(body[44:])) | uint64(binary.NativeEndian.Uint32(body[48:]))<<32
	s.Queue, s.Limit = binary.NativeEndian.Uint32(body[56:]), binary.NativeEndian.Uint32(body[60:])
	s.Inode = binary.NativeEndian.Uint32(body[68:])
	s.LastAck, s.Acked, s.Received, s.MPTCP, s.Drops = 0, 0, 0, false, 0
	for kind, value := range attributes(body[sizeofMessage:]) {
		switch {
		case kind == attributeInfo && len(value) >= offsetLastAck+4:
			s.LastAck = time.Duration(binary.NativeEndian.Uint32(value[offsetLastAck:])) * time.Millisecond
			if len(value) >= offsetReceived+8 {
				s.Acked, s.Received = binary.NativeEndian.Uint64(value[offsetAcked:]), binary.NativeEndian.Uint64(value[offsetReceived:])
			}
		case kind == attributeMemory && len(value) >= offsetDrops+4:
			s.Drops = binary.NativeEndian.Uint32(value[offsetDrops:])
		case kind == attributeULP:
			for kind, name := range attributes(value) {
				s.MPTCP = s.MPTCP || kind == attributeName && string(bytes.TrimRight(name, "\x00")) == "mptcp"
			}
		}
	}
}

// attributes goes through netlink attributes, up to one that makes no sense.
func attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(kind uint16, value []byte) bool) {
		for len(data) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(data))
			if length < unix.SizeofNlAttr || length > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, data[unix.SizeofNlAttr:length]) {
				return
			}
			data = data[min(align4(length), len(data)):]
		}
	}
}

func align4(n int) int { return (n + 3) &^ 3 }
