// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the fastopen probe.
const (
	fastOpenAccepted  = "tcpslo_fastopen_accepted_connections_total"
	fastOpenFallbacks = "tcpslo_fastopen_fallbacks_total"
	fastOpenQueue     = "tcpslo_fastopen_queue_connections"
	fastOpenLimit     = "tcpslo_fastopen_queue_limit"
	firstReadWait     = "tcpslo_first_read_wait_seconds"
)

// fastOpenServer is a Go listener with TCP_FASTOPEN in a namespace of its own, in
// which Fast Open is on for clients and servers.
type fastOpenServer struct {
	ns       *labtest.NetNS
	listener *net.TCPListener
	addr     netip.AddrPort
	labels   labtest.Labels
}

// listenFastOpen listens with a Fast Open queue for limit connections, and waits
// until the exporter knows it.
func listenFastOpen(t *testing.T, ex *labtest.Exporter, limit int, mptcp bool) *fastOpenServer {
	t.Helper()
	ns := labtest.NewNetNS(t)
	ns.Sysctl(t, "net.ipv4.tcp_fastopen", "3")
	s := &fastOpenServer{ns: ns}
	var config net.ListenConfig
	config.SetMultipathTCP(mptcp)
	config.Control = func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, limit)
		}), err)
	}
	err := ns.Do(func() error {
		l, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:0")
		if err == nil {
			s.listener = l.(*net.TCPListener)
		}
		return err
	})
	if mptcp && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOPROTOOPT)) {
		testenv.Skip(t, "MPTCP sockets have TCP_FASTOPEN since Linux 6.2")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.listener.Close() })
	s.addr = s.listener.Addr().(*net.TCPAddr).AddrPort()
	s.labels = labtest.Labels{"listener": s.addr.String(), "netns": fmt.Sprint(ns.Inode)}
	ex.WaitListeners(1, func(l labtest.ListenerInfo) bool {
		return l.Listener == s.addr.String() && l.NetNS == s.labels["netns"] && l.PID == os.Getpid()
	})
	return s
}

