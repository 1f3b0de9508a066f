// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// kernel is the BTF of a kernel that has two enums.
func kernel(t testing.TB) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder([]btf.Type{
		&btf.Enum{Name: "drop_reason", Size: 4, Values: []btf.EnumValue{{Name: "DROP_REASON_NO_SOCKET", Value: 3}, {Name: "CONSUMED", Value: 1}}},
		&btf.Enum{Name: "verdict", Size: 4, Signed: true, Values: []btf.EnumValue{{Name: "VERDICT_ERROR", Value: ^uint64(0)}, {Name: "VERDICT_OK", Value: 0}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := builder.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

var (
	address  = structure(member{"ip", array(u8, 16)}, member{"port", &btf.Int{Name: "unsigned short", Size: 2}}, member{"family", &btf.Int{Name: "unsigned short", Size: 2}})
	listener = structure(member{"listener", address}, member{"netns", u32}, member{"netns_cookie", u64})
)

func TestDecoders_say_what_a_key_means(t *testing.T) {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	ipv4 := raw([4]byte{127, 0, 0, 1}, [12]byte{}, uint16(8080), uint16(2))
	ipv6 := raw([16]byte{15: 1}, uint16(443), uint16(10))
	mapped := raw([16]byte{10: 255, 11: 255, 12: 10, 15: 7}, uint16(80), uint16(10))
	for _, test := range []struct {
		sentence string
		label    Label
		t        btf.Type
		key      []byte
		want     string
	}{
		{"a number", Label{}, u32, raw(uint32(4_000_000_000)), "4000000000"},
		{"a number of one byte", Label{Decode: "cpu"}, u8, []byte{200}, "200"},
		{"an IPv4 address", Label{Decode: "sockaddr"}, address, ipv4, "127.0.0.1:8080"},
		{"an IPv6 address", Label{Decode: "sockaddr"}, address, ipv6, "[::1]:443"},
		{"an IPv4 address in an IPv6 socket", Label{Decode: "sockaddr"}, address, mapped, "10.0.0.7:80"},
		{"text up to the NUL", Label{Decode: "string"}, array(u8, 8), []byte("nginx\x00xy"), "nginx"},
		{"text that fills the field", Label{Decode: "string"}, array(u8, 4), []byte("abcd"), "abcd"},
		{"text cut within a letter", Label{Decode: "string"}, array(u8, 4), []byte("abc\xc3"), "abc\uFFFD"},
		{"bytes that are no text", Label{Decode: "string"}, array(u8, 4), []byte("a\xff\xfeb"), "a\uFFFDb"},
		{"an interface", Label{Decode: "ifname"}, u32, raw(uint32(loopback.Index)), "lo"},
		{"an interface that has gone", Label{Decode: "ifname"}, u32, raw(uint32(1 << 30)), "1073741824"},
		{"a kernel address", Label{Decode: "ksym"}, u64, raw(uint64(0xffff)), "0xffff"},
		{"a process", Label{Decode: "comm"}, u32, raw(uint32(os.Getpid())), strings.TrimSpace(string(comm))},
		{"a process that has gone", Label{Decode: "comm"}, u32, raw(uint32(1 << 30)), ""},
		{"a value of a kernel's enum", Label{Decode: "enum", Enum: "drop_reason", Prefix: "DROP_REASON_"}, u32, raw(uint32(3)), "no_socket"},
		{"a value without the prefix", Label{Decode: "enum", Enum: "drop_reason", Prefix: "DROP_REASON_"}, u8, []byte{1}, "consumed"},
		{"a value that the enum does not have", Label{Decode: "enum", Enum: "drop_reason"}, u32, raw(uint32(99)), "99"},
		{"a negative value of an enum", Label{Decode: "enum", Enum: "verdict"}, s32, raw(int32(-1)), "verdict_error"},
		{"a number with a name of its own", Label{Decode: "static_map", Map: map[string]string{"0x1": "one"}}, u32, raw(uint32(1)), "one"},
		{"a number without one", Label{Decode: "static_map", Map: map[string]string{"1": "one"}}, u32, raw(uint32(2)), "2"},
		{"a network namespace", Label{Decode: "netns"}, u32, raw(uint32(7)), "7"},
		{"whose connection a local address is", Label{Decode: "service_of_local_address"}, listener, raw(ipv4, uint32(1), uint64(2)), "owner of port 8080"},
		{"a local address that nobody listens on", Label{Decode: "service_of_local_address"}, listener, raw([20]byte{}, uint32(1), uint64(2)), ""},
		{"a listener's owner", Label{Decode: "service_of_listener"}, listener, raw(ipv4, uint32(1), uint64(2)), "owner of 127.0.0.1:8080"},
		{"a panic", Label{Decode: "http_status"}, u32, raw(uint32(1)), "panic"},
		{"a connection taken over", Label{Decode: "http_status"}, u32, raw(uint32(2)), "hijacked"},
		{"a status of three digits", Label{Decode: "http_status"}, u32, raw(uint32(99)), "099"},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			env := environment(newWorld())
			env.KernelBTF = kernel(t)
			decode, err := newDecoder(test.label, test.t, env)
			if err != nil {
				t.Fatal(err)
			}
			if got := decode(&row{key: test.key}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestDecoders_refuse_a_key_that_they_cannot_read(t *testing.T) {
	for _, test := range []struct {
		label Label
		t     btf.Type
		want  string
	}{
		{Label{Decode: "sockaddr"}, u32, `wrong size: decoder "sockaddr" reads [20] bytes, "key" has 4`},
		{Label{Decode: "uint", From: "key.name"}, structure(member{"name", array(u8, 3)}), `wrong size: decoder "uint" reads [1 2 4 8] bytes, "key.name" has 3`},
		{Label{From: "key.prt"}, address, `no such field: "key.prt", there is: key, key.ip, key.port, key.family`},
		{Label{From: "value.port"}, address, `no such field: "value.port" must be "key" or begin with "key."`},
		{Label{Decode: "service_of_process"}, address, `service_of_process reads the key's tgid: no such field: "key.tgid", there is: key, key.ip, key.port, key.family`},
		{Label{Decode: "service_of_listener"}, structure(member{"listener", u32}, member{"netns", u32}), `wrong size: service_of_listener reads struct listener_key of bpf/include/listener.h`},
		{Label{Decode: "route"}, address, `route reads the key's path_source: no such field: "key.path_source", there is: key, key.ip, key.port, key.family`},
		{Label{Decode: "enum", Enum: "drop_raeson"}, u32, `enum "drop_raeson" of the running kernel: not found`},
		{Label{Decode: "static_map", Map: map[string]string{"x": "y"}}, u32, `static_map: "x" is not a number`},
		{Label{Decode: "strnig"}, u32, `unknown decoder "strnig"`},
	} {
		env := environment(newWorld())
		env.KernelBTF = kernel(t)
		if _, err := newDecoder(test.label, test.t, env); err == nil || err.Error() != test.want {
			t.Errorf("%+v: got %v, want %s", test.label, err, test.want)
		}
	}
}

func TestFindField_finds_members_by_name(t *testing.T) {
	inner := structure(member{"a", u32}, member{"b", u64})
	outer := structure(member{"first", inner}, member{"", structure(member{"hidden", u8})}, member{"second", inner}, member{"c", u64})
	outer.Members = append(outer.Members, btf.Member{Name: "flag", Type: u32, Offset: 8 * 33, BitfieldSize: 1})
	for path, want := range map[string][2]uint32{
		"key": {0, outer.Size}, "key.first": {0, 12}, "key.first.b": {4, 8}, "key.hidden": {12, 1}, "key.second.a": {13, 4}, "key.c": {25, 8},
	} {
		field, err := FindField("key", outer, path)
		if err != nil || field.Offset != want[0] || field.Size != want[1] {
			t.Errorf("%s: found %d bytes at %d (%v), want %d at %d", path, field.Size, field.Offset, err, want[1], want[0])
		}
	}
	const fields = "key, key.first, key.first.a, key.first.b, key.hidden, key.second, key.second.a, key.second.b, key.c, key.flag"
	for path, want := range map[string]string{
		"key.a":    `no such field: "key.a" is ambiguous, there is: ` + fields,
		"key.z":    `no such field: "key.z", there is: ` + fields,
		"key.flag": `no such field: "key.flag" is a bit field; give it bytes of its own`,
	} {
		if _, err := FindField("key", outer, path); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

// Keys are written by BPF programs from what the kernel and other processes
// hold, so they may be anything.
func FuzzDecoders(f *testing.F) {
	for i := range decoders {
		f.Add([]byte(i))
	}
	f.Add([]byte("\xff\xfe\xfd"))
	f.Add(raw([4]byte{127, 0, 0, 1}, [12]byte{}, uint16(8080), uint16(2), uint32(1), uint32(1)))
	key := structure(
		member{"listener", address}, member{"netns", u32}, member{"netns_cookie", u64},
		member{"tgid", u32}, member{"executable", u32}, member{"number", u64}, member{"small", u8}, member{"signed", s32},
		member{"method", u8}, member{"path_source", u8}, member{"path", array(u8, 32)}, member{"worker", array(u8, 16)},
	)
	from := map[string]string{
		"uint": "key.number", "cpu": "key.small", "string": "key.path", "sockaddr": "key.listener", "ifname": "key.tgid", "ksym": "key.number",
		"comm": "key.tgid", "enum": "key.signed", "static_map": "key.small", "netns": "key.netns", "worker": "key.worker", "route": "key.path", "http_method": "key.method", "http_status": "key.executable",
	}
	m := Definition{Name: "fuzz", Type: Gauge, Aggregate: Count}
	for _, name := range Decoders() {
		label := Label{Name: name, Decode: name, From: from[name]}
		switch name {
		case "enum":
			label.Enum = "verdict"
		case "static_map":
			label.Map = map[string]string{"7": "seven"}
		}
		m.Labels = append(m.Labels, label)
	}
	env := environment(newWorld())
	env.KernelBTF = kernel(f)
	labeler, err := newLabeler(m, key, env)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := make([]byte, key.Size)
		copy(raw, data)
		for i, value := range labeler.of(raw).values {
			if !utf8.ValidString(value) {
				t.Errorf("decoder %q made %s of %x", m.Labels[i].Decode, strconv.QuoteToASCII(value), raw)
			}
		}
		clear(labeler.known)
	})
}
