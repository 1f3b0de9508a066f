// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// These tests run without the exporter. They hold the kernel's counters against
// the test's own bookkeeping, so that the tests that compare the exporter with
// those counters stand on firm ground.

func TestListener_that_never_accepts(t *testing.T) {
	testenv.NeedRoot(t)
	for _, c := range []struct {
		name, addr string
		dial       []string
		mptcp      bool
	}{
		{"on IPv4", "127.0.0.1:0", []string{"127.0.0.1"}, false},
		{"on IPv6", "[::1]:0", []string{"::1"}, false},
		{"on every address", "[::]:0", []string{"127.0.0.1", "::1"}, false},
		{"with MPTCP", "127.0.0.1:0", []string{"127.0.0.1"}, true},
	} {
		t.Run(c.name+" queues backlog+1 connections and drops the other SYNs", func(t *testing.T) {
			ns := NewNetNS(t)
			before := Netstat(t, ns)
			l := Listen(t, ns, ListenOptions{Addr: c.addr, Backlog: 1, MPTCP: c.mptcp})
			var conns []*Conn
			for i := range 20 {
				to := netip.AddrPortFrom(netip.MustParseAddr(c.dial[i%len(c.dial)]), l.Addr.Port())
				conns = append(conns, Dial(t, ns, to, DialOptions{MPTCP: c.mptcp}))
			}
			WaitQueued(t, ns, l.Addr, 2)
			ResetAll(conns[2:])
			grown := Netstat(t, ns).Since(before)
			if grown["ListenDrops"] != 18 || grown["ListenOverflows"] != 18 {
				t.Errorf("ListenDrops %d and ListenOverflows %d, want 18 and 18", grown["ListenDrops"], grown["ListenOverflows"])
			}
		})
	}
}

func TestTCP_DEFER_ACCEPT_swallows_bare_ACKs_and_they_are_no_drops(t *testing.T) {
	testenv.NeedRoot(t)
	ns := NewNetNS(t)
	l := Listen(t, ns, ListenOptions{Addr: "127.0.0.1:0", Backlog: 8, DeferAccept: 30})
	before := Netstat(t, ns)
	conns := DialMany(t, ns, l.Addr, 6, DialOptions{})
	WaitConnected(t, conns)
	grown := Netstat(t, ns).Since(before)
	if grown["TCPDeferAcceptDrop"] != 6 || grown["ListenDrops"] != 0 {
		t.Errorf("TCPDeferAcceptDrop %d and ListenDrops %d, want 6 and 0", grown["TCPDeferAcceptDrop"], grown["ListenDrops"])
	}
	if n := SynQueue(t, ns, l.Addr.Port()); n != 6 {
		t.Errorf("SYN queue holds %d requests, want 6", n)
	}
	conns[0].Send(t, "x")
	WaitQueued(t, ns, l.Addr, 1)
	if n := SynQueue(t, ns, l.Addr.Port()); n != 5 {
		t.Errorf("SYN queue holds %d requests after one was completed, want 5", n)
	}
}

func TestDeaf_client_counts_SYN_ACKs_and_never_connects(t *testing.T) {
	testenv.NeedRoot(t)
	ns := NewNetNS(t)
	l := Listen(t, ns, ListenOptions{Addr: "127.0.0.1:0"})
	before := Netstat(t, ns)
	c := Dial(t, ns, l.Addr, DialOptions{Deaf: true})
	if got := c.Drops(t); got != 1 {
		t.Fatalf("client saw %d SYN-ACKs, want 1", got)
	}
	Eventually(t, func() error {
		if got := c.Drops(t); got < 3 {
			return fmt.Errorf("client saw %d SYN-ACKs, want 3", got)
		}
		return nil
	})
	if c.Connected() || SynQueue(t, ns, l.Addr.Port()) != 1 {
		t.Error("the connection left the SYN queue although its client answers nothing")
	}
	if n := Netstat(t, ns).Since(before)["TCPSynRetrans"]; n < 2 {
		t.Errorf("TCPSynRetrans grew by %d, want at least the 2 SYN-ACKs that were sent again", n)
	}
}

func TestNetNS(t *testing.T) {
	testenv.NeedRoot(t)
	t.Run("keeps two listeners on one address apart", func(t *testing.T) {
		a, b := NewNetNS(t), NewNetNS(t)
		la := Listen(t, a, ListenOptions{Addr: "127.0.0.1:8080"})
		lb := Listen(t, b, ListenOptions{Addr: "127.0.0.1:8080"})
		if a.Inode == b.Inode || a.Inode == 0 {
			t.Fatalf("namespaces %d and %d are not two", a.Inode, b.Inode)
		}
		DialMany(t, a, la.Addr, 3, DialOptions{})
		DialMany(t, b, lb.Addr, 5, DialOptions{})
		WaitQueued(t, a, la.Addr, 3)
		WaitQueued(t, b, lb.Addr, 5)
	})
	t.Run("is gone after Close", func(t *testing.T) {
		ns := NewNetNS(t)
		w := StartWorker(t, ns, WorkerOptions{Listen: &ListenOptions{Addr: "127.0.0.1:8080"}})
		if inode := netnsOf(t, fmt.Sprint(w.PID)); inode != ns.Inode {
			t.Fatalf("worker lives in namespace %d, want %d", inode, ns.Inode)
		}
		ns.Close()
		Eventually(t, func() error {
			if w.process.running() {
				return fmt.Errorf("the worker outlived its namespace")
			}
			return nil
		})
		for _, task := range tasks(t) {
			if netnsOf(t, "self/task/"+task) == ns.Inode {
				t.Errorf("thread %s still is in the namespace", task)
			}
		}
	})
	t.Run("puts a sysctl back", func(t *testing.T) {
		ns := NewNetNS(t)
		read := func() string { return sysctl(t, ns, "net/ipv4/tcp_syncookies") }
		was := read()
		t.Run("changed", func(t *testing.T) {
			ns.Sysctl(t, "net.ipv4.tcp_syncookies", "2")
			if got := read(); got != "2" {
				t.Errorf("the sysctl is %q, want 2", got)
			}
		})
		if got := read(); got != was {
			t.Errorf("the sysctl is %q, want %q as before", got, was)
		}
	})
}

func TestWorker_accepts_on_an_inherited_listener(t *testing.T) {
	l := Listen(t, nil, ListenOptions{Addr: "127.0.0.1:0"})
	w := StartWorker(t, nil, WorkerOptions{Inherit: true, Inherited: l})
	l.Close()
	DialMany(t, nil, l.Addr, 3, DialOptions{})
	WaitQueued(t, nil, l.Addr, 3)
	w.Accept(t, 3)
	WaitQueued(t, nil, l.Addr, 0)
	files, err := OpenFiles(w.PID)
	if err != nil {
		t.Fatal(err)
	}
	if files["socket"] != 4 || w.FD != 3 {
		t.Errorf("worker holds %d sockets and listens on descriptor %d, want 4 and 3", files["socket"], w.FD)
	}
}

func TestReset_connection_stays_in_the_accept_queue(t *testing.T) {
	l := Listen(t, nil, ListenOptions{Addr: "127.0.0.1:0"})
	conns := DialMany(t, nil, l.Addr, 4, DialOptions{})
	WaitQueued(t, nil, l.Addr, 4)
	ResetAll(conns[:3])
	WaitQueued(t, nil, l.Addr, 4)
	l.MustAccept(t, 4)
	if _, err := l.Accept(10 * time.Millisecond); err != ErrNoConnection {
		t.Errorf("accepting a fifth connection gave %v, want %v", err, ErrNoConnection)
	}
}
