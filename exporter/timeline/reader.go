// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Reader turns the kernel's records into requests.
type Reader struct {
	Names Names
	// Add takes each request once it is complete.
	Add func(Request)

	awaiting map[uint64]*awaiting // by number
}

// awaiting is a request whose response has not been acknowledged.
type awaiting struct {
	request Request
	since   time.Time
}

const (
	// between is how long the reader sleeps: the kernel doesn't wake it, which would cost
	// the processes that it observes.
	between = 250 * time.Millisecond
	// An acknowledgement is told of when it comes, or when it will not come any more. What
	// told of it may be lost: then the request is published without.
	patience    = time.Minute
	mostAwaited = 4096
)

// Read reads a ring buffer with records of bpf/include/record.h until the context ends.
func (r *Reader) Read(ctx context.Context, records *ebpf.Map) error {
	ring, err := ringbuf.NewReader(records)
	if err != nil {
		return fmt.Errorf("read records of requests: %w", err)
	}
	defer ring.Close()
	r.awaiting = map[uint64]*awaiting{}
	tick := time.NewTicker(between)
	defer tick.Stop()
	var record ringbuf.Record
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.giveUp(now)
			if ring.AvailableBytes() == 0 { // which takes no system call
				continue
			}
			booted, err := BootTime()
			if err != nil {
				return err
			}
			ring.SetDeadline(now) // has passed: what is there is read, and nothing is waited for
			for err = ring.ReadInto(&record); err == nil; err = ring.ReadInto(&record) {
				r.handle(record.RawSample, booted, now)
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("read records of requests: %w", err)
			}
		}
	}
}

// BootTime is when CLOCK_MONOTONIC was 0, by the clock of today: a clock that is set
// moves it.
func BootTime() (time.Time, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return time.Time{}, fmt.Errorf("read monotonic clock: %w", err)
	}
	return time.Now().Add(-time.Duration(now.Nano())).Round(0), nil
}

func (r *Reader) handle(raw []byte, booted, now time.Time) {
	if len(raw) < 4 {
		return
	}
	switch binary.NativeEndian.Uint32(raw) {
	case recordRequest:
		var record requestRecord
		if !decode(raw, &record) {
			return
		}
		request := record.request(r.Names, booted)
		if record.IsAwaited == 0 || len(r.awaiting) >= mostAwaited {
			r.Add(request)
			return
		}
		r.awaiting[record.Request] = &awaiting{request, now}
	case recordFirstPacket, recordAck:
		var record packetRecord
		if !decode(raw, &record) {
			return
		}
		a, ok := r.awaiting[record.Request]
		switch {
		case !ok:
		case record.Kind == recordFirstPacket:
			a.request.add(firstPacket, record.Took)
		default:
			a.request.add(ack, record.Took)
			delete(r.awaiting, record.Request)
			r.Add(a.request)
		}
	}
}

// giveUp publishes what waits for its acknowledgement in vain.
func (r *Reader) giveUp(now time.Time) {
	for number, a := range r.awaiting {
		if now.Sub(a.since) > patience {
			delete(r.awaiting, number)
			r.Add(a.request)
		}
	}
}
