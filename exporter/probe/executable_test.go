// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

// ownExecutable is the test itself as something to observe.
func ownExecutable(t testing.TB) probe.Target {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return executable(t, path)
}

func executable(t testing.TB, path string) probe.Target {
	t.Helper()
	file, err := goexe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	device := uint64(unix.Major(stat.Dev))<<20 | uint64(unix.Minor(stat.Dev))
	return probe.Target{Path: path, File: file, Device: device, Inode: stat.Ino, Number: 1}
}

// goFunction loads a go_function probe.
func goFunction(t testing.TB, function string, o probe.Options) *probe.Probe {
	t.Helper()
	d, err := probe.ReadDefinition("f.yaml", fmt.Appendf(nil, "name: f\nhelp: F.\ngo_function: {function: %q, metric: f_seconds}\n", function))
	if err != nil {
		t.Fatal(err)
	}
	object, err := bpf.Object("go_function")
	if err != nil {
		t.Fatal(err)
	}
	p, err := probe.Load(d, object, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

const here = "github.com/tcpslo/tcpslo/exporter/probe_test."

var calls struct {
	sync.Mutex
	n uint64
}

//go:noinline
func work() {
	calls.Lock()
	defer calls.Unlock()
	calls.n++
}

// never is inlined or not there: nobody calls it.
func never() {}

func observations(family *dto.MetricFamily) uint64 {
	var n uint64
	for _, m := range family.GetMetric() {
		n += m.Histogram.GetSampleCount()
	}
	return n
}

func TestObserve_counts_every_call_with_each_kind_of_uprobe(t *testing.T) {
	for _, kind := range []string{"uprobe.multi", "uprobe"} {
		t.Run(kind, func(t *testing.T) {
			p := goFunction(t, here+"work", options(t, kind))
			x, err := p.Observe(ownExecutable(t))
			if err != nil {
				t.Fatal(err)
			}
			set := &probe.Set{Probes: []*probe.Probe{p}}
			before := calls.n
			for range 1000 {
				work()
			}
			if got, want := observations(gather(t, set)["tcpslo_f_seconds"]), calls.n-before; got != want {
				t.Errorf("counted %d calls, want %d", got, want)
			}
			if got := status(p)["function_entry"].Variant; got != kind && kind == "uprobe" {
				t.Errorf("asked for %s, got %s", kind, got)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			work() // not observed any more
			if got := observations(gather(t, set)["tcpslo_f_seconds"]); got != 1000 {
				t.Errorf("counted %d calls after the probe was detached from the executable, want 1000", got)
			}
		})
	}
}

func TestObserve_tells_which_function_is_missing_and_leaves_the_probe_usable(t *testing.T) {
	never()
	own, o := ownExecutable(t), options(t)
	missing := goFunction(t, here+"nothing", o)
	before := len(links(t))
	_, err := missing.Observe(own)
	if err == nil || !strings.Contains(err.Error(), `program "function_entry"`) || !strings.Contains(err.Error(), here+"nothing") {
		t.Errorf("got %v, want an error that names the program and the function", err)
	}
	if n := len(links(t)) - before; n != 0 {
		t.Errorf("%d links stay behind", n)
	}
	present := goFunction(t, here+"work", o)
	if _, err := present.Observe(own); err != nil {
		t.Errorf("another probe is not attached: %v", err)
	}
	missing.Close()
	if _, err := missing.Observe(own); err == nil {
		t.Error("a closed probe observes")
	}
}

// Numbers of processes are used again, and exec replaces the executable.
func TestAddProcess_forgets_what_the_process_executed_before(t *testing.T) {
	p := goFunction(t, here+"work", options(t))
	own := ownExecutable(t)
	first, err := p.Observe(own)
	if err != nil {
		t.Fatal(err)
	}
	own.Inode, own.Number = 1, 2 // another file
	second, err := p.Observe(own)
	if err != nil {
		t.Fatal(err)
	}
	tgid := uint32(os.Getpid())
	for _, step := range []struct {
		x      *probe.Executable
		number uint32
	}{{first, 1}, {second, 2}, {second, 2}, {first, 1}} {
		if err := step.x.AddProcess(tgid); err != nil {
			t.Fatal(err)
		}
		var process struct {
			Number         uint32
			GStack, Unused uint16
		}
		if err := p.Map("processes").Lookup(tgid, &process); err != nil || process.Number != step.number {
			t.Errorf("the process executes number %d (%v), want %d", process.Number, err, step.number)
		}
	}
}

// A link that the garbage collector closes detaches its program without a word.
func TestLinks_survive_garbage_collection(t *testing.T) {
	o := options(t)
	load(t, "listen", o)
	p := goFunction(t, here+"work", o)
	if _, err := p.Observe(ownExecutable(t)); err != nil {
		t.Fatal(err)
	}
	before := links(t)
	if len(before) < 5 {
		t.Fatalf("only %d links are open", len(before))
	}
	for range 3 {
		runtime.GC()
	}
	if after := links(t); !slices.Equal(after, before) {
		t.Errorf("links %v are left of %v", after, before)
	}
	for range 500 {
		work()
	}
	if got := observations(gather(t, &probe.Set{Probes: []*probe.Probe{p}})["tcpslo_f_seconds"]); got != 500 {
		t.Errorf("counted %d calls, want 500", got)
	}
}

func TestClose_leaves_nothing_behind(t *testing.T) {
	o := options(t)
	own := ownExecutable(t)
	once := func() {
		t.Helper()
		p := goFunction(t, here+"work", o)
		if _, err := p.Observe(own); err != nil {
			t.Fatal(err)
		}
		gather(t, &probe.Set{Probes: []*probe.Probe{p}})
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		load(t, "service", o).Close()
	}
	once() // what is kept for ever: caches, poller
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 100 {
		once()
	}
	if after := openFiles(t); len(after) > len(files) {
		t.Errorf("%d files are open after 100 times, %d before: %v", len(after), len(files), after)
	}
	if after := runtime.NumGoroutine(); after > goroutines+2 {
		t.Errorf("%d goroutines run after 100 times, %d before", after, goroutines)
	}
	if left := links(t); len(left) > 0 {
		t.Errorf("links %v are left", left)
	}
}

// openFiles lists what the test's descriptors are.
func openFiles(t *testing.T) []string {
	t.Helper()
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range descriptors {
		if target, err := os.Readlink(path); err == nil {
			all = append(all, target)
		}
	}
	return all
}

// links lists the BPF links that the test holds, by the numbers that the kernel
// gives them (Documentation/filesystems/proc.rst, fdinfo).
func links(t *testing.T) []string {
	t.Helper()
	descriptors, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range descriptors {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // the directory's own
		}
		for line := range strings.Lines(string(info)) {
			if id, ok := strings.CutPrefix(line, "link_id:"); ok {
				all = append(all, strings.TrimSpace(id))
			}
		}
	}
	slices.Sort(all)
	return all
}
