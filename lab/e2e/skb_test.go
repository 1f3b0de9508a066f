// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the skb probe.
const (
	skbDrops    = "tcpslo_skb_drops_total"
	socketDrops = "tcpslo_socket_receive_drops_total"
)

// smallBuffer is a size of SO_RCVBUF and SO_SNDBUF that the kernel raises to its least one,
// which holds little more than one packet (SOCK_MIN_RCVBUF, include/net/sock.h).
const smallBuffer = 1

func setOption(t *testing.T, c *labtest.Conn, level, name, value int) {
	t.Helper()
	if err := unix.SetsockoptInt(c.FD, level, name, value); err != nil {
		t.Fatalf("set option %d of level %d to %d: %v", name, level, value, err)
	}
}

// connected is a connection of a listener of the test's own, in a namespace of
// the test's own.
type connected struct {
	ns             *labtest.NetNS
	client, server *labtest.Conn
}

// connect opens a connection from 127.0.0.1 or ::1 to a listener, once the
// exporter knows whose the listener is.
func connect(t *testing.T, ex *labtest.Exporter, listen, dial string) connected {
	t.Helper()
	c := connected{ns: labtest.NewNetNS(t)}
	l := labtest.Listen(t, c.ns, labtest.ListenOptions{Addr: listen})
	ex.WaitListeners(1, func(i labtest.ListenerInfo) bool {
		return i.Listener == l.Addr.String() && i.NetNS == fmt.Sprint(c.ns.Inode) && i.PID == os.Getpid()
	})
	c.client = labtest.Dial(t, c.ns, netip.AddrPortFrom(netip.MustParseAddr(dial), l.Addr.Port()), labtest.DialOptions{})
	c.server = l.MustAccept(t, 1)[0]
	t.Cleanup(c.server.Reset)
	for _, end := range []*labtest.Conn{c.client, c.server} {
		setOption(t, end, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	return c
}

// sendMany sends n segments of a size, as far as the send buffer takes them.
func sendMany(t *testing.T, c *labtest.Conn, n, size int) {
	t.Helper()
	for range n {
		if _, err := unix.Write(c.FD, make([]byte, size)); errors.Is(err, unix.EAGAIN) {
			return
		} else if err != nil {
			t.Fatalf("send: %v", err)
		}
	}
}

// receiveDrops is what a service's sockets had no room for, by reason.
func receiveDrops(x *labtest.Exposition, service string) map[string]float64 {
	return x.By(socketDrops, "reason", labtest.Labels{"service": service})
}

// roomVariant is the variant that the program got which finds out what socket had
// no room.
func roomVariant(t *testing.T, ex *labtest.Exporter) string {
	t.Helper()
	for _, s := range ex.Scrape().Series("tcpslo_probe_info", labtest.Labels{"probe": "skb", "program": "no_room"}) {
		return s.Labels["variant"]
	}
	t.Fatal("no variant of the program no_room is attached")
	return ""
}

// namesSocket tells whether this kernel's tracepoint names the socket that a packet
// was for, since Linux 6.11.
func namesSocket(t *testing.T) bool { return tracepointHas(t, "skb/kfree_skb", "rx_sk") }

// namesReceiver tells whether this kernel shows which TCP connection had no room in
// its receive buffer: by its tracepoint, or since Linux 5.18, with the reasons, by
// its calls. If it does, the exporter must have found the way; else it must not say
// anything.
func namesReceiver(t *testing.T, ex *labtest.Exporter) bool {
	t.Helper()
	variant := roomVariant(t, ex)
	hasReasons := strings.Contains(tracepointFile(t, "skb/kfree_skb", "format"), `"PROTO_MEM"`)
	if namesSocket(t) || hasReasons && tracesCalls(t) {
		if !strings.Contains(variant, "kfree_skb") {
			t.Fatalf("the exporter has taken %s, which doesn't see the receive buffer of TCP", variant)
		}
		return true
	}
	for _, reason := range []string{"ofo_prune", "zero_window", "beyond_window"} {
		if n := len(ex.Scrape().Series(socketDrops, labtest.Labels{"reason": reason})); n != 0 {
			t.Errorf("%d series with reason %q on a kernel that does not tell the socket", n, reason)
		}
	}
	return false
}

func TestData_that_a_TCP_socket_has_no_room_for_is_counted_for_its_service(t *testing.T) {
	ex := start(t)
	if !namesReceiver(t, ex) {
		return
	}
	for name, c := range map[string]struct {
		listen, dial string
		toClient     bool // data flows from the server to the client
	}{
		"IPv4":                         {"127.0.0.1:0", "127.0.0.1", false},
		"IPv6":                         {"[::1]:0", "::1", false},
		"every IPv4 address":           {"0.0.0.0:0", "127.0.0.1", false},
		"IPv4 client of every address": {"[::]:0", "127.0.0.1", false},
		"the ephemeral port of a client has no service": {"127.0.0.1:0", "127.0.0.1", true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, ex, c.listen, c.dial)
			from, to, service := conn.client, conn.server, self(t)
			if c.toClient {
				from, to, service = to, from, ""
			}
			before, kernel0 := receiveDrops(ex.Scrape(), service), labtest.Netstat(t, conn.ns)
			// The window was announced when the buffer was large. Of what still comes,
			// only the first packet finds room.
			setOption(t, to, unix.SOL_SOCKET, unix.SO_RCVBUF, smallBuffer)
			sendMany(t, from, 30, 1500)
			time.Sleep(500 * time.Millisecond) // retransmissions that meet a window of 0
			conn.client.Reset()
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				is, kernel := receiveDrops(x, service), labtest.Netstat(t, conn.ns).Since(kernel0)
				return errors.Join(
					atLeast("segments that the kernel dropped", kernel["TCPRcvQDrop"], 1),
					exact(x, "rcvbuf", is["rcvbuf"]-before["rcvbuf"], float64(kernel["TCPRcvQDrop"]+kernel["TCPOFODrop"])),
					same("memory", is["memory"], before["memory"]),
				)
			})
		})
	}
}

