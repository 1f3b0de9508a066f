// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

func TestReuseport_group_accepts_are_counted_for_each_worker(t *testing.T) {
	ex := start(t)
	const workers, dialers, each = 4, 4, 250
	var group [workers]*labtest.Listener
	addr := "127.0.0.1:0"
	for i := range group {
		group[i] = labtest.Listen(t, nil, labtest.ListenOptions{Addr: addr, Backlog: dialers * each, ReusePort: true})
		addr = group[i].Addr.String()
	}
	ex.WaitListeners(workers, func(l labtest.ListenerInfo) bool { return l.Listener == addr && l.NetNS == "" && l.PID != 0 })

	// Dialers and workers run at once, so that counters on two CPUs race. The
	// clients stay open until all are accepted: a reset sent from another CPU
	// might overtake the ACK that completes the handshake.
	var own [workers]int
	var total atomic.Int64
	var failures [workers + dialers]error
	var wg sync.WaitGroup
	for i, l := range group {
		wg.Go(func() {
			for deadline := time.Now().Add(time.Minute); total.Load() < dialers*each; {
				if time.Now().After(deadline) {
					failures[i] = fmt.Errorf("%d connections were accepted in a minute, want %d", total.Load(), dialers*each)
					return
				}
				c, err := l.Accept(20 * time.Millisecond)
				if errors.Is(err, labtest.ErrNoConnection) {
					continue
				}
				if err != nil {
					failures[i] = err
					return
				}
				own[i]++
				total.Add(1)
				c.Reset()
			}
		})
	}
	target := group[0].Addr
	var clients [dialers][]*labtest.Conn
	for i := range dialers {
		wg.Go(func() {
			for range each {
				c, err := labtest.TryDial(target, labtest.DialOptions{})
				if err != nil {
					failures[workers+i] = err
					total.Add(dialers * each) // lets the workers end
					return
				}
				clients[i] = append(clients[i], c)
			}
		})
	}
	wg.Wait()
	for _, conns := range clients {
		labtest.ResetAll(conns)
	}
	if err := errors.Join(failures[:]...); err != nil {
		t.Fatal(err)
	}

	want := map[string]float64{}
	for i, l := range group {
		want[l.Worker()] = float64(own[i])
	}
	if sumOf(want) != dialers*each {
		t.Fatalf("the workers accepted %v connections of %d", sumOf(want), dialers*each)
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		for worker, n := range want {
			got := x.Value(accepted, at(target).With("worker", worker))
			errs = append(errs, exact(x, "accepted by "+worker, got, n))
		}
		cpus := x.By(queued, "cpu", at(target))
		return errors.Join(append(errs,
			exact(x, "accepted by the group", x.Value(accepted, at(target)), dialers*each),
			exact(x, fmt.Sprintf("queued on CPUs %v", cpus), sumOf(cpus), dialers*each),
			exact(x, "observations of the depth", x.HistogramCount(queueDepth, at(target)), dialers*each),
			exact(x, "accept waits", x.HistogramCount(acceptWait, at(target)), dialers*each),
			exact(x, "handshakes", x.HistogramCount(handshake, at(target)), dialers*each),
			same("accept queue of the group", x.Value(queueConnections, at(target)), 0),
			same("drops of the group", x.Value(listenDrops, at(target)), 0),
		)...)
	})
}

func TestGo_HTTP_server_accepts_are_counted_once(t *testing.T) {
	ex := start(t)
	w := labtest.StartWorker(t, nil, labtest.WorkerOptions{HTTP: "127.0.0.1:0"})
	ex.WaitListener(w.Addr.String())
	const requests = 40
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range requests {
		resp, err := client.Get("http://" + w.Addr.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		byWorker := x.By(accepted, "worker", at(w.Addr))
		return errors.Join(
			exact(x, "accepted by "+w.Label(), byWorker[w.Label()], requests),
			exact(x, "accepted by all", sumOf(byWorker), requests),
			exact(x, "queued connections", x.Value(queued, at(w.Addr)), requests),
			exact(x, "observations of the depth", x.HistogramCount(queueDepth, at(w.Addr)), requests),
			exact(x, "accept waits", x.HistogramCount(acceptWait, at(w.Addr)), requests),
			exact(x, "handshakes", x.HistogramCount(handshake, at(w.Addr)), requests),
			same("series of the limit", len(x.Series(queueLimit, at(w.Addr))), 1),
		)
	})
}

