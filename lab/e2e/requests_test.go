// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const lostRecords = "tcpslo_lost_total"

// startSlow runs an exporter to which the requests of the lab server are slow that
// take longer than a threshold.
func startSlow(t *testing.T, threshold string) (*labtest.Exporter, *labtest.Server, labtest.Labels) {
	t.Helper()
	testenv.NeedRoot(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex := labtest.StartExporter(t, labtest.Options{Config: fmt.Sprintf(`
services: [{name: shop, match: {ports: [%d]}, slower_than: %s}]
limits: {slow_requests: 100000}
`, netip.MustParseAddrPort(server.Listen[0]).Port(), threshold)})
	ex.WaitAttached(server.PID)
	return ex, server, labtest.Labels{"service": "shop"}
}

// told waits until the exporter knows n slow requests, and returns them.
func told(t *testing.T, ex *labtest.Exporter, query string, n int) (all []labtest.Request) {
	t.Helper()
	labtest.Settles(t, func() error {
		all = ex.Requests(query)
		return same("requests with "+query, len(all), n)
	})
	return all
}

// until has the client ask again until a threshold given in tcpslo.yml is in force: the
// exporter looks for new processes once a second.
func until(t *testing.T, ex *labtest.Exporter, server *labtest.Server, threshold float64) {
	t.Helper()
	labtest.Eventually(t, func() error {
		v := visit(t, server)
		v.ask(t, "/slow?ms=300")
		v.answer(t)
		v.Close()
		all := ex.Requests("order=newest&limit=1&path=/slow&slow=true")
		if len(all) == 0 || all[0].PID != server.PID || all[0].Threshold != threshold {
			return fmt.Errorf("the latest slow request is %+v, want threshold %v", all, threshold)
		}
		return nil
	})
}

// Every slow request is told of, with what its client and its server know of it, and
// no other is said to be slow.
func TestSlow_requests_are_told_with_what_client_and_server_know_of_them(t *testing.T) {
	const quick, slow, delay = 200, 7, 250 * time.Millisecond
	ex, server, service := startSlow(t, "200ms")
	until(t, ex, server, 0.2)
	for range quick {
		v := visit(t, server)
		v.ask(t, "/hello/x")
		v.answer(t)
		v.Close()
	}
	type seen struct {
		began, ended time.Time
		goroutine    string
	}
	clients := map[netip.AddrPort]seen{}
	for range slow {
		v := visit(t, server)
		s := seen{began: time.Now()}
		v.ask(t, fmt.Sprintf("/goroutine?ms=%d", delay.Milliseconds()))
		response, err := http.ReadResponse(v.answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		address := netip.MustParseAddrPort(v.LocalAddr().String())
		v.Close() // which acknowledges all, at the latest
		s.ended, s.goroutine = time.Now(), string(body)
		clients[address] = s
	}
	all := told(t, ex, "slow=true&path=/goroutine", slow)
	for _, r := range all {
		client, ok := clients[r.Remote]
		if !ok {
			t.Errorf("no client has the address %v", r.Remote)
			continue
		}
		delete(clients, r.Remote)
		var sum float64
		var names []string
		for _, s := range r.Stages {
			sum += s.Seconds
			names = append(names, s.Stage)
		}
		// The clock of the wall and the monotonic one are read one after the other, and
		// the exporter may be preempted in between.
		const apart = 200 * time.Millisecond
		ended := r.Started.Add(time.Duration(r.Seconds * 1e9))
		if err := errors.Join(
			same("service", r.Service, "shop"), same("process", r.PID, server.PID), same("goroutine", strconv.FormatUint(r.Goroutine, 10), client.goroutine),
			same("method", r.Method, "GET"), same("status", r.Status, "200"), same("local address", r.Local.String(), server.Listen[0]),
			same("stages", strings.Join(names, " "), strings.Join(stages, " ")), same("threshold", r.Threshold, 0.2),
			same("sum of the stages in nanoseconds", math.Round(sum*1e9), math.Round(r.Seconds*1e9)),
		); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
		if r.Started.Before(client.began.Add(-apart)) || ended.After(client.ended.Add(apart)) || r.Seconds < delay.Seconds() {
			t.Errorf("request from %v to %v, its client says %v to %v", r.Started, ended, client.began, client.ended)
		}
	}
	// The sample holds that many of a service and window, also in the first one after boot.
	if err := atLeast("requests in the sample", len(ex.Requests("slow=false")), 32); err != nil {
		t.Error(err)
	}
	for _, r := range ex.Requests("slow=true&path=/hello/{name}") {
		took := 0.0
		for _, s := range r.Stages {
			if s.Stage != "first_packet" && s.Stage != "ack" {
				took += s.Seconds
			}
		}
		if took <= r.Threshold { // on a busy machine it may be slow indeed
			t.Errorf("a quick request is slow: %+v", r)
		}
	}
	// Each of them is an example in the bucket that it is in.
	ids := map[string]labtest.Request{}
	for _, r := range all {
		ids[r.ID] = r
	}
	found := 0
	for _, s := range ex.ScrapeProtobuf().Series("tcpslo_http_request_duration_seconds", service.With("path", "/goroutine")) {
		below := 0.0
		for _, b := range s.Histogram.Bucket {
			if x := b.Exemplar; x != nil {
				found++
				labels := map[string]string{}
				for _, l := range x.Label {
					labels[l.GetName()] = l.GetValue()
				}
				r, ok := ids[labels["request_id"]]
				if !ok || labels["goroutine_id"] != strconv.FormatUint(r.Goroutine, 10) || x.GetValue() <= below || x.GetValue() > b.GetUpperBound() {
					t.Errorf("exemplar %v of the bucket from %v to %v", x, below, b.GetUpperBound())
				}
			}
			below = b.GetUpperBound()
		}
	}
	if found == 0 {
		t.Error("no bucket has an example")
	}
}

// Without a threshold in tcpslo.yml a request is slow that takes longer than 99 % of its
// process.
func TestAdaptive_threshold_tells_one_request_in_a_hundred(t *testing.T) {
	const n = 20_000
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: "limits: {slow_requests: 100000}"})
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := ex.WaitAttached(server.PID).Name
	v := visit(t, server)
	for range n {
		v.ask(t, "/hello/x")
		v.answer(t)
	}
	slow := 0
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		slow = len(ex.Requests("slow=true&limit=100000&service=" + service))
		return errors.Join(exact(x, "requests", stagesOf(x, labtest.Labels{"service": service})["handler"].count, n), same("lost", x.Value(lostRecords, nil), 0))
	})
	// It has to find the threshold first, for which each step up takes one slow request.
	if slow < n/400 || slow > n/25 {
		t.Errorf("%d of %d requests are slow, want about %d", slow, n, n/100)
	}
}

