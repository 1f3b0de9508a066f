// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const (
	receiveWindow   = "tcpslo_receive_window_bytes"
	zeroWindows     = "tcpslo_zero_window_total"
	windowCollapses = "tcpslo_receive_window_collapses_total"
	readSize        = "tcpslo_read_size_bytes"
)

// reader is a running lab/reader under a name of its own, which makes that the
// name of its service.
type reader struct {
	*labtest.Server
	name, counts string
}

func startReader(t *testing.T, ns *labtest.NetNS, name string, flags ...string) *reader {
	t.Helper()
	folder := t.TempDir()
	r := &reader{name: name, counts: filepath.Join(folder, "counts.json")}
	path := filepath.Join(folder, name)
	labtest.CopyFile(t, path, labtest.Executable(t, "TCPSLO_LABREADER", "./lab/reader"))
	r.Server = labtest.StartServer(t, labtest.ServerOptions{Executable: path, NetNS: ns, Flags: append(flags, "-counts", r.counts)})
	return r
}

func (r *reader) labels() labtest.Labels { return labtest.Labels{"service": r.name} }

// stop lets the server hang until goOn: when it returns no thread of it runs.
func (r *reader) stop(t *testing.T) {
	t.Helper()
	hang(t, r.PID)
}

func (r *reader) goOn(t *testing.T) {
	t.Helper()
	goOn(t, r.PID)
}

func hang(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return err
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				return err
			}
			// PID (NAME) STATE, proc(5)
			if !strings.Contains(string(stat), ") T ") {
				return fmt.Errorf("a thread has not stopped: %s", stat)
			}
		}
		return nil
	})
}