func TestAccept_wait_is_the_time_in_the_queue(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	const n, pause = 20, 50 * time.Millisecond
	dialled := time.Now()
	labtest.DialMany(t, nil, l.Addr, n, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, n)
	time.Sleep(pause)
	l.MustAccept(t, n)
	// No connection waited longer than from the first dial to the last accept.
	atMost := time.Since(dialled).Seconds()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		sum := x.HistogramSum(acceptWait, at(l.Addr))
		var errs []error
		for le, count := range x.HistogramBuckets(acceptWait, at(l.Addr)) {
			if le < pause.Seconds() {
				errs = append(errs, same(fmt.Sprintf("waits up to %v s", le), count, 0))
			}
			if le >= atMost {
				errs = append(errs, exact(x, fmt.Sprintf("waits up to %v s", le), count, n))
			}
		}
		if sum < n*pause.Seconds() || sum > n*atMost {
			errs = append(errs, fmt.Errorf("waits add up to %v s, want %v to %v", sum, n*pause.Seconds(), n*atMost))
		}
		return errors.Join(append(errs,
			exact(x, "accept waits", x.HistogramCount(acceptWait, at(l.Addr)), n),
			exact(x, "accepted by "+l.Worker(), x.Value(accepted, at(l.Addr).With("worker", l.Worker())), n),
		)...)
	})
}

func TestHandshake_time_is_positive_and_shorter_than_the_dial(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	const n = 30
	dialled := time.Now()
	labtest.DialMany(t, nil, l.Addr, n, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, n)
	all := time.Since(dialled).Seconds()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		sum := x.HistogramSum(handshake, at(l.Addr))
		if sum <= 0 || sum > all {
			return fmt.Errorf("handshakes add up to %v s, want more than 0 and at most %v, the time of all dials", sum, all)
		}
		return exact(x, "handshakes", x.HistogramCount(handshake, at(l.Addr)), n)
	})
}

func TestPrefork_child_that_inherited_the_listener_gets_the_accepts(t *testing.T) {
	ex := start(t)
	l := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	child := labtest.StartWorker(t, nil, labtest.WorkerOptions{Inherit: true, Inherited: l})
	l.Close()
	ex.WaitListeners(1, func(i labtest.ListenerInfo) bool { return i.Listener == l.Addr.String() && i.PID == child.PID })
	const n = 12
	labtest.DialMany(t, nil, l.Addr, n, labtest.DialOptions{})
	child.Accept(t, n)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		got := x.By(accepted, "worker", at(l.Addr))
		if want := map[string]float64{child.Label(): n}; !maps.Equal(got, want) {
			return fmt.Errorf("accepted %v, want %v", got, want)
		}
		return exact(x, "accept waits", x.HistogramCount(acceptWait, at(l.Addr)), n)
	})
}

func TestListener_shared_by_parent_and_child_counts_each_accept_once(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	child := labtest.StartWorker(t, nil, labtest.WorkerOptions{Inherit: true, Inherited: l})
	labtest.DialMany(t, nil, l.Addr, 12, labtest.DialOptions{})
	child.Accept(t, 5)
	l.MustAccept(t, 7)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		byWorker := x.By(accepted, "worker", at(l.Addr))
		return errors.Join(
			exact(x, "accepted by all", sumOf(byWorker), 12),
			exact(x, fmt.Sprintf("accepted by the two that share it, of %v", byWorker), byWorker[l.Worker()]+byWorker[child.Label()], 12),
			exact(x, "accept waits", x.HistogramCount(acceptWait, at(l.Addr)), 12),
			same("accept queue", x.Value(queueConnections, at(l.Addr)), 0),
		)
	})
}

