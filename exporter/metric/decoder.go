// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// row is one entry of a map on its way to becoming labels.
type row struct {
	key     []byte
	service string      // what a service decoder found
	alive   func() bool // whether the row's owner lives; nil where it has none
	serve   func() bool // whether what the row counted should still be served
}

// decoder makes the value of a label of a row. It may keep in the row what
// decoders of later labels need.
type decoder func(*row) string

// Environment is what decoders look things up in.
type Environment struct {
	Resolver  Resolver
	KernelBTF *btf.Spec                   // for enum
	Symbol    func(address uint64) string // for ksym
}

// decoderMaker makes the decoder of one label; field is what the label's from
// names.
type decoderMaker struct {
	sizes []uint32 // byte sizes that the field may have, any where empty
	make  func(label Label, field Field, keyType btf.Type, env Environment) (decoder, error)
}

var decoders = map[string]decoderMaker{
	"uint":                     {numberSizes, makeUint},
	"cpu":                      {numberSizes, makeUint},
	"string":                   {nil, makeString},
	"sockaddr":                 {[]uint32{sizeofAddress}, makeSockaddr},
	"ifname":                   {[]uint32{4}, makeIfname},
	"ksym":                     {[]uint32{8}, makeKsym},
	"comm":                     {[]uint32{4}, makeComm},
	"enum":                     {numberSizes, makeEnum},
	"static_map":               {numberSizes, makeStaticMap},
	"netns":                    {[]uint32{4}, makeNetns},
	"worker":                   {[]uint32{16}, makeWorker},
	"service_of_listener":      {nil, makeServiceOfListener},
	"service_of_local_address": {nil, makeServiceOfLocalAddress},
	"service_of_process":       {nil, makeServiceOfProcess},
	"route":                    {nil, makeRoute},
	"http_method":              {numberSizes, makeHTTPMethod},
	"http_status":              {[]uint32{2, 4}, makeHTTPStatus},
}

// Decoders lists the names of all decoders.
func Decoders() []string {
	names := make([]string, 0, len(decoders))
	for name := range decoders {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// errSize is returned for a field whose size a decoder can't read.
var errSize = errors.New("wrong size")

func newDecoder(label Label, keyType btf.Type, env Environment) (decoder, error) {
	name := label.Decode
	if name == "" {
		name = "uint"
	}
	maker, ok := decoders[name]
	if !ok {
		return nil, fmt.Errorf("unknown decoder %q", name)
	}
	from := label.From
	if from == "" {
		from = "key"
	}
	field, err := FindField("key", keyType, from)
	if err != nil {
		return nil, err
	}
	if len(maker.sizes) > 0 && !slices.Contains(maker.sizes, field.Size) {
		return nil, fmt.Errorf("%w: decoder %q reads %v bytes, %q has %d", errSize, name, maker.sizes, from, field.Size)
	}
	if name != "enum" {
		env.KernelBTF = nil // decoders stay, and so would megabytes of types
	}
	return maker.make(label, field, keyType, env)
}

// numberSizes are the sizes, in bytes, that a number may have.
var numberSizes = []uint32{1, 2, 4, 8}

// intOf reads a signed number of 1, 2, 4 or 8 bytes in host order.
func intOf(raw []byte) int64 {
	unused := 64 - 8*len(raw)
	return int64(uintOf(raw)<<unused) >> unused
}

// uintOf reads an unsigned number of 1, 2, 4 or 8 bytes in host order.
func uintOf(raw []byte) uint64 {
	switch len(raw) {
	case 1:
		return uint64(raw[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(raw))
	case 4:
		return uint64(binary.NativeEndian.Uint32(raw))
	case 8:
		return binary.NativeEndian.Uint64(raw)
	}
	return 0
}

func makeUint(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string { return strconv.FormatUint(uintOf(field.Bytes(r.key)), 10) }, nil
}

// makeString reads a NUL-terminated text. What is not UTF-8 becomes U+FFFD:
// Prometheus refuses an exposition with anything else.
func makeString(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string { return text(field.Bytes(r.key)) }, nil
}

func text(raw []byte) string {
	raw, _, _ = bytes.Cut(raw, []byte{0})
	if utf8.Valid(raw) {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw), "\uFFFD")
}

// makeSockaddr reads struct address of bpf/include/listener.h.
func makeSockaddr(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string { return DecodeAddress(field.Bytes(r.key)).String() }, nil
}

// sizeofAddress is the size of struct address.
const sizeofAddress = 20

// DecodeAddress reads struct address of bpf/include/listener.h.
func DecodeAddress(raw []byte) netip.AddrPort {
	const afInet6 = 10
	port := binary.NativeEndian.Uint16(raw[16:])
	if binary.NativeEndian.Uint16(raw[18:]) == afInet6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(raw[:16])).Unmap(), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[:4])), port)
}

