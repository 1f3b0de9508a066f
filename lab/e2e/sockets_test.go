// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the sockets collector.
const (
	tcpSockets         = "tcpslo_tcp_sockets"
	closeWaitOldest    = "tcpslo_tcp_close_wait_oldest_seconds"
	timeWaitSockets    = "tcpslo_tcp_time_wait_sockets"
	timeWaitLimit      = "tcpslo_tcp_time_wait_limit"
	timeWaitOverflow   = "tcpslo_tcp_time_wait_overflow_total"
	ephemeralUsed      = "tcpslo_ephemeral_ports_used"
	ephemeralAvailable = "tcpslo_ephemeral_ports_available"
	ephemeralBusiest   = "tcpslo_ephemeral_ports_used_by_destination"
	collectorSuccess   = "tcpslo_collector_success"
)

// everyNamespace counts at each scrape: what else runs in the exporter's own
// namespace (its scrapes) would disturb, so the tests make namespaces of theirs.
const everyNamespace = "collectors: {sockets: {interval: 0s, namespaces: all}}"

func startSockets(t *testing.T) *labtest.Exporter {
	t.Helper()
	testenv.NeedRoot(t)
	return labtest.StartExporter(t, labtest.Options{Config: everyNamespace})
}

// listenIn opens a listener in a namespace and waits until the exporter knows whose
// it is.
func listenIn(t *testing.T, ex *labtest.Exporter, ns *labtest.NetNS, opts labtest.ListenOptions) *labtest.Listener {
	t.Helper()
	l := labtest.Listen(t, ns, opts)
	ex.WaitListeners(1, func(info labtest.ListenerInfo) bool {
		return info.Listener == l.Addr.String() && info.NetNS == netnsLabel(ns) && info.Service == self(t)
	})
	return l
}

// inhabited makes a namespace with a process in it: the exporter finds namespaces by
// the processes that live there.
func inhabited(t *testing.T) *labtest.NetNS {
	t.Helper()
	ns := labtest.NewNetNS(t)
	sleep := exec.Command("sleep", "300")
	sleep.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ns.Do(sleep.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sleep.Process.Kill()
		sleep.Wait()
	})
	return ns
}

func netnsLabel(ns *labtest.NetNS) string { return fmt.Sprint(ns.Inode) }

// ssStates translates what ss calls a state.
var ssStates = map[string]string{
	"ESTAB": "established", "SYN-SENT": "syn_sent", "SYN-RECV": "syn_recv", "FIN-WAIT-1": "fin_wait1", "FIN-WAIT-2": "fin_wait2",
	"TIME-WAIT": "time_wait", "CLOSE-WAIT": "close_wait", "LAST-ACK": "last_ack", "LISTEN": "listen", "CLOSING": "closing", "UNCONN": "close",
}

// ss runs "ss -tan" in a namespace and returns how many sockets there are in each
// state, and the local port of each.
func ss(t *testing.T, ns *labtest.NetNS) (states map[string]float64, ports []string) {
	t.Helper()
	program := testenv.Need(t, "ss", "iproute2")
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command(program, "-tanH").Output()
		return err
	})
	if err != nil {
		t.Fatalf("ss -tan: %v", err)
	}
	states = map[string]float64{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 5 || ssStates[f[0]] == "" {
			t.Fatalf("ss says %q", line)
		}
		states[ssStates[f[0]]]++
		ports = append(ports, f[3][strings.LastIndex(f[3], ":")+1:])
	}
	return states, ports
}