// A sender that was told to believe in a window sends into one of 0. Linux 6.17
// drops most of that earlier than before, under another name (TCPBeyondWindow).
func TestData_that_does_not_fit_the_window_is_counted_for_its_service(t *testing.T) {
	ex := start(t)
	if !namesReceiver(t, ex) {
		return
	}
	conn := connect(t, ex, "127.0.0.1:0", "127.0.0.1")
	setOption(t, conn.server, unix.SOL_SOCKET, unix.SO_RCVBUF, smallBuffer)
	before, kernel0 := receiveDrops(ex.Scrape(), self(t)), labtest.Netstat(t, conn.ns)
	labtest.Eventually(t, func() error {
		sendMany(t, conn.client, 100, 1500)
		believeInWindow(t, conn.client)
		kernel := labtest.Netstat(t, conn.ns).Since(kernel0)
		return atLeast("segments dropped at the window", kernel["TCPZeroWindowDrop"]+kernel["BeyondWindow"], 3)
	})
	conn.client.Reset()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		is, kernel := receiveDrops(x, self(t)), labtest.Netstat(t, conn.ns).Since(kernel0)
		errs := []error{
			exact(x, "zero_window", is["zero_window"]-before["zero_window"], float64(kernel["TCPZeroWindowDrop"])),
			exact(x, "rcvbuf", is["rcvbuf"]-before["rcvbuf"], float64(kernel["TCPRcvQDrop"]+kernel["TCPOFODrop"])),
		}
		if beyond, counted := kernel["BeyondWindow"]; counted && namesSocket(t) {
			errs = append(errs, exact(x, "beyond_window", is["beyond_window"]-before["beyond_window"], float64(beyond)))
		}
		return errors.Join(errs...)
	})
}

