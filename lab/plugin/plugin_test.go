// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// What is bad for the SLOs of the test, both with an objective of one half.
func fails(e entry) bool { return e.status == "503" || e.status == "panic" }
func isBad(slo string) func(entry) bool {
	return func(e entry) bool { return fails(e) || slo == "fast" && e.path == "/slow" }
}

func config(server *labtest.Server) string {
	return fmt.Sprintf(`
limits: {slow_requests: 10000} # a twelfth of it in ten minutes
services:
  - name: shop
    match: {ports: [%d]}
    slower_than: %s
    slos:
      - {name: available, objective: 50}
      - {name: fast, objective: 50, latency: %[2]s}
`, netip.MustParseAddrPort(server.Listen[0]).Port(), threshold)
}

// stack is all that the plugin needs, and what the client of the server knows.
type stack struct {
	*client
	*backend
	prometheus *child.Prometheus
	exporter   *labtest.Exporter
	gate       *gate
	server     *labtest.Server
}

func start(t *testing.T) *stack {
	t.Helper()
	testenv.NeedRoot(t)
	s := &stack{server: labtest.StartServer(t, labtest.ServerOptions{})}
	s.client = &client{server: "http://" + s.server.Listen[0]}
	s.exporter = labtest.StartExporter(t, labtest.Options{Config: config(s.server)})
	s.exporter.WaitAttached(s.server.PID)
	s.gate = newGate(t, s.exporter.URL)
	proxy := httptest.NewServer(s.gate)
	t.Cleanup(proxy.Close)
	s.prometheus = startPrometheus(t, proxy.Listener.Addr().String())
	s.backend = startBackend(t, "http://"+s.prometheus.Address, s.exporter.URL)
	return s
}

// Which numbers can be exact. Counters and gauges always, and what is divided by each other: shares, error ratio, budget
// and burn rate. Prometheus extrapolates rates and increases to the ends of their windows, all that were scraped together by
// one factor; it falls out of a ratio because the requests keep one proportion, in the first round, which Prometheus
// sees first, and in all that follow, of which it sees only the end. How many events there were in a range is exact but
// for that factor. A forecast and a quantile can't be; times are only known to be as long as the server slept.
func TestThe_plugin_tells_what_the_client_of_a_server_has_logged(t *testing.T) {
	s := start(t)
	began := time.Now().Add(-5 * time.Minute)
	s.gate.Lock()
	s.rounds(t, 1, 1)
	s.settle(t)
	s.gate.Unlock()
	s.scraped(t)
	s.gate.Lock()
	s.rounds(t, 4, 25)
	s.settle(t)
	s.gate.Unlock()
	s.scraped(t)

	labtest.EventuallyWithin(t, 30*time.Second, func() error {
		now := time.Now()
		return errors.Join(s.wantSummary(began, now), s.wantBudget(began, now), s.wantBurn(began, now))
	})
	if err := errors.Join(s.wantCauses(began, time.Now()), s.wantRequests(began, time.Now()), s.wantStages(began, time.Now())); err != nil {
		t.Error(err)
	}
	s.wantQueue(t, began)
	s.wantDashboard(t, began)
}

// settle waits until the exporter has counted each request once.
func (s *stack) settle(t *testing.T) {
	t.Helper()
	labtest.Settles(t, func() error {
		x := s.exporter.Scrape()
		if got, want := x.HistogramCount("tcpslo_http_request_duration_seconds", labtest.Labels{"service": "shop"}), uint64(len(s.log)); got != want {
			return fmt.Errorf("the exporter counts %d requests, the client %d", got, want)
		}
		return nil
	})
}

