// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/metric"
)

// names answers with what it is asked.
type names struct{}

func (names) ServiceOfProcess(tgid, executable uint32) string {
	return fmt.Sprint(tgid, "/", executable)
}

func (names) Route(service, method, path string, source metric.RouteSource) string {
	return fmt.Sprint(service, " ", method, " ", path, " ", source)
}

func raw(t *testing.T, record any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, record); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The compiled object says how large the records are.
func TestRecords_are_of_the_size_that_the_object_says(t *testing.T) {
	object, err := bpf.Object("http")
	if err != nil {
		t.Fatal(err)
	}
	types, err := btf.LoadSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string]any{"request_record": requestRecord{}, "packet_record": packetRecord{}} {
		var s *btf.Struct
		if err := types.TypeByName(name, &s); err != nil {
			t.Fatal(err)
		}
		if got := binary.Size(record); got != int(s.Size) {
			t.Errorf("struct %s has %d bytes, its decoder reads %d", name, s.Size, got)
		}
	}
}

func aRecord(number uint64) requestRecord {
	record := requestRecord{
		Kind: recordRequest, Tag: 9, Request: number, Goroutine: 42, EndedAt: uint64(25 * time.Minute), Threshold: 5e6,
		Handshake: notSeen, AcceptQueue: 1e6, ReadWait: 2e6, Parse: 0, Handler: 7e6, FirstPacket: notSeen,
		IsSlow: 1, PID: 100, Executable: 3, Status: 503, Method: 3, PathSource: 1, ClientGone: 1,
	}
	copy(record.Path[:], "/a/b")
	copy(record.Local[:], []byte{127, 0, 0, 1})
	binary.NativeEndian.PutUint16(record.Local[16:], 8080)
	binary.NativeEndian.PutUint16(record.Local[18:], 2) // AF_INET
	return record
}

// aRecordStages are those of aRecord.
var aRecordStages = []Stage{{"accept_queue", 1e6}, {"read_wait", 2e6}, {"parse", 0}, {"handler", 7e6}}

func TestRecord_becomes_a_request_with_the_stages_that_were_seen(t *testing.T) {
	record := aRecord(0xabc)
	booted := time.Unix(1000, 0)
	got := record.request(names{}, booted)
	want := Request{
		ID: "0000000000000abc", Service: "100/3", PID: 100, Goroutine: 42, Method: "POST", Path: "100/3 POST /a/b 1", Status: "503", ClientGone: true,
		Local: netip.MustParseAddrPort("127.0.0.1:8080"), Started: booted.Add(25*time.Minute - 10*time.Millisecond),
		Slow: true, Duration: 10 * time.Millisecond, Threshold: 5 * time.Millisecond, Tag: 9, Window: 2,
		Stages: aRecordStages,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRequest_is_published_once_its_response_is_acknowledged(t *testing.T) {
	var added []Request
	r := &Reader{Names: names{}, Add: func(r Request) { added = append(added, r) }, awaiting: map[uint64]*awaiting{}}
	now := time.Now()
	handle := func(record any) { r.handle(raw(t, record), time.Unix(0, 0), now) }
	want := func(ids ...string) {
		t.Helper()
		var got []string
		for _, r := range added {
			got = append(got, fmt.Sprint(r.ID[14:], r.Stages[len(aRecordStages):]))
			if !slices.Equal(r.Stages[:len(aRecordStages)], aRecordStages) {
				t.Errorf("%s begins with the stages %v, want %v", r.ID, r.Stages, aRecordStages)
			}
		}
		if !slices.Equal(got, ids) {
			t.Errorf("published are %v, want %v", got, ids)
		}
		added = nil
	}
	ended := aRecord(1) // one that sends no packet
	handle(ended)
	want("01[]")

	for number := uint64(2); number <= 6; number++ {
		waits := aRecord(number)
		waits.IsAwaited = 1
		handle(waits)
	}
	want()
	packet := func(kind uint32, number, took uint64) {
		handle(packetRecord{Kind: kind, Request: number, Took: took})
	}
	packet(recordFirstPacket, 3, 5e6)
	want()
	packet(recordFirstPacket, 4, 6e6)
	packet(recordAck, 3, 8e6)
	want("03[{first_packet 5ms} {ack 8ms}]")
	packet(recordAck, 3, 8e6)
	packet(recordFirstPacket, 77, 5e6)
	packet(recordAck, 77, 5e6)
	want()
	packet(recordAck, 2, notSeen) // its connection has gone
	want("02[]")
	packet(recordAck, 4, notSeen)
	want("04[{first_packet 6ms}]")
	packet(recordFirstPacket, 5, 7e6)
	r.giveUp(now.Add(patience))
	want()
	r.giveUp(now.Add(patience + 1))
	slices.SortFunc(added, func(a, b Request) int { return strings.Compare(a.ID, b.ID) })
	want("05[{first_packet 7ms}]", "06[]")
	begun := aRecord(7) // one whose first packet had left before its handler returned
	begun.FirstPacket, begun.IsAwaited = 0, 1
	handle(begun)
	want()
	packet(recordAck, 7, 9e6)
	want("07[{first_packet 0s} {ack 9ms}]")
	if len(r.awaiting) > 0 {
		t.Errorf("%d are still awaited", len(r.awaiting))
	}

	for number := range uint64(mostAwaited + 2) {
		waits := aRecord(number)
		waits.IsAwaited = 1
		handle(waits)
	}
	if len(added) != 2 || len(r.awaiting) != mostAwaited {
		t.Errorf("%d are published and %d awaited, want 2 and %d", len(added), len(r.awaiting), mostAwaited)
	}
	added = nil
	for _, broken := range [][]byte{nil, {1}, {1, 0, 0, 0}, {2, 0, 0, 0, 0}, {3, 0, 0, 0, 0}, {9, 0, 0, 0, 0, 0, 0, 0}} {
		r.handle(broken, time.Time{}, now)
	}
	want()
}

func TestSample_of_a_service_is_of_its_lowest_tags(t *testing.T) {
	s := newStore(6 * 2 * 100)
	for i := range uint32(1000) {
		r := ordinary("checkout", int(i))
		r.Tag = i * 7 % 1000
		s.Add(r)
	}
	kept := s.Find(Query{})
	if len(kept) != mostSampled {
		t.Fatalf("%d are kept, want %d", len(kept), mostSampled)
	}
	for _, r := range kept {
		if r.Tag >= mostSampled {
			t.Errorf("tag %d is kept", r.Tag)
		}
	}
}

func TestStore_of_another_size_begins_anew_and_one_of_the_same_goes_on(t *testing.T) {
	s := newStore(12)
	subscription := s.Subscribe(Filter{})
	defer subscription.Cancel()
	s.Add(slow("checkout", 1))
	s.SetLimit(12)
	if kept := len(s.Find(Query{})); kept != 1 {
		t.Errorf("%d are kept, want 1", kept)
	}
	s.SetLimit(24)
	if kept := len(s.Find(Query{})); kept != 0 {
		t.Errorf("%d are kept, want none", kept)
	}
	for i := range 5 {
		s.Add(slow("checkout", time.Duration(i)))
	}
	if kept := len(s.Find(Query{})); kept != 2 { // half of a sixth of 24
		t.Errorf("%d are kept, want 2", kept)
	}
}
