// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const (
	sloEvents        = "tcpslo_slo_events_total"
	sloObjective     = "tcpslo_slo_objective_ratio"
	sloWindow        = "tcpslo_slo_window_seconds"
	sloLatency       = "tcpslo_slo_latency_threshold_seconds"
	requestDurations = "tcpslo_http_request_duration_seconds"
)

// judged is a series of slo_events_total.
type judged struct{ slo, path, verdict string }

// eventsOf are the events of a service.
func eventsOf(x *labtest.Exposition, service string) map[judged]float64 {
	all := map[judged]float64{}
	for _, s := range x.Series(sloEvents, labtest.Labels{"service": service}) {
		all[judged{s.Labels["slo"], s.Labels["path"], s.Labels["verdict"]}] = s.Value
	}
	return all
}

// wantEvents compares all series of a service with what was logged.
func wantEvents(x *labtest.Exposition, service string, want map[judged]float64) error {
	got := eventsOf(x, service)
	var errs []error
	for _, series := range []map[judged]float64{want, got} {
		for j := range series {
			_, wanted := want[j]
			_, there := got[j]
			if wanted != there {
				errs = append(errs, fmt.Errorf("%+v is there: %v, want %v", j, there, wanted))
			}
		}
	}
	for j, n := range want {
		errs = append(errs, exact(x, fmt.Sprintf("%+v", j), got[j], n))
	}
	return errors.Join(errs...)
}

// sloServer starts the lab server as a service with objectives.
func sloServer(t *testing.T, slos string) (*labtest.Exporter, *labtest.Server) {
	t.Helper()
	testenv.NeedRoot(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex := labtest.StartExporter(t, labtest.Options{Config: shopConfig(server, slos), Flags: []string{"--web.enable-lifecycle"}})
	ex.WaitAttached(server.PID)
	return ex, server
}

func shopConfig(server *labtest.Server, slos string) string {
	return fmt.Sprintf("services:\n  - name: shop\n    match: {ports: [%d]}\n    slos:\n%s", netip.MustParseAddrPort(server.Listen[0]).Port(), slos)
}

// reload puts other objectives in force.
func reload(t *testing.T, ex *labtest.Exporter, config string) {
	t.Helper()
	ex.WriteConfig(config)
	if status, body := ex.Post("/-/reload"); status != http.StatusOK {
		t.Fatalf("reload answered %d: %s", status, body)
	}
}

// The client's log is the ground truth: what it asked for, and what it was answered. A
// handler sleeps well above the threshold, or not at all.
func TestSLO_events_are_those_of_the_clients_own_log(t *testing.T) {
	ex, server := sloServer(t, `
      - {name: available, objective: 99.9}
      - {name: fast, objective: 99, latency: 2s}
      - {name: answers, objective: 95, window: 7d, path: "/status/{code}"}
      - {name: posts, objective: 99, method: POST}
`)
	service := labtest.Labels{"service": "shop"}
	want := map[judged]float64{}
	zero := func(slo, path string) {
		want[judged{slo, path, "good"}] += 0
		want[judged{slo, path, "bad"}] += 0
	}
	for slo, path := range map[string]string{"available": "", "fast": "", "posts": "", "answers": "/status/{code}"} {
		zero(slo, path)
	}
	labtest.Eventually(t, func() error { return wantEvents(ex.Scrape(), "shop", want) })
	clear(want)
	zero("answers", "/status/{code}")

	const good, bad, none = "good", "bad", ""
	var wait sync.WaitGroup
	for _, r := range []struct {
		n                         int
		method, url, path, status string
		available, fast           string
	}{
		{40, "GET", "/status/200", "/status/{code}", "200", good, good},
		{7, "GET", "/status/404", "/status/{code}", "404", good, good},
		{2, "GET", "/status/302", "/status/{code}", "302", good, good},
		{5, "GET", "/status/503", "/status/{code}", "503", bad, bad},
		{1, "GET", "/status/599", "/status/{code}", "599", bad, bad},
		{6, "POST", "/items", "/items", "201", good, good},
		{9, "GET", "/slow?ms=0", "/slow", "200", good, good},
		{3, "GET", "/slow?ms=2300", "/slow", "200", good, bad},
		{4, "GET", "/panic", "/panic", "", bad, bad},
		{2, "GET", "/hijack", "/hijack", "101", good, none},
		{3, "GET", "/recovered", "/recovered", "500", bad, bad},
	} {
		for slo, verdict := range map[string]string{"available": r.available, "fast": r.fast} {
			zero(slo, r.path)
			if verdict != none {
				want[judged{slo, r.path, verdict}] += float64(r.n)
			}
		}
		if r.path == "/status/{code}" {
			want[judged{"answers", r.path, r.available}] += float64(r.n)
		}
		if r.method == "POST" {
			zero("posts", r.path)
			want[judged{"posts", r.path, r.available}] += float64(r.n)
		}
		for range r.n {
			wait.Go(func() { askOnce(t, r.method, "http://"+server.Listen[0]+r.url, r.status) })
		}
		wait.Wait()
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		sum := func(slo string, more ...string) (n float64) {
			for j, events := range eventsOf(x, "shop") {
				if j.slo == slo && (len(more) == 0 || j.verdict == more[0]) {
					n += events
				}
			}
			return n
		}
		within := uint64(0)
		for _, status := range []string{"200", "201", "302", "404"} {
			within += x.HistogramBuckets(requestDurations, service.With("status_code", status))[2]
		}
		return errors.Join(
			wantEvents(x, "shop", want),
			// In one scrape they are the same requests.
			same("events of availability", sum("available"), float64(x.HistogramCount(requestDurations, service))),
			same("events of latency", sum("fast"), float64(x.HistogramCount(requestDurations, service)-x.HistogramCount(requestDurations, service.With("status_code", "hijacked")))),
			same("good events of latency", sum("fast", good), float64(within)))
	})
	x := ex.Scrape()
	if err := errors.Join(
		same("objectives", fmt.Sprint(x.By(sloObjective, "slo", service)), "map[answers:0.95 available:0.999 fast:0.99 posts:0.99]"),
		same("windows", fmt.Sprint(x.By(sloWindow, "slo", service)), "map[answers:604800 available:2.592e+06 fast:2.592e+06 posts:2.592e+06]"),
		same("latencies", fmt.Sprint(x.By(sloLatency, "slo", service)), "map[fast:2]"),
	); err != nil {
		t.Error(err)
	}
	wantAPI(t, ex, want)
}