// dial connects by a sendto() with MSG_FASTOPEN: the data goes into the SYN if
// the client has a cookie, and else behind the handshake. A deaf client, whose
// handshake never ends, does not wait for it.
func (s *fastOpenServer) dial(t *testing.T, data string, deaf bool) *labtest.Conn {
	t.Helper()
	var c *labtest.Conn
	err := s.ns.Do(func() error {
		kind, flags := unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.MSG_FASTOPEN
		if deaf {
			kind |= unix.SOCK_NONBLOCK
		}
		fd, err := unix.Socket(unix.AF_INET, kind, 0)
		if err != nil {
			return err
		}
		c = &labtest.Conn{FD: fd}
		if deaf {
			// A classic BPF filter that accepts no byte of any segment.
			nothing := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
			if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing); err != nil {
				return err
			}
		}
		err = unix.Sendto(fd, []byte(data), flags, &unix.SockaddrInet4{Addr: s.addr.Addr().As4(), Port: int(s.addr.Port())})
		if deaf && errors.Is(err, unix.EINPROGRESS) { // there was no cookie: none was meant to be
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Reset)
	return c
}

// accept takes one connection off the queue.
func (s *fastOpenServer) accept(t *testing.T) net.Conn {
	t.Helper()
	s.listener.SetDeadline(time.Now().Add(20 * time.Second))
	conn, err := s.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// exchange sends a question, lets it lie in the server's receive queue for the
// length of pause, and reads the answer. It returns the time from before the
// connection was made until after the question was read.
func (s *fastOpenServer) exchange(t *testing.T, client *labtest.Conn, began time.Time, pause time.Duration) time.Duration {
	t.Helper()
	conn := s.accept(t)
	time.Sleep(pause)
	question := make([]byte, 5)
	if _, err := io.ReadFull(conn, question); err != nil || string(question) != "hello" {
		t.Fatalf("read %q: %v", question, err)
	}
	elapsed := time.Since(began)
	// Further reads are not the first.
	client.Send(t, "more")
	if _, err := io.ReadFull(conn, question[:4]); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("ok")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2)
	labtest.Eventually(t, func() error {
		n, err := unix.Read(client.FD, answer)
		if err == nil && n != len(answer) {
			err = fmt.Errorf("read %d bytes", n)
		}
		return err
	})
	conn.Close()
	return elapsed
}

// dataInSYN tells whether the server has acknowledged data that the client sent
// in its SYN: TCPI_OPT_SYN_DATA of include/uapi/linux/tcp.h.
func dataInSYN(t *testing.T, c *labtest.Conn) bool {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(c.FD, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	const optSynData = 32
	return info.Options&optSynData != 0
}

// fallbacks compares the SYNs that fell back, where a program can see them.
func (s *fastOpenServer) fallbacks(t *testing.T, x *labtest.Exposition, want map[string]uint64) error {
	t.Helper()
	if !tracesCalls(t) {
		return same("series of fallbacks where no program can be attached", len(x.Series(fastOpenFallbacks, nil)), 0)
	}
	var errs []error
	for _, reason := range []string{"cookie_requested", "cookie_invalid", "queue_full"} {
		got := x.Value(fastOpenFallbacks, s.labels.With("reason", reason))
		errs = append(errs, exact(x, "fallbacks: "+reason, got, float64(want[reason])))
	}
	return errors.Join(errs...)
}

func TestFast_Open_and_the_first_read_are_counted_as_the_kernel_and_the_client_count_them(t *testing.T) {
	for _, c := range []struct {
		name  string
		mptcp bool
	}{{"TCP listener", false}, {"MPTCP listener", true}} {
		t.Run(c.name, func(t *testing.T) {
			ex := start(t)
			s := listenFastOpen(t, ex, 16, c.mptcp)
			const each, pause = 8, 50 * time.Millisecond
			opened, ordinary := 0, 0 // with data in the SYN, and without
			var openedTime, ordinaryTime time.Duration
			fastOpen := func() {
				began := time.Now()
				client := s.dial(t, "hello", false)
				elapsed := s.exchange(t, client, began, pause)
				if dataInSYN(t, client) {
					opened, openedTime = opened+1, openedTime+elapsed
				} else {
					ordinary, ordinaryTime = ordinary+1, ordinaryTime+elapsed
				}
				client.Close()
			}
			fastOpen() // gets the cookie
			for range each {
				fastOpen()
			}
			s.changeKey(t)
			fastOpen() // its cookie is no longer right, and it gets another
			for range each {
				fastOpen()
			}
			for range each {
				client := labtest.Dial(t, s.ns, s.addr, labtest.DialOptions{})
				labtest.WaitConnected(t, []*labtest.Conn{client})
				time.Sleep(pause) // the server has nothing to read yet
				began := time.Now()
				client.Send(t, "hello")
				ordinaryTime += s.exchange(t, client, began, pause)
				ordinary++
				client.Close()
			}
			kernel := labtest.Netstat(t, s.ns)
			for what, pair := range map[string][2]uint64{
				"connections with data in the SYN":    {uint64(opened), 2 * each},
				"connections with data behind it":     {uint64(ordinary), each + 2},
				"nstat TcpExtTCPFastOpenPassive":      {kernel["TCPFastOpenPassive"], 2 * each},
				"nstat TcpExtTCPFastOpenPassiveFail":  {kernel["TCPFastOpenPassiveFail"], 1},
				"nstat TcpExtTCPFastOpenCookieReqd":   {kernel["TCPFastOpenCookieReqd"], 1},
				"nstat TCPFastOpenListenOverflow":     {kernel["TCPFastOpenListenOverflow"], 0},
				"Fast Open that the client succeeded": {kernel["TCPFastOpenActive"], 2 * each},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: %d, want %d", what, pair[0], pair[1])
				}
			}
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				return errors.Join(
					exact(x, "connections accepted by Fast Open", x.Value(fastOpenAccepted, s.labels.With("service", self(t))), float64(kernel["TCPFastOpenPassive"])),
					exact(x, "of all listeners", x.Value(fastOpenAccepted, nil), float64(kernel["TCPFastOpenPassive"])),
					s.fallbacks(t, x, map[string]uint64{"cookie_requested": kernel["TCPFastOpenCookieReqd"], "cookie_invalid": kernel["TCPFastOpenPassiveFail"]}),
					s.waited(x, "true", opened, pause, openedTime),
					s.waited(x, "false", ordinary, pause, ordinaryTime),
					same("limit of the Fast Open queue", x.Value(fastOpenLimit, s.labels), 16),
					same("Fast Open queue", x.Value(fastOpenQueue, s.labels), 0),
					same("events lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "fastopen"}), 0),
				)
			})
		})
	}
}

