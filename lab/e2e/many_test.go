// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// many is how many connections a test makes. TCPSLO_MANY=50000 makes more of them than a
// machine with other work does in a few seconds.
func many(t *testing.T, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("TCPSLO_MANY"), strconv.Itoa(otherwise)))
	if err != nil || n < 1 {
		t.Fatalf("TCPSLO_MANY=%q is no number of connections", os.Getenv("TCPSLO_MANY"))
	}
	return n
}

// perSource is how many connections an address of loopback makes, fewer than it has
// ephemeral ports (net.ipv4.ip_local_port_range).
const perSource = 20_000

// source is where the client of a connection is: no address has so many that its ports
// run out.
func source(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i/perSource)}) }

// ofConnections is the number of entries of the maps that have one for each connection, of
// every process of the machine: a leak is told from what others do by its size.
func ofConnections(x *labtest.Exposition) map[string]float64 {
	entries := map[string]float64{}
	for _, name := range []string{"connections", "goroutines", "waiting"} {
		entries[name] = x.Value("tcpslo_map_entries", labtest.Labels{"map": name})
	}
	return entries
}

// Each connection is opened, asks once and is cut, so that nothing of it waits anywhere.
func TestShort_connections_leave_nothing_behind(t *testing.T) {
	n, parallel := many(t, 100_000), 8
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	ex.WaitListener(server.Listen[0])
	visit := helloFrom(server)
	visitOnce := func(i int) error {
		one := visit
		one.From = source(i)
		conn, err := one.Do()
		if err == nil {
			conn.Reset()
		}
		return err
	}
	// What is there for the server, its listener and its route stays.
	if err := visitOnce(0); err != nil {
		t.Fatal(err)
	}
	var before map[string]float64
	counted := func(done uint64) func() error {
		return func() error {
			x := ex.Scrape()
			stages := stagesOf(x, service)
			before = ofConnections(x)
			return errors.Join(
				exact(x, "accepted connections", x.Value(accepted, labtest.Labels{"listener": server.Listen[0]}), float64(done)),
				exact(x, "requests", x.HistogramCount("tcpslo_http_request_duration_seconds", service), done),
				exact(x, "handshake", stages["handshake"].count, done), exact(x, "accept_queue", stages["accept_queue"].count, done),
				exact(x, "handler", stages["handler"].count, done),
				same("goroutines", x.Value("tcpslo_map_entries", labtest.Labels{"map": "goroutines"}), 0),
				same("lost", x.Value("tcpslo_lost_total", nil), 0))
		}
	}
	labtest.Settles(t, counted(1))
	left := before
	began := time.Now()
	var clients sync.WaitGroup
	failures := make([]error, parallel)
	for worker := range parallel {
		clients.Go(func() {
			for i := worker; i < n && failures[worker] == nil; i += parallel {
				failures[worker] = visitOnce(i)
			}
		})
	}
	clients.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections in %s", n, time.Since(began).Round(time.Millisecond))
	labtest.Settles(t, counted(uint64(n)+1))
	labtest.Settles(t, func() error { return grown(left, ofConnections(ex.Scrape()), 10) })
}

// helloFrom asks a lab server for a greeting.
func helloFrom(server *labtest.Server) labtest.Visit {
	return labtest.Visit{From: source(0), To: netip.MustParseAddrPort(server.Listen[0]), Ask: request("/hello/x"), End: "\r\n\r\nhello, x\n"}
}

// perProcess is how many connections a process has, fewer than it may have files open on
// most machines (RLIMIT_NOFILE, hard).
const perProcess = 15_000

// Connections that have asked once and stay, of several processes to one service: all of
// them are listed, a scrape is as it was and nothing is left when they go. Both ends are on
// this machine, so the kernel has twice as many.
func TestIdle_connections_are_all_listed(t *testing.T) {
	testenv.NeedRoot(t)
	n := many(t, 12_000)
	ex := labtest.StartExporter(t, labtest.Options{Config: fmt.Sprintf("limits: {connections: %d}", 2*n+1000)})
	var servers []*labtest.Server
	for range (n + perProcess - 1) / perProcess {
		servers = append(servers, labtest.StartServer(t, labtest.ServerOptions{}))
	}
	var service labtest.Labels
	for _, s := range servers {
		service = labtest.Labels{"service": ex.WaitAttached(s.PID).Name}
		labtest.StartVisitors(t, 1, helloFrom(s)).Leave()
	}
	goroutines := labtest.Labels{"map": "goroutines"}
	var left map[string]float64
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		left = ofConnections(x)
		return same("goroutines", x.Value("tcpslo_map_entries", goroutines), 0)
	})
	report := func(when string) {
		began := time.Now()
		x := ex.Scrape()
		t.Logf("%s: a scrape takes %s, the exporter has %.0f MiB and has run for %.2f s", when, time.Since(began).Round(time.Millisecond),
			x.Value("process_resident_memory_bytes", nil)/(1<<20), x.Value("process_cpu_seconds_total", nil))
	}
	report("before")
	var clients []*labtest.Visitors
	began := time.Now()
	for i, s := range servers {
		clients = append(clients, labtest.StartVisitors(t, min(perProcess, n-i*perProcess), helloFrom(s)))
	}
	t.Logf("%d connections in %s", n, time.Since(began).Round(time.Millisecond))
	report("with all")
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		want := uint64(n + len(servers))
		return errors.Join(
			wantStages(x, service, want, want, want, want, want, want, want),
			same("goroutines", x.Value("tcpslo_map_entries", goroutines), float64(n)))
	})
	began = time.Now()
	all := ex.AllConnections()
	t.Logf("/api/v1/connections takes %s", time.Since(began).Round(time.Millisecond))
	report("after that")
	if err := same("connections that are listed", len(all), n); err != nil {
		t.Error(err)
	}
	wrong := 0
	for i, visitors := range clients {
		listed := labtest.ByClient(all, servers[i].PID)
		for _, address := range visitors.Addresses {
			c := listed[address]
			if c.Requests != 1 || c.Goroutine == nil || c.Goroutine.WaitReason != "IO wait" || c.State != "established" || c.Opened.IsZero() || c.Accepted.Before(c.Opened) {
				if wrong++; wrong < 5 {
					t.Errorf("connection from %v: %+v", address, c)
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d connections are not listed as they are", wrong)
	}
	for _, visitors := range clients {
		visitors.Leave()
	}
	// The kernel sends again what it has dropped of so many ends at once.
	labtest.EventuallyWithin(t, time.Minute, func() error {
		x := ex.Scrape()
		return errors.Join(same("goroutines", x.Value("tcpslo_map_entries", goroutines), 0), grown(left, ofConnections(x), 10))
	})
	report("when they have gone")
}