// wantAPI compares what /api/v1/slos tells of the service.
func wantAPI(t *testing.T, ex *labtest.Exporter, want map[judged]float64) {
	t.Helper()
	got := map[judged]float64{}
	for _, o := range ex.SLOs() {
		if o.Service != "shop" {
			continue
		}
		good, bad := 0.0, 0.0
		for _, p := range o.Paths {
			got[judged{o.Name, p.Path, "good"}], got[judged{o.Name, p.Path, "bad"}] = p.Good, p.Bad
			good, bad = good+p.Good, bad+p.Bad
		}
		if o.Good != good || o.Bad != bad || o.Since.IsZero() || o.Since.After(time.Now()) {
			t.Errorf("objective %+v has %v good and %v bad events by path", o, good, bad)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("/api/v1/slos tells %v, want %v", got, want)
	}
}

// askOnce makes a request on a connection of its own; without a status the server is to
// end the connection instead.
func askOnce(t *testing.T, method, url, status string) {
	t.Helper()
	client := http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequest(method, url, strings.NewReader(""))
	if err != nil {
		t.Error(err)
		return
	}
	response, err := client.Do(request)
	if status == "" {
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want the end of the connection", url, err)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	if strconv.Itoa(response.StatusCode) != status {
		t.Errorf("%s answered %s, want %s", url, response.Status, status)
	}
}

func TestServer_without_objectives_has_the_default_ones_before_its_first_request(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := ex.WaitAttached(server.PID).Name
	labels := labtest.Labels{"service": service}
	want := map[judged]float64{
		{"availability", "", "good"}: 0, {"availability", "", "bad"}: 0, {"latency", "", "good"}: 0, {"latency", "", "bad"}: 0,
	}
	labtest.Eventually(t, func() error { return wantEvents(ex.Scrape(), service, want) })
	askOnce(t, "GET", "http://"+server.Listen[0]+"/status/500", "500")
	want = map[judged]float64{
		{"availability", "/status/{code}", "good"}: 0, {"availability", "/status/{code}", "bad"}: 1,
		{"latency", "/status/{code}", "good"}: 0, {"latency", "/status/{code}", "bad"}: 1,
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			wantEvents(x, service, want),
			same("objectives", fmt.Sprint(x.By(sloObjective, "slo", labels)), "map[availability:0.999 latency:0.99]"),
			same("latencies", fmt.Sprint(x.By(sloLatency, "slo", labels)), "map[latency:0.2]"))
	})
}

