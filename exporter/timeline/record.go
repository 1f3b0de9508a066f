// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/metric"
)

// Kinds of records (enum record_kind of bpf/include/record.h).
const (
	recordRequest     = 1
	recordFirstPacket = 2
	recordAck         = 3
)

// notSeen stands in place of the nanoseconds of a stage.
const notSeen = ^uint64(0)

// requestRecord is struct request_record of bpf/include/record.h.
type requestRecord struct {
	Kind, Tag                                                     uint32
	Request, Goroutine                                            uint64
	EndedAt                                                       uint64 // CLOCK_MONOTONIC, nanoseconds, as all durations
	Threshold                                                     uint64
	Handshake, AcceptQueue, ReadWait, Parse, Handler, FirstPacket uint64
	Local, Remote                                                 [20]byte
	IsSlow, IsAwaited                                             uint32
	PID, Executable                                               uint32
	Status                                                        uint16
	Method, PathSource                                            uint8
	Path                                                          [127]byte
	ClientGone                                                    uint8
	TraceParent                                                   [56]byte
	_                                                             uint32
}

// packetRecord is struct packet_record of bpf/include/record.h.
type packetRecord struct {
	Kind, _ uint32
	Request uint64
	Took    uint64 // nanoseconds
}

// Names tells what the numbers in a record mean; metric.Resolver has them all.
type Names interface {
	ServiceOfProcess(tgid, executable uint32) string
	Route(service, method, path string, source metric.RouteSource) string
}

// stageNames are the stages up to the handler's, in the order of time.
var stageNames = [...]string{"handshake", "accept_queue", "read_wait", "parse", "handler"}

// The stages after those.
const (
	firstPacket = "first_packet"
	ack         = "ack"
)

// request makes a request of a record. booted is when CLOCK_MONOTONIC was 0.
func (record *requestRecord) request(names Names, booted time.Time) Request {
	service := names.ServiceOfProcess(record.PID, record.Executable)
	method := metric.HTTPMethod(uint64(record.Method))
	r := Request{
		ID:          fmt.Sprintf("%016x", record.Request),
		Service:     service,
		PID:         record.PID,
		Goroutine:   record.Goroutine,
		Method:      method,
		Path:        names.Route(service, method, text(record.Path[:]), metric.RouteSource(record.PathSource)),
		Status:      metric.HTTPStatus(uint64(record.Status)),
		Local:       address(record.Local),
		Remote:      address(record.Remote),
		TraceParent: text(record.TraceParent[:]),
		ClientGone:  record.ClientGone != 0,
		Slow:        record.IsSlow != 0,
		Threshold:   time.Duration(record.Threshold),
		Tag:         record.Tag,
		Window:      record.EndedAt / uint64(windowLength),
	}
	for i, took := range [...]uint64{record.Handshake, record.AcceptQueue, record.ReadWait, record.Parse, record.Handler} {
		r.add(stageNames[i], took)
	}
	r.Started = booted.Add(time.Duration(record.EndedAt) - r.Duration)
	r.add(firstPacket, record.FirstPacket)
	return r
}

// add appends a stage, unless it was not seen.
func (r *Request) add(stage string, nanoseconds uint64) {
	if nanoseconds != notSeen {
		r.Stages = append(r.Stages, Stage{stage, time.Duration(nanoseconds)})
		r.Duration += time.Duration(nanoseconds)
	}
}

// text is what comes before the first NUL.
func text(raw []byte) string {
	before, _, _ := bytes.Cut(raw, []byte{0})
	return strings.ToValidUTF8(string(before), "\uFFFD")
}

// address decodes an address, which is not known if its family is 0.
func address(raw [20]byte) netip.AddrPort {
	if binary.NativeEndian.Uint16(raw[18:]) == 0 {
		return netip.AddrPort{}
	}
	return metric.DecodeAddress(raw[:])
}

// decode reads a record of its kind; ok is false for what is none.
func decode(raw []byte, into any) (ok bool) {
	n, err := binary.Decode(raw, binary.NativeEndian, into)
	return err == nil && n > 0
}