func TestListener_reopened_on_its_port_goes_on_counting(t *testing.T) {
	ex := start(t)
	addr := "127.0.0.1:0"
	dropped, connected := 0.0, 0
	last := map[string]float64{}
	for round, n := range []int{2, 1, 2} { // backlog 1 holds 2
		l := labtest.Listen(t, nil, labtest.ListenOptions{Addr: addr, Backlog: 1})
		addr = l.Addr.String()
		ex.WaitListener(addr)
		before := labtest.Netstat(t, nil)["ListenDrops"]
		conns := labtest.DialMany(t, nil, l.Addr, n, labtest.DialOptions{})
		labtest.WaitQueued(t, nil, l.Addr, n)
		if n == 2 {
			labtest.ResetAll(labtest.DialMany(t, nil, l.Addr, 5+round, labtest.DialOptions{}))
		}
		l.MustAccept(t, n)
		labtest.ResetAll(conns)
		dropped += float64(labtest.Netstat(t, nil)["ListenDrops"] - before)
		connected += n
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			now := map[string]float64{
				"drops":                     x.Value(listenDrops, at(l.Addr)),
				"accepted connections":      x.Value(accepted, at(l.Addr)),
				"queued connections":        x.Value(queued, at(l.Addr)),
				"accept waits":              float64(x.HistogramCount(acceptWait, at(l.Addr))),
				"handshakes":                float64(x.HistogramCount(handshake, at(l.Addr))),
				"observations of the depth": float64(x.HistogramCount(queueDepth, at(l.Addr))),
			}
			errs := []error{same("series of the limit", len(x.Series(queueLimit, at(l.Addr))), 1)}
			for what, got := range now {
				want := float64(connected)
				if what == "drops" {
					want = dropped
				}
				if got < last[what] {
					t.Fatalf("round %d: %s went from %v back to %v", round, what, last[what], got)
				}
				errs = append(errs, exact(x, fmt.Sprintf("round %d: %s", round, what), got, want))
			}
			last = now
			return errors.Join(errs...)
		})
		l.Close()
	}
	if dropped < 5+7 {
		t.Fatalf("the kernel dropped %v connections, want at least 12", dropped)
	}
}

func TestConnection_reset_in_the_queue_is_counted_when_it_is_accepted(t *testing.T) {
	ex := start(t)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	conns := labtest.DialMany(t, nil, l.Addr, 6, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, 6)
	labtest.ResetAll(conns[:4])
	l.MustAccept(t, 5) // of the 4 that are reset and the 2 that live; one stays
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			exact(x, "accepted connections", x.Value(accepted, at(l.Addr)), 5),
			exact(x, "accept waits", x.HistogramCount(acceptWait, at(l.Addr)), 5),
			exact(x, "queued connections", x.Value(queued, at(l.Addr)), 6),
			same("accept queue", x.Value(queueConnections, at(l.Addr)), 1),
			same("drops", x.Value(listenDrops, at(l.Addr)), 0),
		)
	})
}

func TestTwo_exporters_at_once_both_count_all(t *testing.T) {
	both := []*labtest.Exporter{start(t), start(t)}
	l := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	for _, ex := range both {
		ex.WaitListener(l.Addr.String())
	}
	labtest.DialMany(t, nil, l.Addr, 15, labtest.DialOptions{})
	labtest.WaitQueued(t, nil, l.Addr, 15)
	l.MustAccept(t, 15)
	for i, ex := range both {
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return errors.Join(
				exact(x, fmt.Sprintf("accepted, says exporter %d", i), x.Value(accepted, at(l.Addr)), 15),
				exact(x, fmt.Sprintf("accept waits, says exporter %d", i), x.HistogramCount(acceptWait, at(l.Addr)), 15),
				exact(x, fmt.Sprintf("handshakes, says exporter %d", i), x.HistogramCount(handshake, at(l.Addr)), 15),
			)
		})
	}
}