// The sample is of all requests of its window of time, early and late alike. A bound of
// the kernel's decides which are told of at all; it goes down with each, so that a
// sample of what it tells would be of the early ones.
func TestSample_is_of_early_and_late_requests_alike(t *testing.T) {
	const n = 30_000
	ex, server, service := startSlow(t, "10s")
	v := visit(t, server)
	began := time.Now()
	for range n {
		v.ask(t, "/hello/x")
		v.answer(t)
	}
	took := time.Since(began)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return exact(x, "requests", stagesOf(x, service)["handler"].count, n)
	})
	sample := ex.Requests("slow=false&limit=100000")
	if len(sample) < 20 {
		t.Fatalf("a sample of %d requests", len(sample))
	}
	var sum float64
	for _, r := range sample {
		sum += float64(r.Started.Sub(began)) / float64(took)
	}
	// The mean of uniform numbers from 0 to 1; six standard deviations to either side.
	mean, deviation := sum/float64(len(sample)), 1/math.Sqrt(12*float64(len(sample)))
	if math.Abs(mean-0.5) > 6*deviation {
		t.Errorf("the mean time of %d requests in the sample is %.2f of the whole, want 0.5 ± %.2f", len(sample), mean, 6*deviation)
	}
}

// An exporter that does not get to read loses what has no room, and counts it.
func TestRequests_that_find_no_room_are_counted(t *testing.T) {
	const n = 10_000
	ex, server, _ := startSlow(t, "1us")
	until(t, ex, server, 1e-6)
	before := len(ex.Requests("limit=100000&path=/hello/{name}"))
	hang(t, ex.PID)
	v := visit(t, server)
	for range n {
		v.ask(t, "/hello/x")
		v.answer(t)
	}
	goOn(t, ex.PID)
	labtest.Settles(t, func() error {
		lost := ex.Scrape().Value(lostRecords, labtest.Labels{"probe": "http", "reason": "ring_buffer_full"})
		told := len(ex.Requests("limit=100000&path=/hello/{name}")) - before
		return errors.Join(exact(ex.Scrape(), "told and lost", float64(told)+lost, n), atLeast("lost", lost, 1), atLeast("told", told, 1000))
	})
}