// waited wants n first reads, each of which waited at least for the length of
// pause and all together no longer than the time given.
func (s *fastOpenServer) waited(x *labtest.Exposition, fastOpen string, n int, pause, atMost time.Duration) error {
	labels := s.labels.With("fastopen", fastOpen)
	sum := x.HistogramSum(firstReadWait, labels)
	errs := []error{exact(x, "first reads, fastopen="+fastOpen, x.HistogramCount(firstReadWait, labels), uint64(n))}
	for le, count := range x.HistogramBuckets(firstReadWait, labels) {
		if le < pause.Seconds() && count != 0 {
			errs = append(errs, fmt.Errorf("fastopen=%s: %d waits of at most %v s, want none below %v", fastOpen, count, le, pause))
		}
	}
	if sum < float64(n)*pause.Seconds() || sum > atMost.Seconds() {
		errs = append(errs, fmt.Errorf("fastopen=%s: waits add up to %v s, want %v to %v", fastOpen, sum, float64(n)*pause.Seconds(), atMost.Seconds()))
	}
	return errors.Join(errs...)
}

// changeKey makes every cookie invalid that the namespace has given.
func (s *fastOpenServer) changeKey(t *testing.T) {
	t.Helper()
	err := s.ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen_key", []byte("01234567-89abcdef-01234567-89abcdef"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFast_Open_queue_holds_those_whose_handshake_is_not_complete(t *testing.T) {
	ex := start(t)
	const limit = 3
	s := listenFastOpen(t, ex, limit, false)
	s.dial(t, "hello", false).Close() // gets the cookie
	var deaf []*labtest.Conn
	for range limit + 2 {
		deaf = append(deaf, s.dial(t, "hello", true))
	}
	kernel := labtest.Netstat(t, s.ns)
	if kernel["TCPFastOpenPassive"] != limit || kernel["TCPFastOpenListenOverflow"] < 2 {
		t.Fatalf("the kernel has opened %d connections and refused %d, want %d and at least 2",
			kernel["TCPFastOpenPassive"], kernel["TCPFastOpenListenOverflow"], limit)
	}
	labtest.Eventually(t, func() error {
		before := labtest.Netstat(t, s.ns)
		x := ex.Scrape()
		after := labtest.Netstat(t, s.ns)
		if before["TCPFastOpenListenOverflow"] != after["TCPFastOpenListenOverflow"] {
			return errors.New("clients are sending their SYNs again")
		}
		return errors.Join(
			same("Fast Open queue", x.Value(fastOpenQueue, s.labels), limit),
			same("limit of the Fast Open queue", x.Value(fastOpenLimit, s.labels), limit),
			exact(x, "connections accepted by Fast Open", x.Value(fastOpenAccepted, s.labels), limit),
			s.fallbacks(t, x, map[string]uint64{"cookie_requested": 1, "queue_full": after["TCPFastOpenListenOverflow"]}),
		)
	})
	labtest.ResetAll(deaf)
	s.listener.Close()
	labtest.Eventually(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			same("series of the closed listener's queue", len(x.Series(fastOpenQueue, s.labels)), 0),
			same("first reads of connections that nobody read", x.HistogramCount(firstReadWait, s.labels), 0),
		)
	})
}

// Nothing is left of connections that ended unread, and a listener without Fast
// Open has no queue of it.
func TestConnections_that_end_unread_have_no_first_read(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	waiting := func(x *labtest.Exposition) float64 {
		return x.Value("tcpslo_map_entries", labtest.Labels{"probe": "fastopen", "map": "unread_connections"})
	}
	before := waiting(ex.Scrape())
	const unread, silent, read = 20, 10, 5
	clients := labtest.DialMany(t, nil, l.Addr, unread+silent+read, labtest.DialOptions{})
	labtest.WaitConnected(t, clients)
	for _, c := range clients[silent:] {
		c.Send(t, "hello")
	}
	conns := l.MustAccept(t, unread+silent+read)
	labtest.Eventually(t, func() error {
		return atLeast("connections that wait for the first read", waiting(ex.Scrape()), before+unread+silent+read)
	})
	buffer := make([]byte, 8)
	for _, c := range conns[silent+unread:] {
		if n, err := unix.Read(c.FD, buffer); n != 5 || err != nil {
			t.Fatalf("read %d bytes: %v", n, err)
		}
	}
	labtest.ResetAll(clients)
	labtest.ResetAll(conns)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			exact(x, "first reads", x.HistogramCount(firstReadWait, at(l.Addr).With("fastopen", "false")), read),
			exact(x, "first reads by Fast Open", x.HistogramCount(firstReadWait, at(l.Addr).With("fastopen", "true")), 0),
			same("series of a Fast Open queue", len(x.Series(fastOpenLimit, at(l.Addr))), 0),
			grown(map[string]float64{"unread": before}, map[string]float64{"unread": waiting(x)}, math.Ceil(unread/2)),
		)
	})
}