func goOn(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// counts is what lab/reader counted itself, once it has read all that was sent.
type counts struct {
	Reads, Bytes, Writes int
	ReadCalls            int `json:"read_calls"`
	WriteCalls           int `json:"write_calls"`
	Spliced              int
}

func (r *reader) waitCounts(t *testing.T, sent int) (c counts) {
	t.Helper()
	labtest.EventuallyWithin(t, time.Minute, func() error {
		text, err := os.ReadFile(r.counts)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		if c.Bytes+c.Spliced != sent {
			return fmt.Errorf("the server has taken %d bytes, want %d", c.Bytes+c.Spliced, sent)
		}
		return nil
	})
	return c
}

// connect opens a connection to the reader, from its own namespace.
func (r *reader) connect(t *testing.T, ns *labtest.NetNS) *labtest.Conn {
	t.Helper()
	addr, err := netip.ParseAddrPort(r.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	c := labtest.Dial(t, ns, addr, labtest.DialOptions{})
	labtest.WaitConnected(t, []*labtest.Conn{c})
	return c
}

// allowed waits until the peer has acknowledged all that was sent and returns what
// it allows to send then: the truth about the receiver's window, as its peer
// knows it. Source: getsockopt TCP_INFO, tcpi_snd_wnd (Linux 5.4).
func allowed(t *testing.T, c *labtest.Conn) (window int) {
	t.Helper()
	labtest.Eventually(t, func() error {
		info, err := unix.GetsockoptTCPInfo(c.FD, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		if info.Unacked != 0 || info.Notsent_bytes != 0 {
			return fmt.Errorf("%d segments are not acknowledged, %d bytes not sent", info.Unacked, info.Notsent_bytes)
		}
		window = int(info.Snd_wnd)
		return nil
	})
	return window
}

// fill sends until the window is shut, and never more than is allowed, so that no
// data waits in the client.
func fill(t *testing.T, c *labtest.Conn) (sent int) {
	t.Helper()
	for {
		window := allowed(t, c)
		if window == 0 {
			return sent
		}
		n := min(window, 60_000)
		c.Send(t, string(make([]byte, n)))
		sent += n
	}
}

// send writes n bytes and waits for room if it must.
func send(t *testing.T, c *labtest.Conn, n int) {
	t.Helper()
	for data := make([]byte, n); len(data) > 0; {
		written, err := unix.Write(c.FD, data)
		if err == unix.EAGAIN {
			unix.Poll([]unix.PollFd{{Fd: int32(c.FD), Events: unix.POLLOUT}}, 100)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		data = data[written:]
	}
}

// shut is how often a namespace's sockets have shut their windows.
func shut(t *testing.T, ns *labtest.NetNS) float64 {
	t.Helper()
	return float64(labtest.Netstat(t, ns)["TCPToZeroWindowAdv"])
}

// The article's case: a client sends 4 KiB every 5 ms to two servers that read
// every 5 ms, one 1 KiB and the other 8 KiB at a time.
func TestServer_that_reads_1_KiB_at_a_time_has_its_window_shut_and_one_that_reads_8_KiB_has_not(t *testing.T) {
	ex := start(t)
	const rounds, each = 200, 4096
	type side struct {
		*reader
		ns   *labtest.NetNS
		conn *labtest.Conn
		counts
	}
	sides := []*side{}
	for _, size := range []string{"1024", "8192"} {
		ns := labtest.NewNetNS(t)
		r := startReader(t, ns, "reads"+size, "-size", size, "-pause", "5ms")
		sides = append(sides, &side{reader: r, ns: ns, conn: r.connect(t, ns)})
	}
	for range rounds {
		for _, s := range sides {
			send(t, s.conn, each)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, s := range sides {
		s.conn.Close()
		s.counts = s.waitCounts(t, rounds*each)
	}
	small, large := sides[0], sides[1]
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		for _, s := range sides {
			errs = append(errs,
				exact(x, s.name+" zero windows", x.Value(zeroWindows, s.labels()), shut(t, s.ns)),
				exact(x, s.name+" reads", x.HistogramCount(readSize, s.labels()), uint64(s.Reads)),
				exact(x, s.name+" bytes", x.HistogramSum(readSize, s.labels()), float64(s.Bytes)),
				same(s.name+" lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "window"}), 0))
		}
		windows, low := x.HistogramCount(receiveWindow, small.labels()), x.HistogramBuckets(receiveWindow, small.labels())[4096]
		return errors.Join(append(errs,
			atLeast("zero windows of the small reader", x.Value(zeroWindows, small.labels()), 1),
			atLeast("collapses of the small reader", x.Value(windowCollapses, small.labels()), 1),
			atLeast(fmt.Sprintf("windows up to 4096 of the %d of the small reader", windows), low, windows/4),
			same("reads up to 1 KiB of the small reader", x.HistogramBuckets(readSize, small.labels())[1024], uint64(small.Reads)),
			same("zero windows of the large reader", x.Value(zeroWindows, large.labels()), 0),
			same("collapses of the large reader", x.Value(windowCollapses, large.labels()), 0),
			same("windows up to 4096 of the large reader", x.HistogramBuckets(receiveWindow, large.labels())[4096], 0))...)
	})
}

// The server is stopped while data is sent, so that the window is at rest when its
// peer's idea of it is read.
func TestReceive_window_is_what_the_peer_may_still_send(t *testing.T) {
	ex := start(t)
	ns := labtest.NewNetNS(t)
	r := startReader(t, ns, "window", "-size", "1048576", "-reply", "1")
	c := r.connect(t, ns)
	sum, sent, rounds := 0, 0, 0
	buckets := map[float64]uint64{32768: 0, 65536: 0, 131072: 0, 262144: 0}
	for n := 100; n < 30_000; n += 2300 {
		r.stop(t)
		c.Send(t, string(make([]byte, n)))
		window := allowed(t, c)
		r.goOn(t)
		sum, sent, rounds = sum+window, sent+n, rounds+1
		for le := range buckets {
			if float64(window) <= le {
				buckets[le]++
			}
		}
		labtest.Eventually(t, func() error {
			_, err := unix.Read(c.FD, make([]byte, 1))
			return err
		})
	}
	c.Close()
	got := r.waitCounts(t, sent)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		for le, want := range buckets {
			errs = append(errs, exact(x, fmt.Sprintf("windows up to %v", le), x.HistogramBuckets(receiveWindow, r.labels())[le], want))
		}
		return errors.Join(append(errs,
			same("reads", got.Reads, rounds),
			exact(x, "windows", x.HistogramCount(receiveWindow, r.labels()), uint64(rounds)),
			exact(x, "sum of the windows", x.HistogramSum(receiveWindow, r.labels()), float64(sum)))...)
	})
}

func TestZero_windows_are_as_many_as_the_kernel_counts(t *testing.T) {
	ex := start(t)
	ns := labtest.NewNetNS(t)
	r := startReader(t, ns, "busy", "-size", "30000", "-pause", "500us")
	conns := []*labtest.Conn{r.connect(t, ns), r.connect(t, ns), r.connect(t, ns)}
	const rounds, each = 100, 40_000
	for range rounds {
		for _, c := range conns {
			send(t, c, each)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	got := r.waitCounts(t, len(conns)*rounds*each)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			atLeast("windows that the kernel shut", shut(t, ns), 10),
			exact(x, "zero windows", x.Value(zeroWindows, r.labels()), shut(t, ns)),
			exact(x, "reads", x.HistogramCount(readSize, r.labels()), uint64(got.Reads)),
			exact(x, "bytes", x.HistogramSum(readSize, r.labels()), float64(got.Bytes)),
			same("lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "window"}), 0),
		)
	})
}

func TestZero_window_of_a_server_that_hangs_is_counted_while_it_hangs(t *testing.T) {
	ex := start(t)
	ns := labtest.NewNetNS(t)
	r := startReader(t, ns, "hangs", "-size", "1048576", "-reply", "1")
	c := r.connect(t, ns)
	count := func(what string, zero, collapsed float64) {
		t.Helper()
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return errors.Join(
				same(what+": windows that the kernel shut", shut(t, ns), zero),
				exact(x, what+": zero windows", x.Value(zeroWindows, r.labels()), zero),
				exact(x, what+": collapses", x.Value(windowCollapses, r.labels()), collapsed))
		})
	}
	exchange := func() {
		t.Helper()
		c.Send(t, "hello")
		labtest.Eventually(t, func() error {
			_, err := unix.Read(c.FD, make([]byte, 1<<20))
			return err
		})
	}
	exchange()
	count("at first", 0, 0)
	for round := range 3 {
		r.stop(t)
		fill(t, c)
		count("while it hangs", float64(round+1), float64(round+1))
		r.goOn(t)
		labtest.Eventually(t, func() error { return atLeast("the window after it went on", allowed(t, c), 10_000) })
		exchange()
		count("after it went on", float64(round+1), float64(round+1))
	}
}

func TestZero_window_of_data_that_nobody_reads_is_counted_at_the_end(t *testing.T) {
	ex := start(t)
	ns := labtest.NewNetNS(t)
	r := startReader(t, ns, "never", "-pause", "1h")
	fill(t, r.connect(t, ns))
	r.Kill()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			atLeast("windows that the kernel shut", shut(t, ns), 1),
			exact(x, "zero windows", x.Value(zeroWindows, r.labels()), shut(t, ns)))
	})
}

