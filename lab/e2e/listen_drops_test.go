// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

func TestFull_accept_queue(t *testing.T) {
	ex := start(t)
	v4, v6 := []string{"127.0.0.1"}, []string{"::1"}
	for _, c := range []struct {
		name   string
		listen string
		dialTo []string
		dials  int
		mptcp  bool // the listener
		client labtest.DialOptions
	}{
		{"20 dials to an IPv4 listener", "127.0.0.1:0", v4, 20, false, labtest.DialOptions{}},
		{"200 dials to an IPv4 listener", "127.0.0.1:0", v4, 200, false, labtest.DialOptions{}},
		{"20 dials to an IPv6 listener", "[::1]:0", v6, 20, false, labtest.DialOptions{}},
		{"20 dials to every IPv4 address", "0.0.0.0:0", v4, 20, false, labtest.DialOptions{}},
		{"20 dials of both families to every address", "[::]:0", append(v4, v6...), 20, false, labtest.DialOptions{}},
		{"20 plain dials to an MPTCP listener", "127.0.0.1:0", v4, 20, true, labtest.DialOptions{}},
		{"20 multipath dials to an MPTCP listener", "127.0.0.1:0", v4, 20, true, labtest.DialOptions{MPTCP: true}},
	} {
		t.Run(c.name+" are queued and dropped as the kernel counts them", func(t *testing.T) {
			if c.mptcp {
				needMPTCP(t)
			}
			l := listen(t, ex, labtest.ListenOptions{Addr: c.listen, Backlog: 1, MPTCP: c.mptcp})
			kernel0 := labtest.Netstat(t, nil)["ListenDrops"]
			everywhere := labtest.Labels{"netns": ""}
			drops0 := ex.Scrape().Value(listenDrops, everywhere)

			var conns []*labtest.Conn
			for i := range c.dials {
				to := netip.AddrPortFrom(netip.MustParseAddr(c.dialTo[i%len(c.dialTo)]), l.Addr.Port())
				conns = append(conns, labtest.Dial(t, nil, to, c.client))
				// Backlog 1 holds 2 (include/net/sock.h, sk_acceptq_is_full). They must be there before the next
				// SYN: one that finds a handshake under way gets a cookie, and is then refused at its final ACK.
				labtest.WaitQueued(t, nil, l.Addr, min(i+1, 2))
			}
			labtest.ResetAll(conns[2:]) // ends the retransmissions of the SYNs
			inQueue := uint64(labtest.WaitQueued(t, nil, l.Addr, 2))

			labtest.Settles(t, func() error {
				x, kernel := stillCounts(t, ex, nil)
				dropped := float64(kernel["ListenDrops"] - kernel0)
				buckets := x.HistogramBuckets(queueDepth, at(l.Addr))
				return errors.Join(
					atLeast("connections that the kernel dropped", dropped, float64(c.dials)-float64(inQueue)),
					exact(x, "drops of the listener", x.Value(listenDrops, at(l.Addr)), dropped),
					exact(x, "drops of SYNs", x.Value(listenDrops, at(l.Addr).With("reason", "syn_refused")), dropped),
					exact(x, "drops of all listeners of the namespace", x.Value(listenDrops, everywhere)-drops0, dropped),
					same("accept queue", x.Value(queueConnections, at(l.Addr)), float64(labtest.AcceptQueue(t, nil, l.Addr))),
					same("limit", x.Value(queueLimit, at(l.Addr)), 1),
					same("SYN queue", x.Value(synRequests, at(l.Addr)), float64(labtest.SynQueue(t, nil, l.Addr.Port()))),
					exact(x, "observations of the depth", x.HistogramCount(queueDepth, at(l.Addr)), inQueue),
					exactSum(x, "sum of the depths 1, 2, ...", x.HistogramSum(queueDepth, at(l.Addr)), float64(inQueue*(inQueue+1)/2), float64(inQueue)),
					exact(x, "depths up to 1", buckets[1], 1),
					exact(x, "depths up to 2", buckets[2], 2),
					exact(x, "queued connections", x.Value(queued, at(l.Addr)), float64(inQueue)),
					exact(x, "handshakes", x.HistogramCount(handshake, at(l.Addr)), inQueue),
					same("accepted connections", x.Value(accepted, at(l.Addr)), 0),
				)
			})
		})
	}
}

