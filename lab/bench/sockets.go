// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/config"
	collector "github.com/tcpslo/tcpslo/exporter/host"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
)

// socketCounts are how many sockets there are in each case.
var socketCounts = []int{10_000, 100_000, 1_000_000}

// manyOutgoing is how many outgoing connections there are in the last case. Each
// takes a file descriptor, of which a process may have 20,000 at most on the machine
// that the figures come from.
const manyOutgoing = 10_000

// socketRounds are how often sockets are counted in each case, after a first time.
const socketRounds = 3

// sockets measures how the count of sockets grows with their number. It needs no
// other program than the collector itself.
func sockets(ctx context.Context, _ *bench) (section, error) {
	s := section{title: "Counting sockets"}
	t := table{header: []string{"sockets", ">first count", ">a count", ">a socket", ">allocations", ">allocated", ">kept", ">next count after", ">of one core"}}
	add := func(what string, sockets int, fill func(*crowd, int) error, n int) error {
		progress("sockets: %s", what)
		o, err := countMany(ctx, n, fill)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		next := max(time.Duration(o.took*restAfterCount*float64(time.Second)), defaultInterval)
		t.add(what, milliseconds(o.first), milliseconds(o.took), nanoseconds(o.took/float64(sockets)), fmt.Sprintf("%.0f", o.allocations), mebibytes(uint64(o.allocated)), mebibytes(uint64(o.kept)),
			fmt.Sprintf("%.1f s", next.Seconds()), fmt.Sprintf("%.2f %%", 100*o.took/next.Seconds()))
		s.figures = append(s.figures, figure{"count of " + what, milliseconds(o.took), ""})
		return nil
	}
	for _, n := range socketCounts {
		if err := add(fmt.Sprintf("%d sockets", n), n, fillEstablished, n); err != nil {
			return section{}, err
		}
	}
	if err := add(fmt.Sprintf("%d sockets, half of them outgoing", 2*manyOutgoing), 2*manyOutgoing, fillOutgoing, manyOutgoing); err != nil {
		return section{}, err
	}
	s.body = t.markdown() + fmt.Sprintf("\nMedians of %d counts after the first one, by the collector alone, of all namespaces. The sockets are established connections in the accept queue of one\n"+
		"listener; outgoing ones have a process that holds them, which the first count has to find. Allocated: by one count. Kept: from one count to the next.\n"+
		"Next count: what a scrape gets before is the last count's (the default interval of %s, or %d times what a count took).\n", socketRounds, defaultInterval, restAfterCount)
	return s, nil
}

// As the collector has them (exporter/host/sockets.go).
const (
	defaultInterval = 10 * time.Second
	restAfterCount  = 20
)

// socketObservation is what counting cost: times in seconds, memory in bytes.
type socketObservation struct{ first, took, allocations, allocated, kept float64 }

// countMany counts the sockets that fill makes.
func countMany(ctx context.Context, n int, fill func(*crowd, int) error) (o socketObservation, err error) {
	c, err := newCrowd(ctx, func(c *crowd) error { return fill(c, n) })
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	empty := heap().HeapAlloc
	set, err := socketsCollector()
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	var took, allocations, allocated []float64
	for round := range 1 + socketRounds {
		before := heap()
		began := time.Now()
		counted := countEstablished(set, c.netns)
		spent := time.Since(began)
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		if counted < n {
			return o, fmt.Errorf("%d sockets are counted, want at least %d", counted, n)
		}
		if round == 0 {
			o.first = spent.Seconds()
		} else {
			took = append(took, spent.Seconds())
			allocations = append(allocations, float64(after.Mallocs-before.Mallocs))
			allocated = append(allocated, float64(after.TotalAlloc-before.TotalAlloc))
		}
		select {
		case <-time.After(restAfterCount * spent):
		case <-ctx.Done():
			return o, ctx.Err()
		}
	}
	o.took, o.allocations, o.allocated = median(took), median(allocations), median(allocated)
	o.kept = max(0, float64(heap().HeapAlloc)-float64(empty))
	return o, nil
}