func TestCollapse_is_below_the_option_of_the_configuration(t *testing.T) {
	ex := startWith(t, "collectors: {window: {collapse_below: 60000}}")
	ns := labtest.NewNetNS(t)
	r := startReader(t, ns, "falls", "-size", "1000", "-reply", "1")
	c := r.connect(t, ns)
	fall := func() {
		t.Helper()
		r.stop(t)
		for window := allowed(t, c); window >= 60_000; window = allowed(t, c) {
			c.Send(t, string(make([]byte, min(window-20_000, 50_000))))
		}
		if window := allowed(t, c); window < 4096 {
			t.Fatalf("the window is %d, want at least 4096", window)
		}
		r.goOn(t)
	}
	collapses := func(want float64) {
		t.Helper()
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return exact(x, "collapses", x.Value(windowCollapses, r.labels()), want)
		})
	}
	fall()
	collapses(1)
	ex.WriteConfig("collectors: {window: {collapse_below: 4096}}")
	ex.Reload()
	collapses(0) // the probe begins anew
	other := startReader(t, ns, "falls_again", "-size", "1000", "-reply", "1")
	r, c = other, other.connect(t, ns)
	fall()
	other.waitReads(t, ex)
	collapses(0)
}

func TestCheck_config_refuses_an_option_that_is_unknown_or_out_of_range(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tcpslo.yml")
	text := "collectors:\n  window:\n    collapse_belwo: 1\n    collapse_below: 0\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got := labtest.RunExporter(t, "check-config", file)
	want := []string{
		file + `:3:5: collector "window" has no option "collapse_belwo", did you mean "collapse_below"?`,
		file + `:4:21: "collapse_below" must be between 1 and 1073725440, got 0`,
	}
	for _, line := range want {
		if !strings.Contains(got.Output, line) || got.ExitCode != 1 {
			t.Errorf("exit code %d, want 1 and %q in\n%s", got.ExitCode, line, got.Output)
		}
	}
}

// waitReads waits until the exporter has seen a read.
func (r *reader) waitReads(t *testing.T, ex *labtest.Exporter) {
	t.Helper()
	labtest.Eventually(t, func() error { return atLeast("reads", ex.Scrape().HistogramCount(readSize, r.labels()), 1) })
}

// startWith runs an exporter with a configuration.
func startWith(t *testing.T, text string) *labtest.Exporter {
	t.Helper()
	testenv.NeedRoot(t)
	return labtest.StartExporter(t, labtest.Options{Config: text})
}
