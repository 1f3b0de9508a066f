// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProcessor_time_is_that_of_getrusage(t *testing.T) {
	// Its own threads are on a processor while they read: between two rusages, give
	// or take what the kernel has not added up yet, a tick of 10 ms for each thread.
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
	}
	before := rusage(t)
	got, err := processorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := rusage(t)
	const slack = 40 * time.Millisecond
	if got < before-slack || got > after+slack {
		t.Errorf("processor time %v, getrusage said %v before and %v after", got, before, after)
	}
}

func rusage(t *testing.T) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestThe_processor_time_of_no_process_is_an_error(t *testing.T) {
	// Process ids end below 2^22 (PID_MAX_LIMIT, include/linux/threads.h).
	if got, err := processorTime(1 << 30); err == nil {
		t.Errorf("got %v", got)
	}
}

func TestResident_memory_is_what_was_written_to(t *testing.T) {
	ballast := make([]byte, 64<<20)
	for i := 0; i < len(ballast); i += os.Getpagesize() {
		ballast[i] = 1
	}
	got, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got.resident < uint64(len(ballast)) || got.resident > uint64(len(ballast))+256<<20 {
		t.Errorf("resident %d bytes with %d written to", got.resident, len(ballast))
	}
	if got.most < got.resident {
		t.Errorf("at most %d bytes, now %d", got.most, got.resident)
	}
	if got.maps != 0 {
		t.Errorf("%d bytes of BPF maps in a process that has none", got.maps)
	}
	if ballast[0] != 1 {
		t.Error("the ballast has changed")
	}
}