func TestDrops_of_two_listeners_are_told_apart(t *testing.T) {
	ex := start(t)
	var listeners [2]*labtest.Listener
	var want [2]float64
	for i, dials := range []int{11, 37} {
		listeners[i] = listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 1})
		before := labtest.Netstat(t, nil)["ListenDrops"]
		conns := labtest.DialMany(t, nil, listeners[i].Addr, dials, labtest.DialOptions{})
		labtest.WaitQueued(t, nil, listeners[i].Addr, 2)
		labtest.ResetAll(conns)
		want[i] = float64(labtest.Netstat(t, nil)["ListenDrops"] - before)
	}
	if want[0] < 9 || want[1] < 35 {
		t.Fatalf("the kernel dropped %v connections, want at least 9 and 35", want)
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			exact(x, "drops of the first listener", x.Value(listenDrops, at(listeners[0].Addr)), want[0]),
			exact(x, "drops of the second listener", x.Value(listenDrops, at(listeners[1].Addr)), want[1]),
		)
	})
}

// The kernel adds to sk_drops for things that are no listen drops: once for each
// bare ACK that TCP_DEFER_ACCEPT swallows, twice for an overflowing final ACK,
// once for the reset of a half-open connection.
func TestDrops_count_what_overflows_and_not_what_TCP_DEFER_ACCEPT_or_a_reset_discards(t *testing.T) {
	ex := start(t)
	for name, addr := range map[string]struct{ listen, dial string }{
		"IPv4":                            {"127.0.0.1:0", "127.0.0.1"},
		"IPv6":                            {"[::1]:0", "::1"},
		"IPv4 client of an IPv6 listener": {"[::]:0", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, ex, labtest.ListenOptions{Addr: addr.listen, Backlog: 4, DeferAccept: 30})
			target := netip.AddrPortFrom(netip.MustParseAddr(addr.dial), l.Addr.Port())
			start := labtest.Netstat(t, nil)
			dropsAre := func(wantAtLeast uint64) {
				t.Helper()
				labtest.Settles(t, func() error {
					x, now := stillCounts(t, ex, nil)
					kernel := now.Since(start)["ListenDrops"]
					if kernel < wantAtLeast || (wantAtLeast == 0 && kernel != 0) {
						return fmt.Errorf("the kernel dropped %d connections, want %d", kernel, wantAtLeast)
					}
					return errors.Join(
						exactRest(x, "drops", x.Value(listenDrops, at(l.Addr)), float64(kernel)),
						exact(x, "drops of final ACKs", x.Value(listenDrops, at(l.Addr).With("reason", "handshake_refused")), float64(kernel)),
					)
				})
			}

			first := labtest.DialMany(t, nil, target, 3, labtest.DialOptions{})
			labtest.WaitConnected(t, first)
			if n := labtest.Netstat(t, nil).Since(start)["TCPDeferAcceptDrop"]; n != 3 {
				t.Fatalf("TCP_DEFER_ACCEPT swallowed %d bare ACKs, want 3", n)
			}
			dropsAre(0)

			for _, c := range first {
				c.Send(t, "x") // completes the handshake
			}
			labtest.WaitQueued(t, nil, l.Addr, 3)
			second := labtest.DialMany(t, nil, target, 4, labtest.DialOptions{})
			labtest.WaitConnected(t, second)
			second[3].Reset()
			labtest.Eventually(t, func() error {
				if n := labtest.SynQueue(t, nil, l.Addr.Port()); n != 3 {
					return fmt.Errorf("SYN queue holds %d requests, want 3", n)
				}
				return nil
			})
			dropsAre(0)

			// Two fit, the third overflows when its handshake completes,
			// again each time its data is retransmitted.
			for _, c := range second[:3] {
				c.Send(t, "x")
			}
			labtest.WaitQueued(t, nil, l.Addr, 5)
			dropsAre(1)
			labtest.ResetAll(second)
			dropsAre(1)
		})
	}
}