// What a handler does not finish is told, too; what did not come is no stage of it.
func TestRequests_that_end_otherwise_are_told_as_such(t *testing.T) {
	ex, server, _ := startSlow(t, "1us")
	until(t, ex, server, 1e-6)
	one := func(query string, visiting func(v *visitor), want ...string) labtest.Request {
		t.Helper()
		visiting(visit(t, server))
		r := told(t, ex, query, 1)[0]
		var names []string
		for _, s := range r.Stages {
			names = append(names, s.Stage)
		}
		if !slices.Equal(names, want) {
			t.Fatalf("%s: stages %v, want %v", query, names, want)
		}
		return r
	}
	one("status_code=panic", func(v *visitor) {
		v.ask(t, "/panic")
		io.Copy(io.Discard, v) // until the server closes it, or for good
	}, "handshake", "accept_queue", "read_wait", "parse", "handler")
	one("status_code=hijacked", func(v *visitor) {
		v.ask(t, "/hijack")
		v.write(t, "x\n")
		io.Copy(io.Discard, v)
	}, "handshake", "accept_queue", "read_wait", "parse", "handler")
	one("status_code=418", func(v *visitor) {
		v.askDeaf(t, request("/status/418"))
		v.Conn.(*net.TCPConn).SetLinger(0)
		v.Close()
	}, "handshake", "accept_queue", "read_wait", "parse", "handler", "first_packet")
	// The next answer is on its way before this one is acknowledged: nobody will know when it was.
	one("status_code=201", func(v *visitor) {
		socket := v.askDeaf(t, request("/status/201")+closing("/status/202"))
		told(t, ex, "status_code=201", 1)
		socket.Hear(t)
		io.Copy(io.Discard, v)
	}, "handshake", "accept_queue", "read_wait", "parse", "handler", "first_packet")
	streamed := one("path=/stream", func(v *visitor) {
		v.ask(t, "/stream")
		v.answer(t)
		v.Close()
	}, stages...)
	if took := streamed.Stages[slices.Index(stages, "first_packet")].Seconds; took != 0 {
		t.Errorf("a response that began before its handler returned took %v s to its first packet", took)
	}
}

// wantTraces sends requests with a Traceparent among more and more headers, in each of
// which the map of headers has another form.
func wantTraces(t *testing.T, ex *labtest.Exporter, server *labtest.Server) {
	t.Helper()
	sent := map[string]string{} // by address of the client
	for i, others := range []int{0, 1, 7, 8, 12, 20, 40} {
		trace := fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)
		v := visit(t, server)
		v.write(t, "GET /implicit HTTP/1.1\r\nHost: x\r\n")
		for n := range others {
			v.write(t, fmt.Sprintf("X-Other-%d: %d\r\n", n, n))
			if n == others/2 {
				v.write(t, "traceparent: "+trace+"\r\n")
			}
		}
		if others == 0 {
			trace = ""
		}
		sent[v.LocalAddr().String()] = trace
		v.write(t, "\r\n")
		v.answer(t)
	}
	for _, r := range told(t, ex, "path=/implicit", len(sent)) {
		if err := same("traceparent", r.Trace, sent[r.Remote.String()]); err != nil {
			t.Errorf("%v: %v", r.Remote, err)
		}
	}
}

func TestTraceparent_is_that_of_the_request(t *testing.T) {
	ex, server, _ := startSlow(t, "1us")
	until(t, ex, server, 1e-6)
	wantTraces(t, ex, server)
}
