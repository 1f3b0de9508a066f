// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the softnet collector and the softirq probe.
const (
	softnetProcessed = "tcpslo_softnet_processed_total"
	softnetDropped   = "tcpslo_softnet_dropped_total"
	netRX            = "tcpslo_softirq_net_rx_seconds"
	netRXDelay       = "tcpslo_softirq_net_rx_delay_seconds"
	budgetExhausted  = "tcpslo_napi_budget_exhausted_total"
)

// tracepointDir is where tracefs describes a tracepoint, "skb/kfree_skb".
func tracepointDir(name string) string { return filepath.Join("/sys/kernel/tracing/events", name) }

func tracepointFile(t *testing.T, name, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tracepointDir(name), file))
	if err != nil {
		t.Fatalf("tracepoint %q: %v", name, err)
	}
	return strings.TrimSpace(string(text))
}

// tracepointHas tells whether the record of a tracepoint has a field.
func tracepointHas(t *testing.T, name, field string) bool {
	t.Helper()
	return regexp.MustCompile(`field:[^;]* ` + field + `;`).MatchString(tracepointFile(t, name, "format"))
}

// dropReason is the number of a drop reason as tracefs prints it.
func dropReason(t *testing.T, name string) int {
	t.Helper()
	match := regexp.MustCompile(`\{ (\d+), "` + name + `" \}`).FindStringSubmatch(tracepointFile(t, "skb/kfree_skb", "format"))
	if match == nil {
		t.Fatalf("tracefs knows no drop reason %q", name)
	}
	number, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// countTracepoint lets perf(1)'s part of the kernel count how often a tracepoint
// fires with a record that a filter selects, on all CPUs, until the test ends.
func countTracepoint(t *testing.T, name, filter string) (count func() uint64) {
	t.Helper()
	id, err := strconv.ParseUint(tracepointFile(t, name, "id"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	text, err := unix.BytePtrFromString(filter)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for cpu := range runtime.NumCPU() {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Sample: 1}
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			t.Fatalf("count tracepoint %q on CPU %d: %v", name, cpu, err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PERF_EVENT_IOC_SET_FILTER, uintptr(unsafe.Pointer(text))); errno != 0 {
			t.Fatalf("filter %q of tracepoint %q: %v", filter, name, errno)
		}
		fds = append(fds, fd)
	}
	return func() (sum uint64) {
		t.Helper()
		for _, fd := range fds {
			var value [8]byte
			if _, err := unix.Read(fd, value[:]); err != nil {
				t.Fatalf("read counter of tracepoint %q: %v", name, err)
			}
			sum += binary.NativeEndian.Uint64(value[:])
		}
		return sum
	}
}

// netRXRuns is how many NET_RX softirqs all CPUs have run, as /proc/softirqs tells.
func netRXRuns(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/softirqs")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "NET_RX:" {
			continue
		}
		sum := uint64(0)
		for _, field := range fields[1:] {
			n, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	t.Fatal("/proc/softirqs has no NET_RX")
	return 0
}

// Each scrape makes softirqs of its own, so what it says lies between what
// /proc/softirqs says before and after it, and nothing else can be said.
func TestSoftirq_runs_are_those_of_proc_softirqs(t *testing.T) {
	ex := start(t)
	type moment struct {
		before, after, runs, delays uint64
		missed                      float64
	}
	look := func() (m moment) {
		m.before = netRXRuns(t)
		x := ex.Scrape()
		m.after = netRXRuns(t)
		m.runs, m.delays = x.HistogramCount(netRX, nil), x.HistogramCount(netRXDelay, nil)
		m.missed = x.Value("tcpslo_probe_misses_total", labtest.Labels{"probe": "softirq"})
		return m
	}
	first := look()
	const rounds, each = 20, 500
	flood(t, labtest.NewNetNS(t), rounds*each)
	labtest.Eventually(t, func() error {
		last := look()
		runs, delays, missed := last.runs-first.runs, last.delays-first.delays, uint64(last.missed-first.missed)
		least, most := last.before-first.after, last.after-first.before
		if runs+missed < least || runs > most {
			return fmt.Errorf("%d runs, /proc/softirqs has %d to %d", runs, least, most)
		}
		if delays+missed < least || delays > most {
			return fmt.Errorf("%d runs that were asked for, /proc/softirqs has %d to %d", delays, least, most)
		}
		return errors.Join(
			atLeast("softirqs", least, rounds*each/2),
			atLeast("what the bounds leave certain, in hundredths", 100*least/most, 90),
		)
	})
}

// flood sends n datagrams over loopback to a socket of the namespace, one by one.
func flood(t *testing.T, ns *labtest.NetNS, n int) {
	t.Helper()
	at := labtest.Listen(t, ns, labtest.ListenOptions{Addr: "127.0.0.1:0"}).Addr
	receiver := udpSocket(t, ns, at, true)
	sender := udpSocket(t, ns, at, false)
	for i := range n {
		sender.Send(t, "datagram")
		if i%100 == 99 {
			readable(t, receiver)
		}
	}
}

// inFirstNamespace runs fn in the network namespace that the test was started in
// (see labtest.Main): sysctls of the whole machine are shown in the first one only.
func inFirstNamespace(t *testing.T, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", os.Getppid()))
		if err == nil {
			defer file.Close()
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	if err := <-done; errors.Is(err, os.ErrNotExist) {
		testenv.Skip(t, "this is not the first network namespace: "+err.Error())
	} else if err != nil {
		t.Fatalf("in the network namespace that the test was started in: %v", err)
	}
}

// lowerBacklog sets net.core.netdev_max_backlog to 1 until restore is called, which
// the end of the test does at the latest.
func lowerBacklog(t *testing.T) (restore func()) {
	t.Helper()
	const path = "/proc/sys/net/core/netdev_max_backlog"
	var old []byte
	inFirstNamespace(t, func() (err error) {
		if old, err = os.ReadFile(path); err == nil {
			err = os.WriteFile(path, []byte("1"), 0)
		}
		return err
	})
	restore = func() {
		t.Helper()
		inFirstNamespace(t, func() error { return os.WriteFile(path, old, 0) })
	}
	t.Cleanup(restore)
	return restore
}

// setDevice calls an ioctl of netdevice(7) on the loopback device of a namespace.
func setDevice(t *testing.T, ns *labtest.NetNS, request uint, value uint64) {
	t.Helper()
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var ifreq [40]byte
		copy(ifreq[:], "lo")
		binary.NativeEndian.PutUint64(ifreq[unix.IFNAMSIZ:], value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		t.Fatalf("ioctl %#x of lo: %v", request, err)
	}
}

// cutIntoPackets makes loopback carry packets of Ethernet's size, and the kernel
// cut what TCP sends into them just before: so they reach the backlog of the CPU
// all at once, with softirqs off.
func cutIntoPackets(t *testing.T, ns *labtest.NetNS) {
	t.Helper()
	setDevice(t, ns, unix.SIOCSIFMTU, 1500)
	off := [2]uint32{unix.ETHTOOL_STSO, 0} // struct ethtool_value
	var pinned runtime.Pinner
	pinned.Pin(&off)
	defer pinned.Unpin()
	setDevice(t, ns, unix.SIOCETHTOOL, uint64(uintptr(unsafe.Pointer(&off))))
}

// softnetStat sums a column of /proc/net/softnet_stat over all CPUs.
func softnetStat(t *testing.T, column int) (sum uint64) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		n, err := strconv.ParseUint(strings.Fields(line)[column], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func TestPackets_dropped_at_the_backlog_of_a_CPU_are_counted_where_the_kernel_counts_them(t *testing.T) {
	ex := start(t)
	ns := labtest.NewNetNS(t)
	cutIntoPackets(t, ns)
	l := labtest.Listen(t, ns, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	conns := labtest.DialMany(t, ns, l.Addr, 20, labtest.DialOptions{})
	labtest.WaitConnected(t, conns)
	look := func() (x *labtest.Exposition, dropped uint64) {
		labtest.Eventually(t, func() error { // a moment in which nothing is dropped
			before := softnetStat(t, 1)
			x = ex.Scrape()
			dropped = softnetStat(t, 1)
			return same("packets dropped", dropped, before)
		})
		return x, dropped
	}
	x0, dropped0 := look()
	restore := lowerBacklog(t)
	for _, c := range conns {
		sendMany(t, c, 1, 1<<15)
	}
	restore()
	labtest.ResetAll(conns)
	labtest.Settles(t, func() error {
		x, is := look()
		dropped := float64(is - dropped0)
		errs := []error{
			atLeast("packets that the kernel dropped", dropped, 20),
			same("softnet_dropped_total", x.Value(softnetDropped, nil)-x0.Value(softnetDropped, nil), dropped),
		}
		if tracepointHas(t, "skb/kfree_skb", "reason") {
			cpuBacklog := labtest.Labels{"reason": "cpu_backlog"}
			errs = append(errs, exact(x, "cpu_backlog", x.Value(skbDrops, cpuBacklog)-x0.Value(skbDrops, cpuBacklog), dropped))
		}
		return errors.Join(errs...)
	})
}

// 64 packets are what one poll may take of the backlog of a CPU (net.core.dev_weight).
func TestPolls_that_used_up_their_budget_are_counted_by_device(t *testing.T) {
	ex := start(t)
	full := countTracepoint(t, "napi/napi_poll", "work >= 64 && budget == 64")
	ns := labtest.NewNetNS(t)
	cutIntoPackets(t, ns)
	conn := connectIn(t, ns)
	look := func() (counts map[string]float64, kernel uint64) {
		labtest.Eventually(t, func() error { // a moment in which no poll is full
			before := full()
			counts = ex.Scrape().By(budgetExhausted, "device", nil)
			kernel = full()
			return same("full polls", kernel, before)
		})
		return counts, kernel
	}
	counts0, kernel0 := look()
	warmUp(t, conn)
	for range 50 {
		sendMany(t, conn.client, 1, 1<<19)
		buffer := make([]byte, 1<<20)
		unix.Read(conn.server.FD, buffer)
	}
	conn.client.Reset()
	labtest.Settles(t, func() error {
		counts, kernel := look()
		return errors.Join(
			atLeast("full polls", kernel-kernel0, 1),
			same("devices without a name", counts[""], 0),
			same("full polls of all devices", sumOf(counts)-sumOf(counts0), float64(kernel-kernel0)),
			atLeast("full polls of the backlog of CPUs", counts["(no_device)"]-counts0["(no_device)"], 1),
		)
	})
}

// connectIn opens a connection to a listener of the test's own in a namespace.
func connectIn(t *testing.T, ns *labtest.NetNS) connected {
	t.Helper()
	l := labtest.Listen(t, ns, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	c := connected{ns: ns, client: labtest.Dial(t, ns, l.Addr, labtest.DialOptions{})}
	c.server = l.MustAccept(t, 1)[0]
	t.Cleanup(c.server.Reset)
	return c
}

func TestSoftnet_processed_packets_are_those_of_each_CPU(t *testing.T) {
	ex := start(t)
	byCPU := func() map[string]float64 {
		text, err := os.ReadFile("/proc/net/softnet_stat")
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]float64{}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			processed, err := strconv.ParseUint(fields[0], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			cpu, err := strconv.ParseUint(fields[12], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			counts[fmt.Sprint(cpu)] = float64(processed)
		}
		return counts
	}
	before := byCPU()
	flood(t, labtest.NewNetNS(t), 1000)
	middle := byCPU()
	got := ex.Scrape().By(softnetProcessed, "cpu", nil)
	after := byCPU()
	if err := atLeast("packets of the flood", sumOf(middle)-sumOf(before), 1000); err != nil {
		t.Error(err)
	}
	for cpu := range maps.Keys(middle) {
		if got[cpu] < middle[cpu] || got[cpu] > after[cpu] {
			t.Errorf("CPU %s: %v packets, the kernel said %v before and %v after", cpu, got[cpu], middle[cpu], after[cpu])
		}
	}
}