// believeInWindow makes a connection send as if its peer had announced a window of
// 64 KiB (setsockopt TCP_REPAIR_WINDOW, struct tcp_repair_window in
// include/uapi/linux/tcp.h).
func believeInWindow(t *testing.T, c *labtest.Conn) {
	t.Helper()
	var window struct{ sndWl1, sndWnd, maxWindow, rcvWnd, rcvWup uint32 }
	size := uint32(unsafe.Sizeof(window))
	option := func(call uintptr, size uintptr) {
		t.Helper()
		if _, _, errno := unix.Syscall6(call, uintptr(c.FD), unix.IPPROTO_TCP, unix.TCP_REPAIR_WINDOW, uintptr(unsafe.Pointer(&window)), size, 0); errno != 0 {
			t.Fatalf("TCP_REPAIR_WINDOW: %v", errno)
		}
	}
	setOption(t, c, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	option(unix.SYS_GETSOCKOPT, uintptr(unsafe.Pointer(&size)))
	window.sndWnd = 1 << 16
	window.maxWindow = max(window.maxWindow, window.sndWnd)
	option(unix.SYS_SETSOCKOPT, unsafe.Sizeof(window))
	setOption(t, c, unix.IPPROTO_TCP, unix.TCP_REPAIR, 0)
}

// A packet that fills a gap is worth more than what came behind the gap.
func TestData_out_of_order_that_is_given_up_is_counted_for_its_service(t *testing.T) {
	ex := start(t)
	if !namesReceiver(t, ex) {
		return
	}
	conn := connect(t, ex, "127.0.0.1:0", "127.0.0.1")
	pruned := countTracepoint(t, "skb/kfree_skb", fmt.Sprintf("reason == %d", dropReason(t, "TCP_OFO_QUEUE_PRUNE")))
	before, kernel0 := receiveDrops(ex.Scrape(), self(t)), labtest.Netstat(t, conn.ns)
	conn.client.Send(t, strings.Repeat("x", 500)) // a queue that is not empty
	lose(t, conn.server)
	conn.client.Send(t, "g") // the gap
	sendMany(t, conn.client, 30, 1500)
	setOption(t, conn.server, unix.SOL_SOCKET, unix.SO_RCVBUF, smallBuffer)
	if err := unix.SetsockoptInt(conn.server.FD, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		t.Fatalf("detach filter: %v", err)
	}
	labtest.Eventually(t, func() error { return atLeast("packets that the kernel gave up", pruned(), 1) })
	conn.client.Reset()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		is, kernel := receiveDrops(x, self(t)), labtest.Netstat(t, conn.ns).Since(kernel0)
		return errors.Join(
			atLeast("times that the kernel pruned", kernel["OfoPruned"], 1),
			exact(x, "ofo_prune", is["ofo_prune"]-before["ofo_prune"], float64(pruned())),
			exact(x, "rcvbuf", is["rcvbuf"]-before["rcvbuf"], float64(kernel["TCPRcvQDrop"]+kernel["TCPOFODrop"])),
			exact(x, "zero_window", is["zero_window"]-before["zero_window"], float64(kernel["TCPZeroWindowDrop"])),
		)
	})
}

// lose makes a socket lose each segment that has one byte of data, by a classic
// BPF filter: 20 bytes of header, 12 of timestamps.
func lose(t *testing.T, c *labtest.Conn) {
	t.Helper()
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 33, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.SetsockoptSockFprog(c.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		t.Fatalf("attach filter: %v", err)
	}
}

// A read that waits for memory holds its socket; what comes meanwhile is put aside,
// up to a limit.
func TestPackets_for_a_socket_that_a_process_holds_for_too_long_are_counted_for_its_service(t *testing.T) {
	ex := start(t)
	if !namesSocket(t) && !tracesCalls(t) {
		if n := len(ex.Scrape().Series(socketDrops, labtest.Labels{"reason": "backlog"})); n != 0 {
			t.Errorf("%d series where neither a tracepoint nor a call tells of it, want none", n)
		}
		return
	}
	conn := connect(t, ex, "127.0.0.1:0", "127.0.0.1")
	warmUp(t, conn)
	before, kernel0 := receiveDrops(ex.Scrape(), self(t)), labtest.Netstat(t, conn.ns)
	for _, size := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} { // the limit is made of both, tcp_add_backlog()
		setOption(t, conn.server, unix.SOL_SOCKET, size, smallBuffer)
	}
	conn.client.Send(t, "x")
	release := holdInRead(t, conn.server)
	for i := range 60 { // of different kinds, or the kernel would make one packet of them
		setOption(t, conn.client, unix.IPPROTO_IP, unix.IP_TOS, 4*(1+i%2))
		sendMany(t, conn.client, 1, 1000)
	}
	labtest.Eventually(t, func() error {
		return atLeast("packets dropped at the backlog", labtest.Netstat(t, conn.ns).Since(kernel0)["TCPBacklogDrop"], 1)
	})
	conn.client.Reset()
	release()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return exact(x, "backlog", receiveDrops(x, self(t))["backlog"]-before["backlog"], float64(labtest.Netstat(t, conn.ns).Since(kernel0)["TCPBacklogDrop"]))
	})
}