// sockstat reads a number from the line TCP of /proc/net/sockstat.
func sockstat(t *testing.T, ns *labtest.NetNS, name string) float64 {
	t.Helper()
	var text []byte
	err := ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/sockstat")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(text), "TCP:")
	var n float64
	if _, rest, found := strings.Cut(line, " "+name+" "); !found {
		t.Fatalf("no %s in %q", name, text)
	} else if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// states are the counts by state that labels select, without those that are 0.
func states(x *labtest.Exposition, labels labtest.Labels) map[string]float64 {
	all := x.By(tcpSockets, "state", labels)
	maps.DeleteFunc(all, func(_ string, n float64) bool { return n == 0 })
	return all
}

func sameStates(what string, got, want map[string]float64) error {
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}

func connects(t *testing.T, ns *labtest.NetNS, l *labtest.Listener, to netip.AddrPort) (client, server *labtest.Conn) {
	t.Helper()
	client = labtest.Dial(t, ns, to, labtest.DialOptions{})
	return client, l.MustAccept(t, 1)[0]
}

// halfClose sends a FIN and keeps the descriptor, so that the kernel keeps the
// socket in its state for as long as the test runs.
func halfClose(t *testing.T, c *labtest.Conn) {
	t.Helper()
	if err := unix.Shutdown(c.FD, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
}

// waitFinWait2 waits until the peer has acknowledged the FIN.
func waitFinWait2(t *testing.T, c *labtest.Conn) {
	t.Helper()
	labtest.Eventually(t, func() error {
		info, err := unix.GetsockoptTCPInfo(c.FD, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.State != unix.BPF_TCP_FIN_WAIT2 {
			err = fmt.Errorf("the socket is in state %d", info.State)
		}
		return err
	})
}

// deafen throws away all that comes from now on.
func deafen(t *testing.T, c *labtest.Conn) {
	t.Helper()
	nothing := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	if err := unix.SetsockoptSockFprog(c.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing); err != nil {
		t.Fatal(err)
	}
}

func TestSockets_in_every_state_are_as_many_as_ss_shows(t *testing.T) {
	ex := startSockets(t)
	for _, c := range []struct{ name, listen, dial string }{
		{"IPv4", "127.0.0.1:8080", "127.0.0.1:8080"},
		{"IPv6", "[::1]:8080", "[::1]:8080"},
		{"IPv4 to a listener on all addresses", "0.0.0.0:8080", "127.0.0.1:8080"},
		{"IPv4 to an IPv6 listener", "[::]:8080", "127.0.0.1:8080"},
		{"an IPv4-mapped client of an IPv6 listener", "[::]:8080", "[::ffff:127.0.0.1]:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := inhabited(t)
			l, to := listenIn(t, ex, ns, labtest.ListenOptions{Addr: c.listen}), netip.MustParseAddrPort(c.dial)
			labtest.DialMany(t, ns, to, 2, labtest.DialOptions{Deaf: true})
			for range 3 {
				connects(t, ns, l, to)
			}
			for range 4 {
				client, _ := connects(t, ns, l, to)
				halfClose(t, client)
			}
			for range 5 {
				client, server := connects(t, ns, l, to)
				client.Close()
				server.Close()
			}
			for range 6 {
				client, server := connects(t, ns, l, to)
				server.Close()
				client.Close()
			}
			for range 7 {
				client, server := connects(t, ns, l, to)
				halfClose(t, client)
				waitFinWait2(t, client) // the server may take its time to acknowledge
				deafen(t, client)
				halfClose(t, server)
			}
			for range 8 {
				client, server := connects(t, ns, l, to)
				deafen(t, client)
				halfClose(t, server)
				halfClose(t, client)
			}
			for range 9 {
				client, server := connects(t, ns, l, to)
				deafen(t, client)
				halfClose(t, server)
			}
			netns := netnsLabel(ns)
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				shown, _ := ss(t, ns)
				return errors.Join(
					same("success", x.Value(collectorSuccess, labtest.Labels{"collector": "sockets"}), 1),
					sameStates("all", states(x, labtest.Labels{"netns": netns}), shown),
					sameStates("the listener's", states(x, labtest.Labels{"netns": netns, "service": self(t), "listener": c.listen}), map[string]float64{
						"listen": 1, "syn_recv": 2, "established": 3, "close_wait": 4, "time_wait": 6, "last_ack": 7, "closing": 8, "fin_wait1": 9,
					}),
					sameStates("outgoing ones", states(x, labtest.Labels{"netns": netns, "service": self(t), "listener": ""}), map[string]float64{
						"syn_sent": 2, "established": 3 + 9, "fin_wait2": 4 + 7, "fin_wait1": 8,
					}),
					sameStates("outgoing ones that nobody holds", states(x, labtest.Labels{"netns": netns, "service": "", "listener": ""}), map[string]float64{"time_wait": 5}),
				)
			})
		})
	}
}