func makeIfname(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string {
		index := int(uintOf(field.Bytes(r.key)))
		if iface, err := net.InterfaceByIndex(index); err == nil {
			return iface.Name
		}
		return strconv.Itoa(index)
	}, nil
}

func makeKsym(_ Label, field Field, _ btf.Type, env Environment) (decoder, error) {
	return func(r *row) string { return env.Symbol(uintOf(field.Bytes(r.key))) }, nil
}

// makeComm turns a process number into the name of the process.
func makeComm(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", uintOf(field.Bytes(r.key))))
		if err != nil {
			return ""
		}
		return strings.ToValidUTF8(strings.TrimSuffix(string(comm), "\n"), "\uFFFD")
	}, nil
}

// makeEnum names a number by an enum of the running kernel: the numbers of drop
// reasons, for example, move from one release to the next.
func makeEnum(label Label, field Field, _ btf.Type, env Environment) (decoder, error) {
	var enum *btf.Enum
	if err := env.KernelBTF.TypeByName(label.Enum, &enum); err != nil {
		return nil, fmt.Errorf("enum %q of the running kernel: %w", label.Enum, err)
	}
	// A negative value fills 64 bits in the enum and as many as it has in the key.
	names := numberNames{}
	for number, name := range EnumNames(enum, label.Prefix) {
		names[number<<(64-8*field.Size)>>(64-8*field.Size)] = name
	}
	return func(r *row) string { return names.of(uintOf(field.Bytes(r.key))) }, nil
}

type numberNames map[uint64]string

func (n numberNames) of(number uint64) string {
	if name, ok := n[number]; ok {
		return name
	}
	return strconv.FormatUint(number, 10)
}

// EnumNames returns the names of an enum's values, lower case and without a
// prefix.
func EnumNames(enum *btf.Enum, prefix string) map[uint64]string {
	names := make(map[uint64]string, len(enum.Values))
	for _, value := range enum.Values {
		names[value.Value] = strings.ToLower(strings.TrimPrefix(value.Name, prefix))
	}
	return names
}

func makeStaticMap(label Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	names := make(numberNames, len(label.Map))
	for number, name := range label.Map {
		n, err := strconv.ParseUint(number, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("static_map: %q is not a number", number)
		}
		names[n] = name
	}
	return func(r *row) string { return names.of(uintOf(field.Bytes(r.key))) }, nil
}

func makeNetns(_ Label, field Field, _ btf.Type, env Environment) (decoder, error) {
	return func(r *row) string { return env.Resolver.NetworkNamespace(uint32(uintOf(field.Bytes(r.key)))) }, nil
}

func makeWorker(_ Label, field Field, _ btf.Type, env Environment) (decoder, error) {
	return func(r *row) string {
		raw := field.Bytes(r.key) // struct worker of bpf/accept.bpf.c
		return env.Resolver.Worker(binary.NativeEndian.Uint32(raw[8:]), binary.NativeEndian.Uint64(raw))
	}, nil
}

func makeServiceOfListener(_ Label, _ Field, keyType btf.Type, env Environment) (decoder, error) {
	find, err := listenerIn(keyType, "service_of_listener")
	if err != nil {
		return nil, err
	}
	return func(r *row) string {
		listener := find(r)
		r.alive = func() bool { return env.Resolver.ListenerAlive(listener) }
		r.serve = r.alive
		r.service = env.Resolver.ServiceOfListener(listener)
		return r.service
	}, nil
}

// makeServiceOfLocalAddress names a service by the address of one of its
// connections. The service has other connections too, so what this one counted
// is served as long as the service is.
func makeServiceOfLocalAddress(_ Label, _ Field, keyType btf.Type, env Environment) (decoder, error) {
	find, err := listenerIn(keyType, "service_of_local_address")
	if err != nil {
		return nil, err
	}
	return func(r *row) string {
		service, listener, ok := env.Resolver.ServiceOfLocalAddress(find(r))
		if !ok {
			return "" // and the row stays: a program may be about to add to it
		}
		r.alive = func() bool { return env.Resolver.ListenerAlive(listener) }
		r.serve = func() bool { return env.Resolver.ServiceAlive(service) }
		r.service = service
		return service
	}, nil
}