// A listener's queue may be full while segments arrive that are discarded for
// another reason: the repeated SYN of a half-open connection, and its reset.
func TestDrops_of_a_full_listener_leave_out_what_its_half_open_connections_send(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 3, DeferAccept: 30})
	start := labtest.Netstat(t, nil)
	deaf := labtest.Dial(t, nil, l.Addr, labtest.DialOptions{Deaf: true})
	silent := labtest.Dial(t, nil, l.Addr, labtest.DialOptions{})
	labtest.WaitConnected(t, []*labtest.Conn{silent})
	for queued := range 4 { // backlog 3 holds 4
		c := labtest.Dial(t, nil, l.Addr, labtest.DialOptions{})
		labtest.WaitConnected(t, []*labtest.Conn{c})
		c.Send(t, "x")
		labtest.WaitQueued(t, nil, l.Addr, queued+1)
	}
	labtest.Eventually(t, func() error { return atLeast("SYN-ACKs that the deaf client saw", deaf.Drops(t), 3) })
	silent.Reset()
	labtest.Eventually(t, func() error { return same("SYN queue", labtest.SynQueue(t, nil, l.Addr.Port()), 1) })
	deaf.Reset()
	dropsAre := func(refused uint64) {
		t.Helper()
		labtest.Settles(t, func() error {
			x, now := stillCounts(t, ex, nil)
			return errors.Join(
				same("connections that the kernel dropped", now.Since(start)["ListenDrops"], refused),
				exactRest(x, "drops", x.Value(listenDrops, at(l.Addr)), float64(refused)),
				exact(x, "drops of SYNs", x.Value(listenDrops, at(l.Addr).With("reason", "syn_refused")), float64(refused)),
			)
		})
	}
	dropsAre(0)
	labtest.ResetAll(labtest.DialMany(t, nil, l.Addr, 4, labtest.DialOptions{}))
	dropsAre(4)
}

func TestFull_SYN_queue(t *testing.T) {
	ex := start(t)
	for _, c := range []struct {
		name, syncookies string
		counter          string // that proves which way the kernel went
		drops            bool
	}{
		{"without SYN cookies drops as the kernel counts", "0", "TCPReqQFullDrop", true},
		{"with SYN cookies drops nothing", "1", "TCPReqQFullDoCookies", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var own *labtest.NetNS
			own.Sysctl(t, "net.ipv4.tcp_syncookies", c.syncookies)
			l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 4})
			before := labtest.Netstat(t, nil)
			labtest.DialMany(t, nil, l.Addr, 20, labtest.DialOptions{Deaf: true})
			labtest.Settles(t, func() error {
				x, now := stillCounts(t, ex, nil)
				kernel := now.Since(before)
				return errors.Join(
					atLeast(c.counter, kernel[c.counter], 14),
					same("the kernel dropped", kernel["ListenDrops"] > 0, c.drops),
					exact(x, "drops", x.Value(listenDrops, at(l.Addr)), float64(kernel["ListenDrops"])),
					same("SYN queue", x.Value(synRequests, at(l.Addr)), float64(labtest.SynQueue(t, nil, l.Addr.Port()))),
				)
			})
		})
	}
}

func TestDrops_of_a_listener_that_closes_before_the_next_scrape_are_counted(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 1})
	before := labtest.Netstat(t, nil)["ListenDrops"]
	conns := labtest.DialMany(t, nil, l.Addr, 10, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, 2)
	labtest.ResetAll(conns)
	dropped := float64(labtest.Netstat(t, nil)["ListenDrops"] - before)
	l.Close()
	if dropped < 8 {
		t.Fatalf("the kernel dropped %v connections, want at least 8", dropped)
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			exact(x, "drops", x.Value(listenDrops, at(l.Addr)), dropped),
			exact(x, "observations of the depth", x.HistogramCount(queueDepth, at(l.Addr)), 2),
		)
	})
}

// needMPTCP skips the test where the kernel has no multipath TCP.
func needMPTCP(t *testing.T) {
	t.Helper()
	enabled, err := os.ReadFile("/proc/sys/net/mptcp/enabled")
	if err != nil || strings.TrimSpace(string(enabled)) != "1" {
		testenv.Skip(t, "this kernel has no multipath TCP, or net.mptcp.enabled is 0")
	}
}
