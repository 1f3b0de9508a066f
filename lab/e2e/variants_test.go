// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// With fentry or kprobes every program has a variant that works, on any kernel.
// Without, some have none: no tracepoint sees a SYN, and before Linux 6.11 none
// names the listener that a packet was discarded for.
func TestEvery_program_at_the_listeners_is_attached(t *testing.T) {
	ex := start(t)
	variants := map[string]string{}
	for _, probe := range []string{"accept", "listen", "service"} {
		for _, s := range ex.Scrape().Series("tcpslo_probe_info", labtest.Labels{"probe": probe}) {
			variants[probe+"/"+s.Labels["program"]] = s.Labels["variant"]
		}
	}
	for _, program := range slices.Sorted(maps.Keys(variants)) {
		t.Logf("%-28s %s", program, variants[program])
	}
	want := []string{
		"accept/accepted", "accept/conn_queued", "accept/connection_destroyed", "accept/socket_state",
		"listen/conn_queued", "listen/socket_state", "listen/synack_retransmitted",
		"service/process_exec", "service/process_exit", "service/socket_state",
	}
	if tracesCalls(t) {
		want = append(want, "listen/handshake_discarded", "listen/handshake_refused", "listen/syn_received")
	}
	for _, program := range want {
		if variants[program] == "" {
			t.Errorf("program %q is not attached", program)
		}
	}
	if prefer := os.Getenv("TCPSLO_VARIANTS"); prefer != "" && !slices.ContainsFunc(slices.Collect(maps.Values(variants)), func(variant string) bool {
		kind, _, _ := strings.Cut(variant, "/")
		return slices.Contains(strings.Split(prefer, ","), kind)
	}) {
		t.Errorf("none of %q is among the variants %v", prefer, variants)
	}
}

// tracesCalls tells whether programs can attach to functions of this kernel.
func tracesCalls(t *testing.T) bool {
	t.Helper()
	return labtest.HasKprobes() || labtest.HasTrampolines(t)
}

func TestSYN_queue_depth_is_seen_at_each_SYN_where_calls_of_the_kernel_can_be_traced(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", DeferAccept: 30})
	const n = 9
	labtest.WaitConnected(t, labtest.DialMany(t, nil, l.Addr, n, labtest.DialOptions{}))
	if !tracesCalls(t) {
		if series := ex.Scrape().Series(synQueueDepth, at(l.Addr)); len(series) != 0 {
			t.Errorf("%d series where no program can be attached, want none", len(series))
		}
		return
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		buckets := x.HistogramBuckets(synQueueDepth, at(l.Addr))
		for le, want := range map[float64]uint64{1: 2, 2: 3, 4: 5, 8: 9} { // the depths are 0 to 8
			errs = append(errs, exact(x, fmt.Sprintf("depths up to %v", le), buckets[le], want))
		}
		return errors.Join(append(errs,
			exact(x, "observations of the SYN queue's depth", x.HistogramCount(synQueueDepth, at(l.Addr)), n))...)
	})
}
