// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const (
	readWait    = "tcpslo_tcp_read_wait_seconds"
	writeToWire = "tcpslo_tcp_write_to_wire_seconds"
	sendmsgTime = "tcpslo_tcp_sendmsg_seconds"
	recvmsgTime = "tcpslo_tcp_recvmsg_seconds"
)

// receive reads n bytes, whenever they come.
func receive(t *testing.T, c *labtest.Conn, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for buffer := make([]byte, 1<<16); n > 0; {
		got, err := unix.Read(c.FD, buffer[:min(n, len(buffer))])
		switch {
		case err == unix.EAGAIN && time.Now().Before(deadline):
			unix.Poll([]unix.PollFd{{Fd: int32(c.FD), Events: unix.POLLIN}}, 100)
		case err != nil || got == 0:
			t.Fatalf("%d bytes are missing: %v", n, err)
		default:
			n -= got
		}
	}
}

// exchanges sends a request and waits for the answer, again and again. took is the
// sum of the times from one to the other.
func exchanges(t *testing.T, c *labtest.Conn, rounds, request, answer int) (took time.Duration) {
	t.Helper()
	for range rounds {
		began := time.Now()
		send(t, c, request)
		receive(t, c, answer)
		took += time.Since(began)
	}
	return took
}

func TestReads_and_writes_of_a_server_are_each_measured_once(t *testing.T) {
	for _, test := range []struct {
		sentence        string
		flags           string
		rounds          int
		request, answer int // bytes; the server answers each read
		reads           int
	}{
		{"one read for each request", "-reply 64", 200, 300, 64, 200},
		{"ten reads for each request", "-size 1024 -reply 1", 50, 10_240, 10, 500},
		{"a peek before each read", "-peek -reply 8", 100, 500, 8, 100},
		{"a splice in turn with each read", "-splice -reply 8", 100, 500, 8, 50},
		{"answers of many segments", "-reply 400000", 50, 10, 400_000, 50},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			ex := start(t)
			r := startReader(t, nil, "measured", strings.Fields(test.flags)...)
			c := r.connect(t, nil)
			took := exchanges(t, c, test.rounds, test.request, test.answer)
			c.Close()
			got := r.waitCounts(t, test.rounds*test.request)
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				errs := []error{
					same("reads", got.Reads, test.reads),
					exact(x, "read waits", x.HistogramCount(readWait, r.labels()), uint64(got.Reads)),
					exact(x, "read sizes", x.HistogramCount(readSize, r.labels()), uint64(got.Reads)),
					exactSum(x, "bytes read", x.HistogramSum(readSize, r.labels()), float64(got.Bytes), float64(test.request)),
					same("lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "socketio"}), 0),
				}
				between := func(name string) error {
					if sum := x.HistogramSum(name, r.labels()); sum <= 0 || sum > took.Seconds() {
						return fmt.Errorf("%s adds up to %v s, want more than 0 and at most %v, the time of all exchanges", name, sum, took.Seconds())
					}
					return nil
				}
				errs = append(errs, between(readWait))
				if seesWritesBegin(t) {
					errs = append(errs, between(writeToWire), exact(x, "writes", x.HistogramCount(writeToWire, r.labels()), uint64(got.Writes)))
				}
				if tracesCalls(t) {
					errs = append(errs,
						exact(x, "calls of tcp_sendmsg()", x.HistogramCount(sendmsgTime, r.labels()), uint64(got.WriteCalls)),
						exact(x, "calls of tcp_recvmsg()", x.HistogramCount(recvmsgTime, r.labels()), uint64(got.ReadCalls)))
				} else {
					errs = append(errs, same("series of calls that can't be traced", len(x.Series(sendmsgTime, nil))+len(x.Series(recvmsgTime, nil)), 0))
				}
				return errors.Join(errs...)
			})
		})
	}
}

// seesWritesBegin tells whether this kernel shows when a write begins: its calls
// can be traced, or it has the tracepoint of Linux 6.16.
func seesWritesBegin(t *testing.T) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var tracepoint *btf.Typedef
	return tracesCalls(t) || kernel.TypeByName("btf_trace_tcp_sendmsg_locked", &tracepoint) == nil
}