// warmUp moves a megabyte, so that the sender may have more than the first ten
// packets under way.
func warmUp(t *testing.T, c connected) {
	t.Helper()
	buffer := make([]byte, 1<<16)
	for received := 0; received < 1<<20; {
		if _, err := unix.Write(c.client.FD, buffer[:1448]); err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatalf("send: %v", err)
		}
		n, err := unix.Read(c.server.FD, buffer)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatalf("receive: %v", err)
		}
		received += max(n, 0)
	}
}

// holdInRead lets a thread read from a socket into memory that is not there
// (userfaultfd(2)), and returns once it waits for that memory with the socket
// locked. release gives it the memory and waits until it has read.
func holdInRead(t *testing.T, c *labtest.Conn) (release func()) {
	t.Helper()
	// include/uapi/linux/userfaultfd.h
	const (
		uffdAPI, missingMode                   = 0xaa, 1
		ioctlAPI, ioctlRegister, ioctlZeropage = 0xc018aa3f, 0xc020aa00, 0xc020aa04
	)
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno == unix.ENOSYS {
		testenv.Skip(t, "the kernel was built without CONFIG_USERFAULTFD")
	} else if errno != 0 {
		t.Fatalf("userfaultfd: %v", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatalf("map a page: %v", err)
	}
	t.Cleanup(func() { unix.Munmap(page) })
	ioctl := func(request uintptr, argument *[4]uint64) {
		t.Helper()
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(argument))); errno != 0 {
			t.Fatalf("userfaultfd ioctl %#x: %v", request, errno)
		}
	}
	address, length := uint64(uintptr(unsafe.Pointer(&page[0]))), uint64(len(page))
	ioctl(ioctlAPI, &[4]uint64{uffdAPI})
	ioctl(ioctlRegister, &[4]uint64{address, length, missingMode})
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		_, err := unix.Read(c.FD, page)
		done <- err
	}()
	var fault [32]byte // struct uffd_msg
	if _, err := unix.Read(int(fd), fault[:]); err != nil {
		t.Fatalf("wait for the fault: %v", err)
	}
	return func() {
		t.Helper()
		ioctl(ioctlZeropage, &[4]uint64{address, length})
		if err := <-done; err != nil {
			t.Fatalf("read: %v", err)
		}
	}
}

func TestDatagrams_that_a_UDP_socket_has_no_room_for_are_counted_for_the_service_on_its_port(t *testing.T) {
	const n = 200
	ex := start(t)
	for name, c := range map[string]struct {
		listen, bind string // a listener of TCP, if any; the UDP socket, at the port of the former
		ipv6         bool
		service      string
	}{
		"at the port of a listener":        {"127.0.0.1:0", "127.0.0.1", false, self(t)},
		"at the port of a listener, IPv6":  {"[::1]:0", "::1", true, self(t)},
		"at a port that nobody listens on": {"", "127.0.0.1", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.ipv6 && !namesSocket(t) {
				t.Log("UDP over IPv6 passes no tracepoint before Linux 6.10")
				return
			}
			ns := labtest.NewNetNS(t)
			port := uint16(5353)
			if c.listen != "" {
				l := labtest.Listen(t, ns, labtest.ListenOptions{Addr: c.listen})
				port = l.Addr.Port()
				ex.WaitListeners(1, func(i labtest.ListenerInfo) bool {
					return i.Listener == l.Addr.String() && i.NetNS == fmt.Sprint(ns.Inode)
				})
			}
			to := netip.AddrPortFrom(netip.MustParseAddr(c.bind), port)
			before := receiveDrops(ex.Scrape(), c.service)
			receiver := udpSocket(t, ns, to, true)
			setOption(t, receiver, unix.SOL_SOCKET, unix.SO_RCVBUF, smallBuffer)
			sender := udpSocket(t, ns, to, false)
			for range n {
				sender.Send(t, "datagram")
			}
			dropped := n - readable(t, receiver)
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				is := receiveDrops(x, c.service)
				return errors.Join(
					atLeast("datagrams that the kernel dropped", dropped, n/2),
					same("drops of the socket, as getsockopt SO_MEMINFO tells", receiver.Drops(t), dropped),
					exact(x, "rcvbuf", is["rcvbuf"]-before["rcvbuf"], float64(dropped)),
					same("memory", is["memory"], before["memory"]),
				)
			})
		})
	}
}

