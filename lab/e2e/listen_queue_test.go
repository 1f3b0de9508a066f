// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

func TestListener_carries_the_name_of_the_executable_that_owns_it(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	labtest.Dial(t, nil, l.Addr, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, 1)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		mine := at(l.Addr).With("service", self(t))
		return errors.Join(
			same("series of the gauge", len(x.Series(queueConnections, at(l.Addr))), 1),
			same("accept queue under the service's name", x.Value(queueConnections, mine), 1),
			exact(x, "queued connections under the service's name", x.Value(queued, mine), 1),
			exact(x, "handshakes under the service's name", x.HistogramCount(handshake, mine), 1),
		)
	})
}

func TestAccept_queue_gauge_follows_the_queue(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 50})
	gaugeIs := func(want int) {
		t.Helper()
		labtest.WaitQueued(t, nil, l.Addr, want)
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return errors.Join(
				same("series of the gauge", len(x.Series(queueConnections, at(l.Addr))), 1),
				same("accept queue", x.Value(queueConnections, at(l.Addr)), float64(want)),
			)
		})
	}
	gaugeIs(0)
	labtest.DialMany(t, nil, l.Addr, 7, labtest.DialOptions{})
	gaugeIs(7)
	l.MustAccept(t, 3)
	gaugeIs(4)
	l.MustAccept(t, 4)
	gaugeIs(0)
}

func TestAccept_queue_limit_is_the_backlog_capped_by_somaxconn_when_listen_was_called(t *testing.T) {
	ex := start(t)
	var own *labtest.NetNS
	own.Sysctl(t, "net.core.somaxconn", "64")
	small := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 17})
	capped := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 1000})
	own.Sysctl(t, "net.core.somaxconn", "4096")
	later := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", Backlog: 1000})
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			same("limit below somaxconn", x.Value(queueLimit, at(small.Addr)), 17),
			same("limit set before somaxconn was raised", x.Value(queueLimit, at(capped.Addr)), 64),
			same("limit set after somaxconn was raised", x.Value(queueLimit, at(later.Addr)), 1000),
		)
	})
}

func TestSYN_queue_gauge_equals_the_half_open_connections(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0", DeferAccept: 30})
	conns := labtest.DialMany(t, nil, l.Addr, 9, labtest.DialOptions{})
	labtest.WaitConnected(t, conns)
	queuesAre := func(syn, accept int) {
		t.Helper()
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return errors.Join(
				same("SYN queue in /proc/net/tcp", labtest.SynQueue(t, nil, l.Addr.Port()), syn),
				same("SYN queue", x.Value(synRequests, at(l.Addr)), float64(syn)),
				same("accept queue", x.Value(queueConnections, at(l.Addr)), float64(accept)),
			)
		})
	}
	queuesAre(9, 0)
	for _, c := range conns[:4] {
		c.Send(t, "x")
	}
	queuesAre(5, 4)
}

func TestSYN_ACK_retransmits_equal_what_the_clients_saw(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	other := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	const clients = 3
	conns := labtest.DialMany(t, nil, l.Addr, clients, labtest.DialOptions{Deaf: true})
	synacks := func() int {
		n := 0
		for _, c := range conns {
			n += c.Drops(t)
		}
		return n
	}
	if n := synacks(); n != clients {
		t.Fatalf("the clients saw %d SYN-ACKs at once, want %d", n, clients)
	}
	labtest.Settles(t, func() error {
		before := synacks()
		x := ex.Scrape()
		again := before - clients
		switch {
		case synacks() != before:
			return errors.New("a SYN-ACK was sent during the scrape")
		case again < clients:
			return fmt.Errorf("%d SYN-ACKs were sent again, want %d at least", again, clients)
		}
		return errors.Join(
			exact(x, "SYN-ACK retransmits", x.Value(synackAgain, at(l.Addr)), float64(again)),
			same("SYN-ACK retransmits of the other listener", x.Value(synackAgain, at(other.Addr)), 0),
			same("SYN queue", x.Value(synRequests, at(l.Addr)), clients),
			same("handshakes", x.HistogramCount(handshake, at(l.Addr)), 0),
		)
	})
}