func TestTime_wait_piles_up_until_no_port_is_left_for_a_destination(t *testing.T) {
	ex := startSockets(t)
	ns := inhabited(t)
	// Else a connection over loopback takes the port of one in TIME_WAIT.
	ns.Sysctl(t, "net.ipv4.tcp_tw_reuse", "0")
	ns.Sysctl(t, "net.ipv4.ip_local_port_range", "40000 40099")
	ns.Sysctl(t, "net.ipv4.ip_local_reserved_ports", "8080,40010-40019,40050")
	const available = 100 - 11
	l := listenIn(t, ex, ns, labtest.ListenOptions{Addr: "127.0.0.1:8080"})
	second := listenIn(t, ex, ns, labtest.ListenOptions{Addr: "127.0.0.1:8081"})
	connected := 0
	for ; ; connected++ {
		var client *labtest.Conn
		err := ns.Do(func() (err error) {
			client, err = labtest.TryDial(l.Addr, labtest.DialOptions{})
			return err
		})
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		server := l.MustAccept(t, 1)[0]
		client.Close()
		server.Close()
	}
	for range 3 {
		connects(t, ns, second, second.Addr)
	}
	here := labtest.Labels{"netns": netnsLabel(ns)}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		shown, ports := ss(t, ns)
		ports = slices.DeleteFunc(ports, func(port string) bool { return port < "40000" || port > "40099" || len(port) != 5 })
		slices.Sort(ports)
		used := float64(len(slices.Compact(ports)))
		left := x.Value(ephemeralAvailable, here) - x.Value(ephemeralUsed, here)
		return errors.Join(
			same("connections before connect failed", connected, available),
			same("ports in use", x.Value(ephemeralUsed, here), used),
			same("ports left", left, 0),
			same("ports in use to the destination", x.Value(ephemeralBusiest, here.With("source", "127.0.0.1").With("destination", "127.0.0.1:8080")), available),
			same("ports in use to another destination", x.Value(ephemeralBusiest, here.With("destination", "127.0.0.1:8081")), 3),
			same("destinations", len(x.Series(ephemeralBusiest, here)), 2),
			same("TIME_WAIT of ss", x.Value(tcpSockets, here.With("state", "time_wait").With("listener", "")), shown["time_wait"]),
			same("TIME_WAIT of sockstat", x.Value(timeWaitSockets, here), sockstat(t, ns, "tw")),
			same("TIME_WAIT", shown["time_wait"], available),
			same("overflows", x.Value(timeWaitOverflow, here), 0),
		)
	})
}

func TestTime_wait_above_the_limit_is_counted_as_overflow(t *testing.T) {
	const limit, connections = 5, 12
	ex := startSockets(t)
	ns := inhabited(t)
	ns.Sysctl(t, "net.ipv4.tcp_max_tw_buckets", fmt.Sprint(limit))
	l := listenIn(t, ex, ns, labtest.ListenOptions{Addr: "127.0.0.1:8080"})
	for range connections {
		client, server := connects(t, ns, l, l.Addr)
		server.Close() // so that it is the listener's port that has them
		client.Close()
	}
	here := labtest.Labels{"netns": netnsLabel(ns)}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		kernel := labtest.Netstat(t, ns)
		return errors.Join(
			atLeast("overflows that the kernel counts", kernel["TCPTimeWaitOverflow"], 1),
			same("overflows", x.Value(timeWaitOverflow, here), float64(kernel["TCPTimeWaitOverflow"])),
			same("limit", x.Value(timeWaitLimit, here), limit),
			same("TIME_WAIT of sockstat", x.Value(timeWaitSockets, here), sockstat(t, ns, "tw")),
			same("TIME_WAIT of the listener", x.Value(tcpSockets, here.With("listener", "127.0.0.1:8080").With("state", "time_wait")), float64(connections)-float64(kernel["TCPTimeWaitOverflow"])),
		)
	})
}