// udpSocket opens a UDP socket that is bound, or connected, to an address.
func udpSocket(t *testing.T, ns *labtest.NetNS, at netip.AddrPort, bind bool) *labtest.Conn {
	t.Helper()
	c := &labtest.Conn{}
	err := ns.Do(func() (err error) {
		family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
		if at.Addr().Is4() {
			family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
		}
		if c.FD, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if bind {
			return unix.Bind(c.FD, address)
		}
		return unix.Connect(c.FD, address)
	})
	if err != nil {
		t.Fatalf("UDP socket at %s: %v", at, err)
	}
	t.Cleanup(c.Close)
	return c
}

// readable reads what waits in a UDP socket and returns how many datagrams it was.
func readable(t *testing.T, c *labtest.Conn) int {
	t.Helper()
	buffer := make([]byte, 1<<16)
	for n := 0; ; n++ {
		if _, err := unix.Read(c.FD, buffer); errors.Is(err, unix.EAGAIN) {
			return n
		} else if err != nil {
			t.Fatalf("read datagram %d: %v", n+1, err)
		}
	}
}

func TestDropped_packets_are_counted_by_the_reason_that_the_running_kernel_names(t *testing.T) {
	const n = 123
	ex := start(t)
	if !tracepointHas(t, "skb/kfree_skb", "reason") { // before Linux 5.17
		if n := len(ex.Scrape().Series(skbDrops, nil)); n != 0 {
			t.Errorf("%d series on a kernel that has no reasons, want none", n)
		}
		return
	}
	reasons := map[string]func() uint64{}
	for _, reason := range []string{"NO_SOCKET", "SOCKET_FILTER"} {
		reasons[reason] = countTracepoint(t, "skb/kfree_skb", fmt.Sprintf("reason == %d", dropReason(t, reason)))
	}
	drops := func() (x *labtest.Exposition, counts map[string]float64, kernel map[string]uint64) {
		labtest.Eventually(t, func() error { // a moment in which nothing is dropped
			kernel = map[string]uint64{}
			for reason, count := range reasons {
				kernel[reason] = count()
			}
			x = ex.Scrape()
			counts = x.By(skbDrops, "reason", nil)
			var errs []error
			for reason, count := range reasons {
				errs = append(errs, same("packets dropped during the scrape", count(), kernel[reason]))
			}
			return errors.Join(errs...)
		})
		return x, counts, kernel
	}
	_, before, kernel0 := drops()
	ns := labtest.NewNetNS(t)
	at := netip.MustParseAddrPort("127.0.0.1:5353")
	receiver := udpSocket(t, ns, at, true)
	nothing := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	if err := unix.SetsockoptSockFprog(receiver.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing); err != nil {
		t.Fatalf("attach filter: %v", err)
	}
	filtered := udpSocket(t, ns, at, false)
	refused := udpSocket(t, ns, netip.MustParseAddrPort("127.0.0.1:5354"), false)
	for range n {
		filtered.Send(t, "filtered")
		unix.Write(refused.FD, []byte("refused")) // every second write tells of the ICMP error before
	}
	labtest.Settles(t, func() error {
		x, is, kernel := drops()
		return errors.Join(
			atLeast("packets that the filter dropped", kernel["SOCKET_FILTER"]-kernel0["SOCKET_FILTER"], n),
			atLeast("packets to nobody", kernel["NO_SOCKET"]-kernel0["NO_SOCKET"], n/2),
			exact(x, "socket_filter", is["socket_filter"]-before["socket_filter"], float64(kernel["SOCKET_FILTER"]-kernel0["SOCKET_FILTER"])),
			exact(x, "no_socket", is["no_socket"]-before["no_socket"], float64(kernel["NO_SOCKET"]-kernel0["NO_SOCKET"])),
		)
	})
}