// scraped waits until Prometheus has as many requests and stages as the client, by what they were.
func (s *stack) scraped(t *testing.T) {
	t.Helper()
	want, bad := map[string]float64{}, map[string]float64{}
	for _, e := range s.log {
		want[e.method+" "+e.path+" "+e.status]++
		for _, slo := range []string{"available", "fast"} {
			if bad[slo] += 0; isBad(slo)(e) {
				bad[slo]++
			}
		}
	}
	labtest.EventuallyWithin(t, 30*time.Second, func() error {
		have, err := series(s.prometheus, `tcpslo_http_request_duration_seconds_count{service="shop"}`, "method", "path", "status_code")
		if err != nil {
			return err
		}
		events, err := series(s.prometheus, `sum by (slo) (tcpslo_slo_events_total{service="shop",verdict="bad"})`, "slo")
		if err != nil {
			return err
		}
		handled, err := series(s.prometheus, `sum(tcpslo_http_request_stage_seconds_count{service="shop",stage="handler"})`)
		if err != nil {
			return err
		}
		if !maps.Equal(have, want) || !maps.Equal(events, bad) || handled[""] != float64(len(s.log)) {
			return fmt.Errorf("prometheus has the requests %v, bad events %v, and %v handlers, want %v, %v, %d", have, events, handled, want, bad, len(s.log))
		}
		return nil
	})
}