// listenerIn finds struct listener_key of bpf/include/listener.h in a key, for the
// decoder with a name.
func listenerIn(keyType btf.Type, name string) (func(*row) Listener, error) {
	address, err := FindField("key", keyType, "key.listener")
	if err != nil {
		return nil, fmt.Errorf("%s reads the key's listener and netns: %w", name, err)
	}
	netns, err := FindField("key", keyType, "key.netns")
	if err != nil {
		return nil, fmt.Errorf("%s reads the key's listener and netns: %w", name, err)
	}
	if address.Size != sizeofAddress || netns.Size != 4 {
		return nil, fmt.Errorf("%w: %s reads struct listener_key of bpf/include/listener.h", errSize, name)
	}
	cookie, err := FindField("key", keyType, "key.netns_cookie")
	hasCookie := err == nil
	return func(r *row) Listener {
		listener := Listener{Address: DecodeAddress(address.Bytes(r.key)), Netns: uint32(uintOf(netns.Bytes(r.key)))}
		if hasCookie {
			listener.Cookie = uintOf(cookie.Bytes(r.key))
		}
		return listener
	}, nil
}

func makeServiceOfProcess(_ Label, _ Field, keyType btf.Type, env Environment) (decoder, error) {
	tgid, err := FindField("key", keyType, "key.tgid")
	if err != nil {
		// The key may also be the number of the process itself.
		if tgid, _ = FindField("key", keyType, "key"); tgid.Size != 4 {
			return nil, fmt.Errorf("service_of_process reads the key's tgid: %w", err)
		}
	}
	// Without an executable in the key the process is taken as it is now.
	executable, err := FindField("key", keyType, "key.executable")
	hasExecutable := err == nil
	return func(r *row) string {
		process, number := uint32(uintOf(tgid.Bytes(r.key))), uint32(0)
		if hasExecutable {
			number = uint32(uintOf(executable.Bytes(r.key)))
		}
		r.alive = func() bool { return env.Resolver.ProcessAlive(process, number) }
		service := env.Resolver.ServiceOfProcess(process, number)
		r.serve = func() bool { return env.Resolver.ServiceAlive(service) }
		r.service = service
		return service
	}, nil
}

// makeRoute turns the path of a request into a route template. It uses the
// label service of the same row, which must come before it.
func makeRoute(_ Label, field Field, keyType btf.Type, env Environment) (decoder, error) {
	source, err := FindField("key", keyType, "key.path_source")
	if err != nil {
		return nil, fmt.Errorf("route reads the key's path_source: %w", err)
	}
	method, err := FindField("key", keyType, "key.method")
	if err != nil {
		return nil, fmt.Errorf("route reads the key's method: %w", err)
	}
	return func(r *row) string {
		return env.Resolver.Route(r.service, HTTPMethod(uintOf(method.Bytes(r.key))), text(field.Bytes(r.key)), RouteSource(uintOf(source.Bytes(r.key))))
	}, nil
}

// httpMethods are the numbers of enum method in bpf/include/connection.h.
var httpMethods = numberNames{
	0: "other", 1: "GET", 2: "HEAD", 3: "POST", 4: "PUT", 5: "PATCH", 6: "DELETE", 7: "CONNECT", 8: "OPTIONS", 9: "TRACE",
}

// HTTPMethod names a number of enum method in bpf/include/connection.h.
func HTTPMethod(number uint64) string { return httpMethods.of(number) }

func makeHTTPMethod(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string { return HTTPMethod(uintOf(field.Bytes(r.key))) }, nil
}

// The status codes below 100 are outcomes (enum outcome in bpf/http.bpf.c).
const (
	outcomePanic    = 1
	outcomeHijacked = 2
)

// HTTPStatus is the label of a status code or an outcome.
func HTTPStatus(number uint64) string {
	switch number {
	case outcomePanic:
		return "panic"
	case outcomeHijacked:
		return "hijacked"
	}
	return fmt.Sprintf("%03d", number)
}

func makeHTTPStatus(_ Label, field Field, _ btf.Type, _ Environment) (decoder, error) {
	return func(r *row) string { return HTTPStatus(uintOf(field.Bytes(r.key))) }, nil
}

// DecodeListener reads struct listener_key of bpf/include/listener.h.
func DecodeListener(raw []byte) Listener {
	return Listener{DecodeAddress(raw), binary.NativeEndian.Uint32(raw[20:]), binary.NativeEndian.Uint64(raw[24:])}
}