func TestSLO_events_do_not_fall_when_a_server_is_started_again(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{})
	var before map[judged]float64
	scrape := func(service string) *labtest.Exposition {
		x := ex.Scrape()
		now := eventsOf(x, service)
		for j, n := range before {
			if now[j] < n {
				t.Errorf("%+v fell from %v to %v", j, n, now[j])
			}
		}
		before = now
		return x
	}
	want := map[judged]float64{}
	for round := range 3 {
		server := labtest.StartServer(t, labtest.ServerOptions{})
		service := ex.WaitAttached(server.PID).Name
		for status, n := range map[string]int{"200": 5 + round, "500": 2} {
			for range n {
				askOnce(t, "GET", "http://"+server.Listen[0]+"/status/"+status, status)
			}
		}
		want[judged{"availability", "/status/{code}", "good"}] += float64(5 + round)
		want[judged{"availability", "/status/{code}", "bad"}] += 2
		check := func() error {
			x, got := scrape(service), map[judged]float64{}
			maps.Copy(got, before)
			maps.DeleteFunc(got, func(j judged, _ float64) bool { return j.slo != "availability" || j.path == "" })
			var errs []error
			for j, n := range want {
				errs = append(errs, exact(x, fmt.Sprintf("round %d: %+v", round, j), got[j], n))
			}
			return errors.Join(errs...)
		}
		labtest.Settles(t, check)
		server.Kill()
		labtest.Settles(t, check)
	}
}

// What an objective expects may change as one likes. What it counts begins anew, so that
// events of one meaning are never taken for events of another.
func TestReload_keeps_the_events_unless_an_objective_counts_others(t *testing.T) {
	const available, fast = "      - {name: available, objective: 99.9}\n", "      - {name: fast, objective: 99, latency: 2s}\n"
	ex, server := sloServer(t, available+fast)
	for range 4 {
		askOnce(t, "GET", "http://"+server.Listen[0]+"/implicit", "200")
	}
	want := map[judged]float64{
		{"available", "/implicit", "good"}: 4, {"available", "/implicit", "bad"}: 0,
		{"fast", "/implicit", "good"}: 4, {"fast", "/implicit", "bad"}: 0,
	}
	labtest.Settles(t, func() error { return wantEvents(ex.Scrape(), "shop", want) })

	// Another objective and window, and one more that is told by the same boundaries.
	changed := "      - {name: available, objective: 99.5, window: 7d}\n" + fast + "      - {name: gets, objective: 90, method: GET}\n"
	reload(t, ex, shopConfig(server, changed))
	askOnce(t, "GET", "http://"+server.Listen[0]+"/implicit", "200")
	for j := range want {
		if j.verdict == "good" {
			want[j] = 5
		}
	}
	want[judged{"gets", "/implicit", "good"}], want[judged{"gets", "/implicit", "bad"}] = 5, 0
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			wantEvents(x, "shop", want),
			same("objective", x.Value(sloObjective, labtest.Labels{"slo": "available"}), 0.995),
			same("window", x.Value(sloWindow, labtest.Labels{"slo": "available"}), 7*24*3600))
	})

	// One that counts other requests under its name.
	reload(t, ex, shopConfig(server, strings.Replace(changed, "method: GET", "method: POST", 1)))
	askOnce(t, "GET", "http://"+server.Listen[0]+"/implicit", "200")
	askOnce(t, "POST", "http://"+server.Listen[0]+"/items", "201")
	clear(want)
	for _, slo := range []string{"available", "fast"} {
		for _, path := range []string{"/implicit", "/items"} {
			want[judged{slo, path, "good"}], want[judged{slo, path, "bad"}] = 1, 0
		}
	}
	want[judged{"gets", "/items", "good"}], want[judged{"gets", "/items", "bad"}] = 1, 0
	labtest.Settles(t, func() error { return wantEvents(ex.Scrape(), "shop", want) })
}

// There is room for the path of an objective, and one more.
func TestPath_of_an_objective_has_its_series_although_others_came_first(t *testing.T) {
	testenv.NeedRoot(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex := labtest.StartExporter(t, labtest.Options{
		Config: "limits: {paths_per_service: 2}\n" + shopConfig(server, "      - {name: early, objective: 99, path: /early}\n      - {name: all, objective: 99}\n"),
	})
	ex.WaitAttached(server.PID)
	for i, url := range []string{"/hello/x", "/implicit", "/stream", "/early"} {
		askOnce(t, "GET", "http://"+server.Listen[0]+url, "200")
		// Paths are admitted in the order in which scrapes meet them.
		labtest.Eventually(t, func() error {
			x := ex.Scrape()
			return exact(x, "requests", x.HistogramCount(requestDurations, labtest.Labels{"service": "shop"}), uint64(i+1))
		})
	}
	want := map[judged]float64{
		{"early", "/early", "good"}: 1, {"all", "/early", "good"}: 1, {"all", "/hello/{name}", "good"}: 1, {"all", "other", "good"}: 2,
	}
	for _, j := range slices.Collect(maps.Keys(want)) {
		want[judged{j.slo, j.path, "bad"}] = 0
	}
	labtest.Settles(t, func() error { return wantEvents(ex.Scrape(), "shop", want) })
}
