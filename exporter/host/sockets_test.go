// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/sockdiag"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// nobodyKnown is a machine on which nothing has a name.
type nobodyKnown struct{ metric.Resolver }

func (nobodyKnown) NetworkNamespace(uint32) string           { return "" }
func (nobodyKnown) ServiceOfListener(metric.Listener) string { return "" }
func (nobodyKnown) ServiceOfProcess(uint32, uint32) string   { return "" }

// socketsFrom makes the collector with a procfs of its own.
func socketsFrom(t *testing.T, procfs string) *sockets {
	t.Helper()
	c, err := newSockets(Environment{Paths: Paths{Procfs: procfs}, Resolver: nobodyKnown{}, Log: slog.New(slog.DiscardHandler)}, socketsKind.Options())
	if err != nil {
		t.Fatal(err)
	}
	return c.(*sockets)
}

// procfsWith writes files below a folder that stands for procfs.
func procfsWith(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func limitFiles() map[string]string {
	return map[string]string{
		"thread-self/net/sockstat":             "sockets: used 15\nTCP: inuse 1 orphan 0 tw 7 alloc 1 mem 50\n",
		"thread-self/net/netstat":              "TcpExt: SyncookiesSent TCPTimeWaitOverflow TW\nTcpExt: 1 23 4\nIpExt: InNoRoutes\nIpExt: 9\n",
		"sys/net/ipv4/tcp_max_tw_buckets":      "131072\n",
		"sys/net/ipv4/ip_local_port_range":     "40000\t40099\n",
		"sys/net/ipv4/ip_local_reserved_ports": "8080,40010-40019,40050,40099-40100\n",
	}
}

func TestSocket_limits_are_those_of_procfs(t *testing.T) {
	f := &Found{}
	ephemeral, errs := readSocketLimits(procfsWith(t, limitFiles()), "", f)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	got := foundText(t, f)
	for _, want := range []string{"tcpslo_tcp_time_wait_sockets{netns=\"\"} 7", "tcpslo_tcp_time_wait_limit{netns=\"\"} 131072", "tcpslo_tcp_time_wait_overflow_total{netns=\"\"} 23", "tcpslo_ephemeral_ports_available{netns=\"\"} 88"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	for port, want := range map[uint16]bool{39999: false, 40000: true, 40009: true, 40010: false, 40019: false, 40020: true, 40050: false, 40098: true, 40099: false, 40100: false} {
		if ephemeral.has(port) != want {
			t.Errorf("port %d is ephemeral: %v, want %v", port, !want, want)
		}
	}
}

func TestSocket_limit_that_is_not_there_is_no_metric_and_an_error_names_its_file(t *testing.T) {
	for _, c := range []struct{ file, text, metric, want string }{
		{"thread-self/net/sockstat", "", "tcp_time_wait_sockets", "thread-self/net/sockstat"},
		{"thread-self/net/sockstat", "TCP: inuse 1\n", "tcp_time_wait_sockets", "sockstat: no tw in the line TCP"},
		{"thread-self/net/netstat", "TcpExt: TW\nTcpExt: 4\n", "tcp_time_wait_overflow_total", "netstat: no TCPTimeWaitOverflow"},
		{"thread-self/net/netstat", "TcpExt: TCPTimeWaitOverflow\n", "tcp_time_wait_overflow_total", "netstat: no TCPTimeWaitOverflow"},
		{"sys/net/ipv4/tcp_max_tw_buckets", "", "tcp_time_wait_limit", "tcp_max_tw_buckets"},
		{"sys/net/ipv4/ip_local_port_range", "40000", "ephemeral_ports_available", "ip_local_port_range"},
		{"sys/net/ipv4/ip_local_port_range", "40000 65536", "ephemeral_ports_available", "40000-65536 are no ports"},
		{"sys/net/ipv4/ip_local_reserved_ports", "70000", "ephemeral_ports_available", "ip_local_reserved_ports"},
	} {
		files := limitFiles()
		if files[c.file] = c.text; c.text == "" {
			delete(files, c.file)
		}
		f := &Found{}
		_, errs := readSocketLimits(procfsWith(t, files), "", f)
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
			t.Errorf("%s %q: errors %v, want %s", c.file, c.text, errs, c.want)
		}
		if got := foundText(t, f); len(f.families()) != 3 || strings.Contains(got, c.metric+"{") {
			t.Errorf("%s %q: %s is among\n%s", c.file, c.text, c.metric, got)
		}
	}
}

func TestConnection_belongs_to_the_listener_that_the_kernel_gave_it_to(t *testing.T) {
	at := func(family uint8, address string) *sockdiag.Socket {
		a := netip.MustParseAddrPort(address)
		return &sockdiag.Socket{Family: family, State: sockdiag.Listen, Local: sockdiag.Endpoint{IP: a.Addr().As16(), Port: a.Port()}}
	}
	four, six := func(a string) *sockdiag.Socket { return at(unix.AF_INET, a) }, func(a string) *sockdiag.Socket { return at(unix.AF_INET6, a) }
	for _, c := range []struct {
		name      string
		listeners []*sockdiag.Socket
		local     *sockdiag.Socket
		want      string
	}{
		{"its own address before all addresses", []*sockdiag.Socket{four("0.0.0.0:80"), four("127.0.0.1:80")}, four("127.0.0.1:80"), "127.0.0.1:80"},
		{"all addresses where its own is not listened on", []*sockdiag.Socket{four("127.0.0.2:80"), four("0.0.0.0:80")}, four("127.0.0.1:80"), "0.0.0.0:80"},
		{"an IPv6 socket has IPv4 connections", []*sockdiag.Socket{six("[::]:80")}, six("[::ffff:127.0.0.1]:80"), "[::]:80"},
		{"a request of an IPv6 socket by IPv4 is an IPv4 one", []*sockdiag.Socket{six("[::]:80")}, four("127.0.0.1:80"), "[::]:80"},
		{"an IPv4 socket beside an IPv6 one has its own, whichever is first", []*sockdiag.Socket{six("[::]:80"), four("0.0.0.0:80")}, four("127.0.0.1:80"), "0.0.0.0:80"},
		{"an IPv4 socket beside an IPv6 one has its own, whichever is last", []*sockdiag.Socket{four("0.0.0.0:80"), six("[::]:80")}, four("127.0.0.1:80"), "0.0.0.0:80"},
		{"an IPv6 connection is none of an IPv4 socket", []*sockdiag.Socket{four("0.0.0.0:80")}, six("[::1]:80"), ""},
		{"an IPv4-mapped address that is listened on", []*sockdiag.Socket{six("[::ffff:127.0.0.1]:80")}, six("[::ffff:127.0.0.1]:80"), "[::ffff:127.0.0.1]:80"},
		{"another port", []*sockdiag.Socket{four("0.0.0.0:81")}, four("127.0.0.1:80"), ""},
	} {
		count := &socketCount{sockets: socketsFrom(t, "/proc"), now: time.Now(), countedNamespace: &countedNamespace{listeners: map[uint16][]*listening{}}}
		for _, l := range c.listeners {
			count.addListener(l)
		}
		connection := *c.local
		connection.State = 1
		got := ""
		if l := count.listenerFor(&connection); l != nil {
			got = l.listener
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		connection.State = sockdiag.SynSent
		if l := count.listenerFor(&connection); l != nil {
			t.Errorf("%s: a connection that is being opened is said to come from a listener", c.name)
		}
	}
}

func TestBusiest_destinations_are_told_and_the_rest_is_summed_up(t *testing.T) {
	s := socketsFrom(t, "/proc")
	s.options.Destinations = 2
	count := &socketCount{sockets: s, countedNamespace: &countedNamespace{}, ephemeral: &portSet{}, found: &Found{}}
	for i, connections := range []int{3, 50, 7, 7, 1} {
		d := destination{source: sockdiag.Address16(unix.AF_INET, []byte{10, 0, 0, 1}), remote: sockdiag.Endpoint{IP: sockdiag.Address16(unix.AF_INET, []byte{10, 0, 1, byte(i)}), Port: 443}}
		for range connections {
			count.countDestination(d)
		}
	}
	count.addPorts()
	got := foundText(t, count.found)
	for _, want := range []string{`{destination="10.0.1.1:443",netns="",source="10.0.0.1"} 50`, `{destination="10.0.1.2:443",netns="",source="10.0.0.1"} 7`, `{destination="other",netns="",source=""} 11`} {
		if !strings.Contains(got, "tcpslo_ephemeral_ports_used_by_destination"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Count(got, "used_by_destination{") != 3 {
		t.Errorf("more than the 2 busiest and the rest:\n%s", got)
	}
}

func TestDestinations_beyond_the_limit_are_counted_among_the_others(t *testing.T) {
	s := socketsFrom(t, "/proc")
	count := &socketCount{sockets: s, countedNamespace: &countedNamespace{}, ephemeral: &portSet{}, found: &Found{}}
	const more = 500
	busy := destination{remote: sockdiag.Endpoint{IP: [16]byte{15: 1}, Port: 1}}
	for i := range maxDestinations + more {
		count.countDestination(busy)
		count.countDestination(destination{source: [16]byte{1}, remote: sockdiag.Endpoint{IP: [16]byte{byte(i >> 16), byte(i >> 8), byte(i)}, Port: 2}})
	}
	count.addPorts()
	if len(s.destinations) > maxDestinations+1 {
		t.Errorf("%d destinations are held, want %d at most", len(s.destinations), maxDestinations+1)
	}
	got := foundText(t, count.found)
	if want := fmt.Sprintf(`{destination="[::1]:1",netns="",source="::"} %d`, maxDestinations+more); !strings.Contains(got, want+"\n") {
		t.Errorf("no %s in\n%s", want, got)
	}
	rest := maxDestinations + more - (int(s.options.Destinations) - 1)
	if want := fmt.Sprintf(`{destination="other",netns="",source=""} %d`, rest); !strings.Contains(got, want+"\n") {
		t.Errorf("no %s in\n%s", want, got)
	}
}

func TestHolder_of_a_socket_is_found_by_its_inode(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	inode := uint32(info.Sys().(*syscall.Stat_t).Ino)
	const nobodys = 1<<32 - 2
	o := newSocketOwners("/proc")
	if _, known := o.of(inode); known {
		t.Fatal("known before it was looked for")
	}
	if err := o.find([]uint32{inode, nobodys}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a socket that is asked for in each count stays known
		if tgid, known := o.of(inode); !known || tgid != uint32(os.Getpid()) {
			t.Errorf("held by %d, %v, want %d", tgid, known, os.Getpid())
		}
		if tgid, known := o.of(nobodys); !known || tgid != 0 {
			t.Errorf("a socket that nobody holds: %d, %v; it must not be looked for again", tgid, known)
		}
		o.forget()
	}
	o.forget()
	if _, known := o.of(inode); known || len(o.known)+len(o.next) > 0 {
		t.Errorf("what was not asked for is still known: %v, %v", o.known, o.next)
	}
}

func TestOutgoing_connections_beyond_the_limit_have_no_service(t *testing.T) {
	s := socketsFrom(t, "/proc")
	for inode := range uint32(maxOwned - 2) {
		s.owners.known[inode+1] = 0
	}
	count := &socketCount{sockets: s, now: time.Now(), countedNamespace: &countedNamespace{outgoing: map[string]*socketGroup{}}}
	for i := range uint32(5) {
		count.add(&sockdiag.Socket{Family: unix.AF_INET, State: 1, Inode: maxOwned + i})
	}
	if beyond := count.outgoing[""].counts[1]; len(count.strays) != 2 || beyond != 3 {
		t.Errorf("%d are looked for and %d are not, want 2 and 3", len(count.strays), beyond)
	}
}

func TestSockets_are_counted_without_an_allocation_for_each(t *testing.T) {
	const many = 200
	var all []sockdiag.Socket
	for i := range many {
		all = append(all, sockdiag.Socket{
			Family: unix.AF_INET, State: byte(1 + i%2*(sockdiag.CloseWait-1)),
			Local: sockdiag.Endpoint{IP: endpointAny4, Port: uint16(79 + i%3)}, // two of three have no listener
			Inode: uint32(i + 1), Cookie: uint64(i),
		})
	}
	s := socketsFrom(t, "/proc")
	n := &countedNamespace{listeners: map[uint16][]*listening{}, outgoing: map[string]*socketGroup{}, waiting: map[uint64]time.Time{}}
	count := &socketCount{sockets: s, now: time.Now(), countedNamespace: n, ephemeral: &portSet{}, still: map[uint64]time.Time{}}
	count.ephemeral.add(79)
	count.addListener(&sockdiag.Socket{Family: unix.AF_INET, State: sockdiag.Listen, Local: sockdiag.Endpoint{IP: endpointAny4, Port: 80}})
	for i := range uint32(many) {
		s.owners.known[i+1], n.waiting[uint64(i)] = 0, count.now
	}
	perDump := testing.AllocsPerRun(20, func() {
		count.leaks = count.leaks[:0]
		for i := range all {
			count.add(&all[i])
		}
	})
	if perDump > 1 {
		t.Errorf("%v allocations for %d sockets", perDump, many)
	}
	if got := n.listeners[80][0].counts[1] + n.listeners[80][0].counts[sockdiag.CloseWait] + n.outgoing[""].counts[1] + n.outgoing[""].counts[sockdiag.CloseWait]; got != 21*many {
		t.Errorf("%d sockets were counted, want %d", got, 21*many)
	}
}

func TestNamespace_that_has_gone_is_told_from_one_that_may_not_be_entered(t *testing.T) {
	testenv.NeedRoot(t)
	sleep := exec.Command("sleep", "60")
	sleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	tgid := uint32(sleep.Process.Pid)
	all, err := netnsProcesses("/proc")
	if err != nil {
		t.Fatal(err)
	}
	inode, err := netnsInode(processNetns("/proc", tgid))
	if err != nil || len(all[inode]) != 1 || all[inode][0] != tgid {
		t.Fatalf("namespace %d of process %d (%v) is not among %v", inode, tgid, err, all)
	}
	own, err := threadNetns("/proc")
	if err != nil {
		t.Fatal(err)
	}
	onThrowawayThread(func() {
		if err := enterNetns("/proc", inode, []uint32{uint32(os.Getpid()), tgid}); err != nil {
			t.Error(err)
		}
		if in, err := threadNetns("/proc"); err != nil || in != inode {
			t.Errorf("the thread is in %d (%v), want %d", in, err, inode)
		}
	})
	sleep.Process.Kill()
	sleep.Wait() //nolint:errcheck // it was killed
	onThrowawayThread(func() {
		if err := enterNetns("/proc", inode, []uint32{tgid}); !errors.Is(err, errNetnsGone) {
			t.Errorf("got %v, want %v", err, errNetnsGone)
		}
		if in, err := threadNetns("/proc"); err != nil || in != own {
			t.Errorf("the thread is in %d (%v), want %d", in, err, own)
		}
	})
}

func TestCount_that_took_long_is_told_again_until_it_has_rested(t *testing.T) {
	s := socketsFrom(t, "/proc")
	update := func() int {
		f, err := s.Update()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, family := range f.families() {
			n += len(family.Metric)
		}
		return n
	}
	s.found, s.rested = &Found{}, time.Now().Add(time.Hour)
	s.found.Add(looksMetric, 1)
	if n := update(); n != 1 {
		t.Errorf("%d metrics, want the one that was told before", n)
	}
	s.rested = time.Time{}
	began := time.Now()
	if n := update(); n <= 1 {
		t.Errorf("%d metrics: nothing was counted", n)
	}
	if took, rest := time.Since(began), s.rested.Sub(began); rest > restAfterCount*took || rest <= 0 {
		t.Errorf("rests for %s after %s", rest, took)
	}
}

func TestOptions_of_the_sockets_collector(t *testing.T) {
	options := func(yaml string) (*SocketsOptions, error) {
		c, err := config.Parse("tcpslo.yml", []byte(yaml), Names())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := NewPlan(c)
		if err != nil {
			return nil, err
		}
		for _, p := range plan {
			if options, ok := p.Options.(*SocketsOptions); ok {
				if caps := plan.Capabilities(); (len(caps) == 1) != (options.Namespaces == allNamespaces) {
					t.Errorf("%q needs the capabilities %v", yaml, caps)
				}
				return options, nil
			}
		}
		t.Fatal("not planned")
		return nil, nil
	}
	o, err := options("")
	if err != nil || o.every() != 10*time.Second || o.Namespaces != ownNamespace || o.Destinations != 10 {
		t.Errorf("by default %+v, %v", o, err)
	}
	o, err = options("collectors: {sockets: {interval: 0s, namespaces: all, destinations: 0}}")
	if err != nil || o.every() != 0 || o.Namespaces != allNamespaces || o.Destinations != 0 {
		t.Errorf("got %+v, %v", o, err)
	}
	for yaml, want := range map[string]string{
		"collectors:\n  sockets: {namespaces: al}":      `tcpslo.yml:2:25: "namespaces" must be own or all, got "al"`,
		"collectors:\n  sockets: {destinations: 1001}":  `tcpslo.yml:2:27: "destinations" must be between 0 and 1000, got 1001`,
		"collectors:\n  sockets: {destination: 1}":      `unknown key "destination", did you mean "destinations"?`,
		"collectors:\n  sockets: {interval: 2h}":        `"interval" must be at most 1h`,
		"collectors:\n  sockets: {destinations: [1,2]}": `"destinations"`,
	} {
		if _, err := options(yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", yaml, err, want)
		}
	}
}
