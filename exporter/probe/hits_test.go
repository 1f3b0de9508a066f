// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/lab/bpfstats"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// hits are the runs of each program by what the engine counts.
func hits(t *testing.T, set *probe.Set) map[bpfstats.Program]uint64 {
	t.Helper()
	costs := prometheus.NewRegistry()
	costs.MustRegister(set)
	families, err := costs.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[bpfstats.Program]uint64{}
	for _, family := range families {
		if family.GetName() != "tcpslo_probe_hits_total" {
			continue
		}
		for _, m := range family.Metric {
			all[bpfstats.Named(label(m, "probe"), label(m, "program"))] = uint64(m.Counter.GetValue())
		}
	}
	return all
}

// exchange opens connections over loopback, and sends a byte over each and back.
func exchange(t *testing.T, connections int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.CopyN(c, c, 1) //nolint:errcheck // the other end tells
			c.Close()
		}
	}()
	for range connections {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// A program is compared when it has not run between two looks at the engine's count,
// so that the kernel's, read between them, is of the same moment.
func TestHits_of_every_program_equal_what_the_kernel_counts(t *testing.T) {
	o := options(t)
	stats, err := bpfstats.Enable()
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	set := &probe.Set{Probes: []*probe.Probe{goFunction(t, here+"work", o)}}
	for _, builtin := range bpf.Probes() {
		set.Probes = append(set.Probes, load(t, builtin.Name, o))
	}
	if _, err := set.Probes[0].Observe(ownExecutable(t)); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 2000 {
				work()
			}
		})
	}
	exchange(t, 300)
	wait.Wait()
	counted := hits(t, set)
	for program, least := range map[bpfstats.Program]uint64{
		bpfstats.Named("f", "function_entry"): 4 * 2000, bpfstats.Named("listen", "conn_queued"): 300, bpfstats.Named("window", "connection_closes"): 300,
	} {
		if counted[program] < least {
			t.Errorf("%v has run %d times, want at least %d", program, counted[program], least)
		}
	}
	equal := map[string]bool{}
	labtest.Eventually(t, func() error {
		var errs []error
		set.Runs(func(name string, before, kernel, after uint64) {
			if equal[name] = equal[name] || before == kernel && kernel == after; !equal[name] {
				errs = append(errs, fmt.Errorf("%s: the engine counts %d and then %d runs, the kernel %d", name, before, after, kernel))
			}
		})
		return errors.Join(errs...)
	})
	kernel, err := bpfstats.Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for program, runs := range counted {
		if stats, ok := kernel[program]; !ok || stats.Runs < runs {
			t.Errorf("%v: package bpfstats finds %+v, want at least %d runs", program, stats, runs)
		}
	}
}

// Programs at uprobes can be preempted, by threads that then run the same program.
func TestHits_of_a_function_that_all_CPUs_call_at_once_are_its_calls(t *testing.T) {
	const callers, each = 8, 5000
	set := &probe.Set{Probes: []*probe.Probe{goFunction(t, here+"everywhere", options(t))}}
	if _, err := set.Probes[0].Observe(ownExecutable(t)); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for i := range each {
				everywhere(i)
			}
		})
	}
	wait.Wait()
	for _, program := range []string{"function_entry", "function_return"} {
		if got := hits(t, set)[bpfstats.Named("f", program)]; got != callers*each {
			t.Errorf("%s has run %d times, want %d", program, got, callers*each)
		}
	}
}

// What a client does one thing after the other costs its server a hit each.
func TestNetpoll_takes_one_hit_for_a_wakeup_and_one_more_for_a_connection(t *testing.T) {
	o := options(t)
	o.Shared = &probe.Shared{Running: []string{"netpoll", "accept", "socketio"}}
	set := &probe.Set{}
	for _, name := range o.Shared.Running {
		set.Probes = append(set.Probes, load(t, name, o))
	}
	path := labtest.Executable(t, "TCPSLO_LABSERVER", "./lab/server")
	if _, err := set.Probes[0].Observe(executable(t, path)); err != nil {
		t.Fatal(err)
	}
	server := labtest.StartServer(t, labtest.ServerOptions{Executable: path})
	c, err := net.Dial("tcp", server.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	labtest.Quiet(t, server.PID)
	before := hits(t, set)
	if got := before[bpfstats.Named("netpoll", "serve_entry")]; got != 1 {
		t.Errorf("%d hits where the goroutine of a connection begins, want 1", got)
	}
	const requests = 100
	answers := bufio.NewReader(c)
	for range requests {
		labtest.Quiet(t, server.PID)
		io.WriteString(c, "GET /hello/x HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // no answer comes then
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body) //nolint:errcheck // the next answer tells
	}
	after := hits(t, set)
	for program, want := range map[string]uint64{"ready": requests, "ready_inlined": 0, "serve_entry": 0} {
		program := bpfstats.Named("netpoll", program)
		if got := after[program] - before[program]; got != want {
			t.Errorf("%v: %d hits for %d requests, want %d", program, got, requests, want)
		}
	}
}

// everywhere has a frame, as functions have that do something.
//
//go:noinline
func everywhere(i int) byte {
	var frame [64]byte
	frame[i%64] = 1
	return first(frame[:])
}

//go:noinline
func first(b []byte) byte { return b[0] }
