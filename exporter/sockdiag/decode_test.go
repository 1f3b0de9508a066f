// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// message is a netlink message with a body.
func message(kind uint16, body []byte) []byte {
	m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body)+3)
	binary.NativeEndian.PutUint32(m, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	m = append(m, body...)
	return append(m, make([]byte, align4(len(m))-len(m))...)
}

func errnoBody(errno unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
}

func TestAnswers_of_sock_diag_that_make_no_sense_are_errors(t *testing.T) {
	torn := message(byFamily, make([]byte, sizeofMessage))
	for name, c := range map[string]struct {
		answer []byte
		done   bool
		want   string
	}{
		"the end":                     {message(unix.NLMSG_DONE, errnoBody(0)), true, ""},
		"an error":                    {message(unix.NLMSG_ERROR, errnoBody(unix.EPERM)), true, "operation not permitted"},
		"an error at the end":         {message(unix.NLMSG_DONE, errnoBody(unix.ENOMEM)), true, "cannot allocate memory"},
		"a kernel without TCP":        {message(unix.NLMSG_ERROR, errnoBody(unix.ENOENT)), true, "CONFIG_INET_TCP_DIAG"},
		"a torn message":              {torn[:len(torn)-4], false, "message of 88 bytes in 84"},
		"a message of no length":      {make([]byte, 16), false, "message of 0 bytes in 16"},
		"a socket that is too short":  {message(byFamily, make([]byte, 71)), false, "socket of 71 bytes"},
		"an attribute without an end": {message(byFamily, append(make([]byte, sizeofMessage), 255, 0, attributeInfo, 0)), false, ""},
	} {
		var s Socket
		done, err := decodeDump(c.answer, &s, func(*Socket) {})
		if done != c.done || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: done %v, %v; want %v, %q", name, done, err, c.done, c.want)
		}
	}
}

func FuzzDecodeDump(f *testing.F) {
	f.Add(message(byFamily, append(make([]byte, sizeofMessage), 8, 0, attributeInfo, 0, 1, 2, 3, 4)))
	f.Add(message(unix.NLMSG_ERROR, errnoBody(unix.ENOENT)))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var s Socket
		sockets := 0
		_, _ = decodeDump(answer, &s, func(*Socket) { sockets++ })
		if sockets > len(answer)/(unix.SizeofNlMsghdr+sizeofMessage) {
			t.Errorf("%d sockets in %d bytes", sockets, len(answer))
		}
	})
}

// attribute is a netlink attribute.
func attribute(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	a = append(binary.NativeEndian.AppendUint16(a, kind), value...)
	return append(a, make([]byte, align4(len(a))-len(a))...)
}

func TestAttributes_tell_of_the_socket_that_they_follow_and_of_no_other(t *testing.T) {
	info, memory := make([]byte, offsetLastAck+4), make([]byte, offsetDrops+4)
	binary.NativeEndian.PutUint32(info[offsetLastAck:], 1500)
	binary.NativeEndian.PutUint32(memory[offsetDrops:], 7)
	name := attribute(attributeName, []byte("mptcp\x00"))
	for what, c := range map[string]struct {
		attributes []byte
		want       Socket
	}{
		"none":            {nil, Socket{}},
		"info":            {attribute(attributeInfo, info), Socket{LastAck: 1500 * time.Millisecond}},
		"shorter info":    {attribute(attributeInfo, info[:offsetLastAck+3]), Socket{}},
		"memory":          {attribute(attributeMemory, memory), Socket{Drops: 7}},
		"shorter memory":  {attribute(attributeMemory, memory[:offsetDrops+3]), Socket{}},
		"Multipath TCP":   {attribute(attributeULP|unix.NLA_F_NESTED, name), Socket{MPTCP: true}},
		"another ULP":     {attribute(attributeULP, attribute(attributeName, []byte("tls\x00"))), Socket{}},
		"a longer name":   {attribute(attributeULP, attribute(attributeName, []byte("mptcp2\x00"))), Socket{}},
		"no name of ULP":  {attribute(attributeULP, attribute(2, []byte("mptcp\x00"))), Socket{}},
		"all, and others": {slices.Concat(attribute(8, []byte{0}), attribute(attributeULP, name), attribute(attributeMemory, memory), attribute(attributeInfo, info)), Socket{LastAck: 1500 * time.Millisecond, MPTCP: true, Drops: 7}},
	} {
		s := Socket{LastAck: 1, MPTCP: true, Drops: 1} // of the socket before
		if _, err := decodeDump(message(byFamily, append(make([]byte, sizeofMessage), c.attributes...)), &s, func(*Socket) {}); err != nil {
			t.Fatal(err)
		}
		if s.LastAck != c.want.LastAck || s.MPTCP != c.want.MPTCP || s.Drops != c.want.Drops {
			t.Errorf("%s: %+v, want %+v", what, s, c.want)
		}
	}
}

func TestDecoding_allocates_nothing(t *testing.T) {
	const many = 200
	body := slices.Concat(make([]byte, sizeofMessage), attribute(attributeULP, attribute(attributeName, []byte("mptcp\x00"))), attribute(attributeMemory, make([]byte, 36)))
	answer := bytes.Repeat(message(byFamily, body), many)
	var s Socket
	n := 0
	each := func(s *Socket) {
		if s.MPTCP {
			n++
		}
	}
	if allocations := testing.AllocsPerRun(20, func() {
		if _, err := decodeDump(answer, &s, each); err != nil {
			t.Fatal(err)
		}
	}); allocations > 0 {
		t.Errorf("%v allocations for %d sockets", allocations, many)
	}
	if n != 21*many {
		t.Errorf("%d sockets, want %d", n, 21*many)
	}
}