func TestClose_wait_of_a_leaking_server_is_counted_and_grows_old(t *testing.T) {
	ex := startSockets(t)
	ns := inhabited(t)
	l := listenIn(t, ex, ns, labtest.ListenOptions{Addr: "127.0.0.1:8080"})
	leak := labtest.Labels{"netns": netnsLabel(ns), "listener": "127.0.0.1:8080", "service": self(t)}
	var servers []*labtest.Conn
	closeClient := func() *labtest.Conn {
		client, server := connects(t, ns, l, l.Addr)
		halfClose(t, client)
		servers = append(servers, server)
		return server
	}
	beforeFirst := time.Now()
	oldest := closeClient()
	afterFirst := time.Now()
	aged := func(want int) {
		t.Helper()
		labtest.Eventually(t, func() error {
			begin := time.Now()
			x := ex.Scrape()
			end := time.Now()
			// The kernel counts in ticks, of 10 ms at most.
			const tick = 0.011
			age := x.Value(closeWaitOldest, leak)
			low, high := begin.Sub(afterFirst).Seconds()-tick, end.Sub(beforeFirst).Seconds()+tick
			if age < low || age > high {
				return fmt.Errorf("the oldest is %v s old, want %v to %v", age, low, high)
			}
			shown, _ := ss(t, ns)
			return errors.Join(
				same("leaked connections", x.Value(tcpSockets, leak.With("state", "close_wait")), float64(want)),
				same("leaked connections of ss", shown["close_wait"], float64(want)),
			)
		})
	}
	time.Sleep(500 * time.Millisecond)
	aged(1)
	for range 4 {
		closeClient()
	}
	aged(5)
	// What the peer answers to a late byte, or to a keep-alive probe, must not make
	// the socket young again.
	oldest.Send(t, "late")
	time.Sleep(500 * time.Millisecond)
	aged(5)
	for _, server := range servers {
		server.Close()
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			same("leaked connections", states(x, leak)["close_wait"], 0),
			same("series of an oldest one", len(x.Series(closeWaitOldest, leak)), 0),
			same("series that stay at 0", len(x.Series(tcpSockets, leak.With("state", "close_wait"))), 1),
		)
	})
}

func TestSockets_on_one_port_in_two_namespaces_are_told_apart(t *testing.T) {
	ex := startSockets(t)
	pods := []pod{startPod(t, 16), startPod(t, 16)}
	waitListed(ex, pods)
	for i, p := range pods {
		labtest.WaitConnected(t, labtest.DialMany(t, p.ns, p.worker.Addr, 2+5*i, labtest.DialOptions{}))
		p.worker.Accept(t, 1+i)
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		for i, p := range pods {
			shown, _ := ss(t, p.ns)
			errs = append(errs,
				sameStates("the pod's", states(x, p.labels.With("service", self(t))), map[string]float64{"listen": 1, "established": float64(2 + 5*i)}),
				sameStates("all in the namespace", states(x, labtest.Labels{"netns": p.labels["netns"]}), shown),
			)
		}
		return errors.Join(append(errs, same("series of the address in the exporter's own namespace", len(x.Series(tcpSockets, labtest.Labels{"listener": podAddr, "netns": ""})), 0))...)
	})
}

func TestOutgoing_connection_is_counted_for_the_process_that_holds_it(t *testing.T) {
	ex := startSockets(t)
	ns := inhabited(t)
	l := listenIn(t, ex, ns, labtest.ListenOptions{Addr: "127.0.0.1:8080"})
	const kept, given = 2, 3
	labtest.DialMany(t, ns, l.Addr, kept, labtest.DialOptions{})
	var files []*os.File
	for _, client := range labtest.DialMany(t, ns, l.Addr, given, labtest.DialOptions{}) {
		fd, err := unix.FcntlInt(uintptr(client.FD), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
		files = append(files, os.NewFile(uintptr(fd), "connection"))
	}
	holder := exec.Command("sleep", "300")
	holder.ExtraFiles = files
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		holder.Process.Kill()
		holder.Wait()
	})
	for _, file := range files {
		file.Close()
	}
	outgoing := labtest.Labels{"netns": netnsLabel(ns), "listener": "", "state": "established"}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			same("held by the other process", x.Value(tcpSockets, outgoing.With("service", "sleep")), given),
			same("held by the test", x.Value(tcpSockets, outgoing.With("service", self(t))), kept),
			same("all", x.Value(tcpSockets, outgoing), given+kept),
		)
	})
}

