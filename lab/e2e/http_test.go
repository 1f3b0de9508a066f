// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/bpfstats"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// What lab/matrix tests thoroughly, in short: on every kernel, with uprobe.multi
// and with plain uprobes.
func TestRequests_to_a_Go_HTTP_server_are_counted_by_route_and_status(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := ex.WaitAttached(server.PID).Name
	want := map[string]uint64{"200": 30, "404": 7, "503": 3}
	client := http.Client{Timeout: 30 * time.Second} // keeps its connection
	for status, n := range want {
		for range n {
			get(t, &client, "http://"+server.Listen[0]+"/status/"+status, status)
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		mine := labtest.Labels{"service": service, "method": "GET"}
		var errs []error
		for status, n := range want {
			got := x.HistogramCount("tcpslo_http_request_duration_seconds", mine.With("status_code", status).With("path", "/status/{code}"))
			errs = append(errs, exact(x, fmt.Sprintf("requests answered with %s", status), got, n))
		}
		return errors.Join(append(errs,
			exact(x, "requests of the service", x.HistogramCount("tcpslo_http_request_duration_seconds", labtest.Labels{"service": service}), 40))...)
	})
}

// An HTTP/1 connection keeps its entry between requests.
func TestRequests_beyond_the_limit_of_connections_are_counted_as_lost(t *testing.T) {
	for _, timeline := range []bool{false, true} {
		t.Run(fmt.Sprintf("timeline %v", timeline), func(t *testing.T) { wantLost(t, timeline) })
	}
}

func wantLost(t *testing.T, timeline bool) {
	testenv.NeedRoot(t)
	const limit, connections, each = 64, 80, 3
	ex := labtest.StartExporter(t, labtest.Options{Config: fmt.Sprintf("limits: {connections: %d}\ncollectors: {timeline: %v}", limit, timeline)})
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	url := "http://" + server.Listen[0] + "/status/200"
	counted := func(x *labtest.Exposition) uint64 {
		return x.HistogramCount("tcpslo_http_request_duration_seconds", service)
	}
	var transports []*http.Transport
	for range connections {
		transport := &http.Transport{}
		transports = append(transports, transport)
		for range each {
			get(t, &http.Client{Transport: transport, Timeout: 30 * time.Second}, url, "200")
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		lost := x.Value("tcpslo_lost_total", labtest.Labels{"probe": "http", "reason": "map_full"})
		if timeline { // what is not lost has a stage at least
			if err := exact(x, "handlers", stagesOf(x, service)["handler"].count, limit*each); err != nil {
				return err
			}
		}
		return errors.Join(
			exact(x, "requests of the connections with an entry", counted(x), limit*each),
			same("requests in flight", x.Value("tcpslo_http_requests_in_flight", service), 0),
			same("lost", lost, (connections-limit)*each))
	})
	for _, transport := range transports {
		transport.CloseIdleConnections()
	}
	labtest.Eventually(t, func() error {
		return same("entries", ex.Scrape().Value("tcpslo_map_entries", labtest.Labels{"map": "goroutines"}), 0)
	})
	get(t, &http.Client{Transport: transports[0], Timeout: 30 * time.Second}, url, "200")
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return exact(x, "requests once there is room again", counted(x), limit*each+1)
	})
}

// runtime.Goexit ends a goroutine that holds a request without a panic and without a
// return, of HTTP/1 along with its connection.
func TestGoroutine_that_ends_in_its_handler_leaves_no_request_behind(t *testing.T) {
	ex := start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const path, n = "/a-handler-that-ends-its-goroutine", 20
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
	server := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	service := labtest.Labels{"service": ex.WaitAttached(os.Getpid()).Name, "path": path}
	for range n {
		v := visit(t, &labtest.Server{Listen: []string{listener.Addr().String()}})
		v.ask(t, path)
		if answer, err := io.ReadAll(v); err != nil || len(answer) > 0 {
			t.Fatalf("answer %q, %v; want the end of the connection", answer, err)
		}
	}
	m := multiplex(t, listener.Addr().String(), false)
	for range n {
		request, err := http.NewRequest(http.MethodGet, m.origin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := m.RoundTrip(request); err == nil {
			response.Body.Close()
			t.Fatalf("the answer is %s, want none", response.Status)
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			exact(x, "requests that did not return", x.HistogramCount("tcpslo_http_request_duration_seconds", service.With("status_code", "panic")), 2*n),
			exact(x, "requests", x.HistogramCount("tcpslo_http_request_duration_seconds", service), 2*n),
			wantStages(x, service, n+1, n+1, n, n, 2*n, 0, 0),
			same("requests in flight", x.Value("tcpslo_http_requests_in_flight", nil), 0),
			same("goroutines", x.Value("tcpslo_map_entries", labtest.Labels{"map": "goroutines"}), 0))
	})
}

// The kernel's own account of the programs' run time is the ground truth. Programs
// can be preempted, and one hit in sixteen stands for all: the median of rounds tells.
func TestOverhead_is_what_the_traps_and_the_programs_take(t *testing.T) {
	ex := start(t)
	stats, err := bpfstats.Enable()
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex.WaitAttached(server.PID)
	client := http.Client{Timeout: 30 * time.Second}
	var hits, run, overhead float64
	var ratios []float64
	for round := range 10 {
		for range 1000 {
			get(t, &client, "http://"+server.Listen[0]+"/status/200", "200")
		}
		x := ex.Scrape()
		trap := x.Value("tcpslo_uprobe_trap_seconds", nil)
		newHits, newOverhead := x.Value("tcpslo_probe_service_hits_total", nil), x.Value("tcpslo_probe_overhead_seconds_total", nil)
		newRun := runTime(t, ex.PID)
		if round > 0 {
			ratios = append(ratios, (newOverhead-overhead)/((newHits-hits)*trap+newRun-run))
		}
		hits, run, overhead = newHits, newRun, newOverhead
	}
	slices.Sort(ratios)
	if median := ratios[len(ratios)/2]; median < 0.6 || median > 1.4 {
		t.Errorf("the overhead is %.2f of hits and run time, want about 1; all rounds: %.2f", median, ratios)
	}
}

// runTime is how many seconds the programs that requests run into have taken, by the
// kernel's account.
func runTime(t *testing.T, pid int) float64 {
	t.Helper()
	programs, err := bpfstats.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	var total time.Duration
	for program, stats := range programs {
		if program.Probe == "http" && program.Name != "process_exec" {
			total += stats.Time
		}
	}
	if total == 0 {
		t.Fatal("the kernel has no account of the exporter's programs")
	}
	return total.Seconds()
}

// get wants a status and reads the answer to its end.
func get(t *testing.T, client *http.Client, url, status string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if strconv.Itoa(resp.StatusCode) != status {
		t.Fatalf("%s answered %s, want %s", url, resp.Status, status)
	}
}