// equal compares numbers that were made by dividing, in another order.
func equal(what string, got any, want float64) error {
	if number, is := got.(float64); !is || math.Abs(number-want) > 1e-9*math.Max(1, math.Abs(want)) {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// spent is the share of an SLO's budget that is gone: half of the requests may be bad.
func (s *stack) spent(slo string) float64 {
	return s.count(isBad(slo)) / float64(len(s.log)) / 0.5
}

func (s *stack) wantSummary(from, to time.Time) error {
	frames, err := s.query(map[string]any{"queryType": "slo_summary", "service": "shop"}, from, to)
	if err != nil {
		return err
	}
	var errs []error
	seen := map[string]bool{}
	for _, row := range rows(frames[0]) {
		slo := fmt.Sprint(row["slo"])
		seen[slo] = true
		for name, want := range map[string]float64{"objective": 0.5, "window": 30 * 24 * 3600, "sli": 1 - s.spent(slo)/2, "budget_remaining": 1 - s.spent(slo), "burn": s.spent(slo)} {
			errs = append(errs, equal("summary of "+slo+": "+name, row[name], want))
		}
		for name, want := range map[string]string{"service": "shop", "worst_route": "/status/{code}", "source": "tcpslo"} {
			if row[name] != want {
				errs = append(errs, fmt.Errorf("summary of %s: %s is %v, want %s", slo, name, row[name], want))
			}
		}
	}
	if !maps.Equal(seen, map[string]bool{"available": true, "fast": true}) {
		errs = append(errs, fmt.Errorf("summary of %v", seen))
	}
	return errors.Join(errs...)
}

func (s *stack) wantBudget(from, to time.Time) error {
	frames, err := s.query(map[string]any{"queryType": "budget", "service": "shop"}, from, to)
	if err != nil {
		return err
	}
	var errs []error
	for _, slo := range []string{"available", "fast"} {
		left := points(frames[0], "remaining", data.Labels{"service": "shop", "slo": slo})
		if len(left) == 0 {
			errs = append(errs, fmt.Errorf("no budget of %s", slo))
			continue
		}
		errs = append(errs, equal("budget left of "+slo, left[len(left)-1], 1-s.spent(slo)))
		for _, v := range left {
			if v != 1 { // before the requests whose growth is the first that a rate sees
				errs = append(errs, equal("a point of the budget of "+slo, v, 1-s.spent(slo)))
			}
		}
	}
	return errors.Join(errs...)
}

// wantBurn checks the tiers whose windows are read from raw counters, in units of their factors.
func (s *stack) wantBurn(from, to time.Time) error {
	frames, err := s.query(map[string]any{"queryType": "burn", "service": "shop"}, from, to)
	if err != nil {
		return err
	}
	var errs []error
	for _, slo := range []string{"available", "fast"} {
		for _, of := range []struct {
			tier, window string
			factor       float64
		}{{"fast", "1h", 14.4}, {"fast", "5m", 14.4}, {"medium", "6h", 6}, {"medium", "30m", 6}, {"slow", "2h", 3}, {"trickle", "6h", 1}} {
			burn := points(frames[0], "burn", data.Labels{"service": "shop", "slo": slo, "burn_tier": of.tier, "window": of.window})
			if len(burn) == 0 {
				errs = append(errs, fmt.Errorf("no burn rate of %s for %s over %s", slo, of.tier, of.window))
				continue
			}
			errs = append(errs, equal(fmt.Sprintf("burn rate of %s for %s over %s", slo, of.tier, of.window), burn[len(burn)-1], s.spent(slo)/of.factor))
		}
	}
	return errors.Join(errs...)
}

// wantCauses compares routes and statuses; which stages took longer than before is no count of the client's.
func (s *stack) wantCauses(from, to time.Time) error {
	frames, err := s.query(map[string]any{"queryType": "causes", "service": "shop", "limit": 100}, from, to)
	if err != nil {
		return err
	}
	type cause struct{ what, slo, path, detail string }
	want := map[cause][2]float64{} // events, and all that they are a share of
	for _, slo := range []string{"available", "fast"} {
		for _, path := range []string{"/status/{code}", "/panic", "/slow"} {
			if n := s.count(func(e entry) bool { return e.path == path && isBad(slo)(e) }); n > 0 {
				want[cause{"route", slo, path, ""}] = [2]float64{n, s.count(isBad(slo))}
			}
		}
	}
	for path, detail := range map[string]string{"/status/{code}": "GET 503", "/panic": "GET panic"} {
		want[cause{"status", "", path, detail}] = [2]float64{s.count(func(e entry) bool { return e.path == path }), s.count(fails)}
	}
	var errs []error
	have := map[cause]bool{}
	extrapolated := 0.0 // by how much, the same for all
	for _, row := range rows(frames[0]) {
		c := cause{fmt.Sprint(row["what"]), fmt.Sprint(row["slo"]), fmt.Sprint(row["path"]), fmt.Sprint(row["detail"])}
		if c.what == "stage" {
			continue
		}
		of, known := want[c]
		if !known || have[c] {
			errs = append(errs, fmt.Errorf("cause %+v was not to be expected", c))
			continue
		}
		have[c] = true
		if extrapolated == 0 {
			// By 1.1 scrapes at most (promql/functions.go, extrapolatedRate), of which there are two or more.
			if extrapolated = row["events"].(float64) / of[0]; extrapolated < 1 || extrapolated > 2.1 {
				errs = append(errs, fmt.Errorf("prometheus takes %v events for %v, which is more than it may add", of[0], row["events"]))
			}
		}
		errs = append(errs, equal(fmt.Sprintf("events of %+v", c), row["events"], of[0]*extrapolated), equal(fmt.Sprintf("share of %+v", c), row["share"], of[0]/of[1]), equal("share before", row["before"], 0))
		if said := fmt.Sprintf("(%.0f of %.0f)", of[0]*extrapolated, of[1]*extrapolated); !strings.Contains(fmt.Sprint(row["sentence"]), said) {
			errs = append(errs, fmt.Errorf("%q doesn't say %s", row["sentence"], said))
		}
	}
	if len(have) != len(want) {
		errs = append(errs, fmt.Errorf("causes are %v, want %v", have, want))
	}
	return errors.Join(errs...)
}

// wantRequests compares the requests that are told to be slow one by one: the address of the client tells which is which.
func (s *stack) wantRequests(from, to time.Time) error {
	frames, err := s.query(map[string]any{"queryType": "requests", "service": "shop", "limit": 1000}, from, to)
	if err != nil {
		return err
	}
	want := map[entry]int{}
	for _, e := range s.log {
		if e.path == "/slow" {
			want[e]++
		}
	}
	have := map[entry]int{}
	for _, row := range rows(frames[0]) {
		e := entry{fmt.Sprint(row["method"]), fmt.Sprint(row["path"]), fmt.Sprint(row["status_code"]), fmt.Sprint(row["remote"])}
		if row["slow"] == "slow" {
			have[e]++
		} else if !slices.Contains(s.log, e) {
			return fmt.Errorf("the client knows nothing of the sample %+v", e)
		}
		if slept := 1.3; row["slow"] == "slow" && (row["handler"] == nil || row["handler"].(float64) < slept || row["duration"].(float64) < slept) {
			return fmt.Errorf("the handler of %+v slept for %g s, the plugin tells %v of %v", e, slept, row["handler"], row["duration"])
		}
	}
	if !maps.Equal(have, want) {
		return fmt.Errorf("slow requests are %v, want %v", have, want)
	}
	return nil
}

// wantStages compares what is known of the times: nearly all of it is that of handlers that slept.
func (s *stack) wantStages(from, to time.Time) error {
	frames, err := s.query(map[string]any{"queryType": "latency_stages", "service": "shop"}, from, to)
	if err != nil {
		return err
	}
	shares := map[string][]float64{}
	for _, field := range frames[0].Fields[1:] {
		stage := field.Labels["stage"]
		shares[stage] = points(frames[0], "stage", data.Labels{"stage": stage})
	}
	handler := shares["handler"]
	if len(handler) == 0 {
		return fmt.Errorf("no share of the handler in %v", shares)
	}
	sum := 0.0
	for stage, of := range shares {
		if len(of) == 0 {
			return fmt.Errorf("%s has no share", stage)
		}
		sum += of[len(of)-1]
	}
	if last := handler[len(handler)-1]; last < 0.9 {
		return fmt.Errorf("handlers have a share of %g, and slept nearly all the time", last)
	}
	return equal("sum of the shares", sum, 1)
}

// wantQueue lets connections wait for a server that never accepts them.
func (s *stack) wantQueue(t *testing.T, from time.Time) {
	t.Helper()
	const waiting, backlog = 3, 5
	deaf := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-no-accept", "-backlog", strconv.Itoa(backlog)}})
	for range waiting {
		connection, err := net.Dial("tcp", deaf.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
	}
	labtest.EventuallyWithin(t, 20*time.Second, func() error {
		var errs []error
		for listener, want := range map[string]map[string]float64{deaf.Listen[0]: {"queued": waiting, "limit": backlog}, s.server.Listen[0]: {"queued": 0, "limit": somaxconn(t)}} {
			frames, err := s.query(map[string]any{"queryType": "listen_queue", "listener": listener}, from, time.Now())
			if err != nil {
				return err
			}
			for name, value := range want {
				have := points(frames[0], name, data.Labels{"listener": listener})
				if len(have) == 0 || have[len(have)-1] != value {
					errs = append(errs, fmt.Errorf("%s of %s: %v, want %v at the end", name, listener, have, value))
				}
			}
		}
		return errors.Join(errs...)
	})
}

// somaxconn is what Go asks for where it is not told otherwise (src/net/sock_linux.go, maxListenerBacklog).
func somaxconn(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

// wantDashboard asks what each panel of the plugin's own dashboard asks, about the service of the test.
func (s *stack) wantDashboard(t *testing.T, from time.Time) {
	t.Helper()
	text, err := os.ReadFile("../../mixin/dashboards_out/tcpslo_plugin.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []map[string]any
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, panel := range dashboard.Panels {
		for _, query := range panel.Targets {
			asked++
			delete(query, "datasource")
			// What the frontend makes of the variables where one service is chosen, and "All" of the rest.
			for field, value := range query {
				if list, is := value.([]any); is {
					delete(query, field)
					if reflect.DeepEqual(list, []any{"$service"}) {
						query[field] = []string{"shop"}
					}
				}
			}
			frames, err := s.query(query, from, time.Now())
			if err != nil {
				t.Errorf("%s: %v", panel.Title, err)
				continue
			}
			live := frames[0].Meta != nil && frames[0].Meta.Channel != ""
			if frames[0].Rows() == 0 && !live {
				t.Errorf("%s is empty", panel.Title)
			}
		}
	}
	if asked == 0 {
		t.Error("the dashboard asks nothing")
	}
}
