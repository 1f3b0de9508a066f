// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/bpf/bpftest"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

const ticks = `
#include "tcpslo.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 hertz = 1;

COUNTER(ticks, __u32, 16384);

SEC("perf_event")
int tick(void *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid();

	add_to(&ticks, &thread, 1);
	return 0;
}
`

const ticksYAML = `name: ticks
help: T.
options: {hertz: {default: 997, min: 1, max: 999, help: Hz.}}
programs:
  - {name: tick, variants: [{hook: perf_event/cpu-clock, frequency: hertz}]}
`

// perfEvents counts those that the test has open.
func perfEvents(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && strings.Contains(target, "[perf_event]") {
			n++
		}
	}
	return n
}

// The samples of a thread stand for the processor time that the kernel accounts to it. If
// all of that came in pieces shorter than a period, their number would be that of a
// Poisson process: six standard deviations to either side.
func TestClock_samples_a_thread_for_the_processor_time_that_it_takes(t *testing.T) {
	o := options(t)
	d, err := probe.ReadDefinition("ticks.yaml", []byte(ticksYAML))
	if err != nil {
		t.Fatal(err)
	}
	before := perfEvents(t)
	p, err := probe.Load(d, bpftest.Compile(t, ticks), o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.Status()[0]; got.Variant != "perf_event/cpu-clock" {
		t.Fatalf("the program got %+v", got)
	}
	if got := perfEvents(t) - before; got != runtime.NumCPU() {
		t.Errorf("%d perf events, want one for each of %d CPUs", got, runtime.NumCPU())
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.Nano())
	}
	count := func() (n uint64) {
		_ = p.Map("ticks").Lookup(uint32(unix.Gettid()), &n) // none so far is 0
		return n
	}
	began, counted := took(), count()
	for took()-began < 2*time.Second {
	}
	want := float64(took()-began) / float64(probe.SamplePeriod(997))
	if got := float64(count() - counted); math.Abs(got-want) > 6*math.Sqrt(want) {
		t.Errorf("%v samples, want %.0f ± %.0f", got, want, 6*math.Sqrt(want))
	}
	p.Close()
	if got := perfEvents(t); got != before {
		t.Errorf("%d perf events are left of %d", got, before)
	}
}