func TestEvery_program_at_reads_and_writes_is_attached(t *testing.T) {
	want := map[string][]string{
		"window":   {"connection_begins", "connection_closes", "connection_destroyed", "data_copied", "read_returned"},
		"socketio": {"connection_begins", "connection_destroyed", "data_copied", "data_queued", "packet_sent", "read_returned"},
	}
	if seesWritesBegin(t) {
		want["socketio"] = append(want["socketio"], "written")
	}
	if tracesCalls(t) {
		want["socketio"] = append(want["socketio"], "recvmsg", "sendmsg")
	}
	x := start(t).Scrape()
	for probe, programs := range want {
		got := map[string]string{}
		for _, s := range x.Series("tcpslo_probe_info", labtest.Labels{"probe": probe}) {
			got[s.Labels["program"]] = s.Labels["variant"]
			t.Logf("%-10s %-22s %s", probe, s.Labels["program"], s.Labels["variant"])
		}
		for _, program := range programs {
			if got[program] == "" {
				t.Errorf("program %q of %q is not attached", program, probe)
			}
		}
		if len(got) != len(programs) {
			t.Errorf("%d programs of %q are attached, want %d", len(got), probe, len(programs))
		}
	}
}

func TestRead_wait_is_the_time_that_data_waited_for_a_server_that_sleeps(t *testing.T) {
	for _, flags := range []string{"-pause 50ms -reply 1", "-pause 50ms -reply 1 -peek"} {
		t.Run(flags, func(t *testing.T) {
			ex := start(t)
			r := startReader(t, nil, "sleeper", strings.Fields(flags)...)
			c := r.connect(t, nil)
			const rounds = 20
			// The first request may come when the server has slept for a while, and each
			// of the others comes when it has just begun to.
			took := exchanges(t, c, rounds, 100, 1)
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				buckets := x.HistogramBuckets(readWait, r.labels())
				sum := x.HistogramSum(readWait, r.labels())
				if least := 0.8 * (rounds - 1) * 0.05; sum < least || sum > took.Seconds() {
					return fmt.Errorf("waits add up to %v s, want %v to %v, the time of all exchanges", sum, least, took.Seconds())
				}
				return errors.Join(
					exact(x, "waits", x.HistogramCount(readWait, r.labels()), rounds),
					same("waits up to 16.4 ms, but for the first", buckets[0.016384] <= 1, true))
			})
		})
	}
}

// With TCP_CORK a small answer waits 200 ms for more (tcp(7)).
func TestWrite_to_wire_is_the_time_that_TCP_held_the_data_back(t *testing.T) {
	if !seesWritesBegin(t) {
		testenv.Skip(t, "this kernel does not show when a write begins")
	}
	ex := start(t)
	r := startReader(t, nil, "corked", "-reply", "100", "-cork")
	const rounds = 8
	took := exchanges(t, r.connect(t, nil), rounds, 100, 100)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		sum := x.HistogramSum(writeToWire, r.labels())
		if least := 0.19 * rounds; sum < least || sum > took.Seconds() {
			return fmt.Errorf("writes took %v s to the wire, want %v to %v, the time of all exchanges", sum, least, took.Seconds())
		}
		return errors.Join(
			exact(x, "writes", x.HistogramCount(writeToWire, r.labels()), rounds),
			same("writes on the wire within 65 ms", x.HistogramBuckets(writeToWire, r.labels())[0.065536], 0))
	})
}

func TestWhy_calls_are_not_timed_is_told_where_they_are_not(t *testing.T) {
	testenv.NeedRoot(t)
	if tracesCalls(t) {
		return
	}
	out := labtest.RunExporter(t, "probes").Output
	for _, program := range []string{"sendmsg", "recvmsg"} {
		for _, want := range []string{"none  fentry/tcp_" + program + "+fexit/tcp_" + program + ": not available on this kernel: ", "kprobe/tcp_" + program + "+kretprobe/tcp_" + program + ": "} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
				t.Errorf("%q is missing in\n%s", want, out)
			}
		}
	}
}