// heap is the state of the heap without garbage.
func heap() runtime.MemStats {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// socketsCollector is the collector by itself, on a machine without names.
func socketsCollector() (*collector.Set, error) {
	c, err := config.Parse("tcpslo.yml", []byte("collectors: {sockets: {interval: 0s, namespaces: all}}"), collector.Names())
	if err != nil {
		return nil, err
	}
	plan, err := collector.NewPlan(c)
	if err != nil {
		return nil, err
	}
	plan = slices.DeleteFunc(plan, func(p collector.Planned) bool { return p.Name != names.Sockets.Name })
	return collector.NewSet(plan, collector.Environment{Resolver: nameless{}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}), nil
}

// nameless knows namespaces by their inodes and nothing else by name.
type nameless struct{ metric.Resolver }

func (nameless) NetworkNamespace(inode uint32) string            { return fmt.Sprint(inode) }
func (nameless) ServiceOfListener(metric.Listener) string        { return "" }
func (nameless) ServiceOfProcess(tgid, executable uint32) string { return "" }

// countEstablished has sockets counted and returns how many of a namespace are
// established.
func countEstablished(set *collector.Set, netns string) int {
	n := 0
	for _, family := range set.Gather(nil) { // no probe is read
		if family.GetName() != names.SocketCount.Full() {
			continue
		}
		for _, one := range family.Metric {
			if has(one, labels{"netns": netns, "state": "established"}) {
				n += int(one.GetGauge().GetValue())
			}
		}
	}
	return n
}

// crowd is a network namespace full of sockets. A thread keeps it, and a process
// that does nothing, by which the collector finds it.
type crowd struct {
	netns    string
	listener int
	held     []int // descriptors
	end      chan struct{}
	ended    chan error
}

// newCrowd makes a namespace and calls fill on the thread that is in it.
func newCrowd(ctx context.Context, fill func(*crowd) error) (*crowd, error) {
	c := &crowd{listener: -1, end: make(chan struct{}), ended: make(chan error, 1)}
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends here
		anchor, err := c.enter(ctx)
		if err == nil {
			err = fill(c)
		}
		ready <- err
		<-c.end
		for _, fd := range append(c.held, c.listener) {
			unix.Close(fd) //nolint:errcheck // -1 if there is none
		}
		if anchor != nil {
			anchor.Process.Kill() //nolint:errcheck // it may have gone with its context
			anchor.Wait()         //nolint:errcheck // it was killed
		}
		c.ended <- nil
	}()
	if err := <-ready; err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *crowd) close() error {
	close(c.end)
	return <-c.ended
}

// enter makes the namespace and a listener with room for all in its accept queue.
func (c *crowd) enter(ctx context.Context) (anchor *exec.Cmd, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("unshare network namespace: %w", err)
	}
	if c.netns, err = threadNetns(); err != nil {
		return nil, err
	}
	if output, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ip link set lo up: %w\n%s", err, output)
	}
	for name, value := range map[string]string{"core/somaxconn": "2000000", "ipv4/tcp_max_syn_backlog": "2000000", "ipv4/tcp_syncookies": "0", "ipv4/ip_local_port_range": "1024 65535"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
			return nil, err
		}
	}
	if c.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Bind(c.listener, &crowdAddress), unix.Listen(c.listener, 2_000_000)); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	anchor = exec.CommandContext(ctx, "sleep", "infinity")
	anchor.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return anchor, anchor.Start()
}

var crowdAddress = unix.SockaddrInet4{Port: 80, Addr: [4]byte{127, 0, 0, 1}}

func threadNetns() (string, error) {
	var stat unix.Stat_t
	err := unix.Stat("/proc/thread-self/ns/net", &stat)
	return fmt.Sprint(stat.Ino), err
}

// fillEstablished makes connections that have one end only, and no descriptor: a
// client in repair mode (TCP_REPAIR, net/ipv4/tcp.c) goes without a word, and the
// server's end stays in the accept queue. A million take about 3 GiB.
func fillEstablished(c *crowd, n int) error {
	const firstPort, ports = 1024, 1<<16 - 1024
	for i := range n {
		host := i / ports
		from := unix.SockaddrInet4{Port: firstPort + i%ports, Addr: [4]byte{127, 1, byte(host >> 8), byte(host)}}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = errors.Join(unix.Bind(fd, &from), unix.Connect(fd, &crowdAddress), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1), unix.Close(fd))
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

// fillOutgoing makes connections of which the bench holds the client's end.
func fillOutgoing(c *crowd, n int) error {
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		c.held = append(c.held, fd)
		if err := unix.Connect(fd, &crowdAddress); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}