func TestNamespaces_that_vanish_while_their_sockets_are_counted_disturb_nothing(t *testing.T) {
	ex := startSockets(t)
	stays := inhabited(t)
	l := listenIn(t, ex, stays, labtest.ListenOptions{Addr: podAddr})
	connects(t, stays, l, l.Addr)
	before := ex.Scrape().By(ephemeralAvailable, "netns", nil)
	files := ex.OpenFiles()
	meanwhile(t, 20, func(int) error {
		// Each is a namespace that is gone 5 ms later.
		shortLived := exec.Command("sleep", "0.005")
		shortLived.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		return shortLived.Run()
	}, 100, func() error {
		x := ex.Scrape()
		return errors.Join(
			same("success", x.Value(collectorSuccess, labtest.Labels{"collector": "sockets"}), 1),
			sameStates("the namespace that stays", states(x, labtest.Labels{"netns": netnsLabel(stays)}), map[string]float64{"listen": 1, "established": 2}),
		)
	})
	if err := grown(files, ex.OpenFiles(), 2); err != nil {
		t.Error(err)
	}
	labtest.Eventually(t, func() error {
		x := ex.Scrape()
		var errs []error
		for netns := range x.By(ephemeralAvailable, "netns", nil) {
			if _, there := before[netns]; !there {
				errs = append(errs, fmt.Errorf("namespace %s is still served", netns))
			}
		}
		return errors.Join(errs...)
	})
}

func TestTen_thousand_sockets_are_counted(t *testing.T) {
	const pairs = 5000
	ex := startSockets(t)
	ns := inhabited(t)
	l := listenIn(t, ex, ns, labtest.ListenOptions{Addr: "127.0.0.1:8080"})
	for range pairs {
		connects(t, ns, l, l.Addr)
	}
	here := labtest.Labels{"netns": netnsLabel(ns)}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		shown, _ := ss(t, ns)
		return errors.Join(
			sameStates("all", states(x, here), shown),
			same("established of sockstat", x.Value(tcpSockets, here), sockstat(t, ns, "inuse")),
			sameStates("the listener's", states(x, here.With("listener", "127.0.0.1:8080")), map[string]float64{"listen": 1, "established": pairs}),
			sameStates("outgoing ones", states(x, here.With("listener", "").With("service", self(t))), map[string]float64{"established": pairs}),
			same("ports in use", x.Value(ephemeralUsed, here), pairs),
		)
	})
}

func TestOnly_the_own_namespace_is_counted_unless_the_configuration_wants_all(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: "collectors: {sockets: {interval: 0s}}"})
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	p := startPod(t, 1)
	waitListed(ex, []pod{p})
	own := at(l.Addr).With("state", "listen")
	if err := errors.Join(
		same("listener in the own namespace", ex.Scrape().Value(tcpSockets, own), 1),
		same("series of the pod", len(ex.Scrape().Series(tcpSockets, p.labels)), 0),
		same("CAP_SYS_ADMIN is kept", hasCapability(t, ex.PID, unix.CAP_SYS_ADMIN), false),
	); err != nil {
		t.Error(err)
	}
	// It was given up at the start: that can't be undone, but it can be said.
	ex.WriteConfig(everyNamespace)
	ex.Reload()
	labtest.Eventually(t, func() error {
		x := ex.Scrape()
		if !strings.Contains(ex.Log(), "needs CAP_SYS_ADMIN") {
			return errors.New("the log does not say what is missing")
		}
		return errors.Join(
			same("success", x.Value(collectorSuccess, labtest.Labels{"collector": "sockets"}), 0),
			same("listener in the own namespace", x.Value(tcpSockets, own), 1),
		)
	})
	all := startSockets(t)
	if !hasCapability(t, all.PID, unix.CAP_SYS_ADMIN) || hasCapability(t, all.PID, unix.CAP_NET_ADMIN) {
		t.Error("an exporter that counts in all namespaces must have kept CAP_SYS_ADMIN, and no CAP_NET_ADMIN")
	}
}

// hasCapability tells whether a process has a capability in force.
func hasCapability(t *testing.T, pid, capability int) bool {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("CapEff:"))
	var set uint64
	if _, err := fmt.Sscanf(string(rest), "%x", &set); err != nil {
		t.Fatal(err)
	}
	return set&uint64(math.Exp2(float64(capability))) != 0
}
