// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"flag"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/experimental"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// go test ./grafana-plugin/pkg/plugin -run golden -update writes the files anew; read the difference.
var update = flag.Bool("update", false, "write the golden frames anew")

var (
	availability = []string{"service", "checkout", "slo", "availability"}
	latency      = []string{"service", "checkout", "slo", "latency"}
	idle         = []string{"service", "idle", "slo", "availability", "cluster", "eu"}
	listener     = []string{"service", "checkout", "listener", "0.0.0.0:8080", "netns", "", "instance", "a:10984"}
)

func with(labels []string, more ...string) []string {
	return append(append([]string{}, labels...), more...)
}

var nan = math.NaN()

// canned are the answers to the questions of each type of query.
var canned = map[string]struct {
	query   models.Query
	now     time.Time // the end of the range by default
	answers map[string]any
}{
	models.SLOSummary: {answers: map[string]any{
		"objectives":      []promapi.Series{series(availability, 0.999), series(latency, 0.99), series(idle, 0.999)},
		"windows":         []promapi.Series{series(availability, 2592000), series(latency, 604800)},
		"error ratios":    []promapi.Series{series(with(availability, "window", "30d"), 0.0005), series(with(latency, "window", "7d"), 0.02)},
		"budgets":         []promapi.Series{series(with(availability, "window", "30d"), 0.5), series(with(latency, "window", "7d"), -1)},
		"forecasts":       []promapi.Series{series(with(availability, "window", "30d"), 86400), series(with(latency, "window", "7d"), 0)},
		"burn rates":      burnSeries(1),
		"burn thresholds": thresholds(),
		"worst routes":    []promapi.Series{series(with(latency, "path", "/orders/{id}"), 12)},
		fromSloth: []promapi.Series{series([]string{"__name__", slothObjective, "sloth_service", "web", "sloth_slo", "errors", "sloth_id", "web-errors"}, 0.99),
			series([]string{"__name__", slothRemaining, "sloth_service", "web", "sloth_slo", "errors", "sloth_id", "web-errors"}, 0.25),
			series([]string{"__name__", slothBurn, "sloth_service", "web", "sloth_slo", "errors", "sloth_id", "web-errors"}, 3),
			series([]string{"__name__", slothDays, "sloth_service", "web", "sloth_slo", "errors", "sloth_id", "web-errors"}, 28)},
		fromPyrra: []promapi.Series{series([]string{"__name__", pyrraObjective, "slo", "api-errors"}, 0.99), series([]string{"__name__", pyrraAvailability, "slo", "api-errors"}, 0.995), series([]string{"__name__", pyrraWindow, "slo", "api-errors"}, 2419200)},
	}},
	models.Budget: {now: testFrom.Add(30 * time.Minute), answers: map[string]any{
		"budgets":   []promapi.Series{series(with(availability, "window", "30d"), 1, 0.9, 0.8, 0.6, nan, nan, nan)},
		"forecasts": []promapi.Series{series(with(availability, "window", "30d"), 1200)},
		"windows":   []promapi.Series{series(availability, 7200)},
	}},
	models.Burn: {answers: map[string]any{"burn rates": burnSeries(7), "burn thresholds": thresholds()}},
	models.LatencyStages: {answers: map[string]any{"stages": []promapi.Series{
		series([]string{"stage", "handler"}, 3, 0, 0.5, nan, 1, 1, 1), series([]string{"stage", "accept_queue"}, 1, 0, 0.5, nan, 0, math.Inf(1), 3)}}},
	"latency_stages quantile": {query: models.Query{QueryType: models.LatencyStages, Mode: models.ModeQuantile, Quantile: 0.9, Services: []string{"checkout"}}, answers: map[string]any{
		"stages of native histograms": []promapi.Series{series([]string{"stage", "handler"}, 0.1, 0.2, nan, 0.3, 0.4, 0.5, 0.6)}}},
	models.AcceptBalance: {answers: map[string]any{
		"connections by worker": []promapi.Series{series(with(listener, "worker", "1/3"), 3, 1, 0, nan, 1, 1, 1), series(with(listener, "worker", "1/4"), 1, 1, 0, nan, 1, 1, 3)},
		"how many by worker":    []promapi.Series{series(with(listener, "worker", "1/3"), 900), series(with(listener, "worker", "1/4"), 1100)},
		"connections by cpu":    []promapi.Series{series(with(listener, "cpu", "0"), 1, 1, 1, 1, 1, 1, 1)},
		"how many by cpu":       []promapi.Series{series(with(listener, "cpu", "0"), 2000)},
	}},
	models.ListenQueue: {answers: map[string]any{
		"accept queues":        []promapi.Series{series(listener, 0, 10, 20, 129, 130, nan, 0)},
		"limits":               []promapi.Series{series(listener, 128, 128, 128, 128, 128, nan, 128)},
		"growth of the queues": []promapi.Series{series(listener, 0, 1, 2, 1, 1, nan, -1)},
		"refusals":             []promapi.Series{series(with(listener, "reason", "handshake_refused"), 0, 0, 0, 5, 5, nan, 0)},
	}},
	models.Causes: {answers: map[string]any{
		"bad events":              []promapi.Series{series(with(availability, "path", "/orders/{id}"), 90), series(with(availability, "path", "/"), 10), series(with(availability, "path", "/quiet"), 0)},
		before("bad events"):      []promapi.Series{series(with(availability, "path", "/orders/{id}"), 1), series(with(availability, "path", "/"), 9)},
		"failed requests":         []promapi.Series{series([]string{"service", "checkout", "path", "/orders/{id}", "method", "POST", "status_code", "503"}, 90), series([]string{"service", "checkout", "path", "/", "method", "GET", "status_code", "panic"}, 10)},
		before("failed requests"): []promapi.Series{series([]string{"service", "checkout", "path", "/", "method", "GET", "status_code", "panic"}, 9)},
		"requests":                []promapi.Series{series([]string{"service", "checkout", "path", "/orders/{id}"}, 1000), series([]string{"service", "checkout", "path", "/"}, 1000)},
		before("requests"):        []promapi.Series{series([]string{"service", "checkout", "path", "/orders/{id}"}, 2000), series([]string{"service", "checkout", "path", "/"}, 1000)},
		"time in stages":          []promapi.Series{series([]string{"service", "checkout", "path", "/orders/{id}", "stage", "accept_queue"}, 90), series([]string{"service", "checkout", "path", "/orders/{id}", "stage", "handler"}, 20), series([]string{"service", "checkout", "path", "/", "stage", "handler"}, 5)},
		before("time in stages"):  []promapi.Series{series([]string{"service", "checkout", "path", "/orders/{id}", "stage", "accept_queue"}, 0), series([]string{"service", "checkout", "path", "/orders/{id}", "stage", "handler"}, 20), series([]string{"service", "checkout", "path", "/", "stage", "handler"}, 5)},
	}},
	models.Breaches: {answers: map[string]any{"alerts": []promapi.Series{
		series(with(availability, "burn_tier", "fast", "long", "1h", "short", "5m", "severity", "critical"), nan, 1, 1, 1, nan, nan, 1),
		series(with(latency, "burn_tier", "slow", "long", "1d", "short", "2h", "severity", "warning"), 1)}}},
}

// burnSeries has checkout's availability burn fast since the fourth point, and its latency not at all.
func burnSeries(points int) (all []promapi.Series) {
	for i, name := range burnRates() {
		burning, calm := make([]float64, points), make([]float64, points)
		for k := range burning {
			calm[k] = 0.5
			if burning[k] = 1; k >= 3 || points == 1 {
				burning[k] = 20 / float64(i+1)
			}
		}
		if points > 1 {
			burning[1] = nan
		}
		all = append(all, series(with(availability, "__name__", name), burning...), series(with(latency, "__name__", name), calm...))
	}
	return all
}

func thresholds() (all []promapi.Series) {
	for tier, factor := range map[string]float64{"fast": 14.4, "medium": 6, "slow": 3, "trickle": 1} {
		for _, labels := range [][]string{availability, latency} {
			all = append(all, series(with(labels, "burn_tier", tier), factor))
		}
	}
	return all
}

func TestEach_type_of_query_gives_its_golden_frames(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, map[string]any{"prometheusUid": "prom", "selector": []models.Matcher{{Name: "job", Value: "tcpslo"}}})
	for name, c := range canned {
		if c.query.QueryType == "" {
			c.query.QueryType = name
		}
		d.clock = func() time.Time { return testTo }
		if !c.now.IsZero() {
			d.clock = func() time.Time { return c.now }
		}
		q := query("A", c.query)
		f.tellAll(t, d, q, c.answers)
		answer := ask(t, d, q)
		experimental.CheckGoldenJSONResponse(t, "testdata", strings.ReplaceAll(name, " ", "_"), &answer, *update)
	}
}

// The requests that an exporter answers with, in its own JSON.
const requestsJSON = `{"requests": [
  {"id": "00f3a1b2c3d4e5f6", "service": "checkout", "pid": 812, "goroutine": 4711, "method": "POST", "path": "/orders/{id}", "status_code": "503",
   "local": "10.0.0.1:8080", "remote": "10.0.0.7:51234", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
   "started": "2026-01-09T23:02:31.123Z", "slow": true, "duration_seconds": 0.8104, "threshold_seconds": 0.2,
   "stages": [{"stage": "handshake", "seconds": 0.0004}, {"stage": "accept_queue", "seconds": 0.702}, {"stage": "handler", "seconds": 0.108}]},
  {"id": "00f3a1b2c3d4e5f7", "service": "checkout", "pid": 812, "goroutine": 0, "method": "GET", "path": "/", "status_code": "200",
   "started": "2026-01-09T23:10:00Z", "slow": false, "duration_seconds": 0.001, "threshold_seconds": 0.2, "stages": [{"stage": "handler", "seconds": 0.001}]},
  {"id": "00f3a1b2c3d4e5f8", "service": "other", "pid": 813, "goroutine": 1, "method": "GET", "path": "/", "status_code": "200",
   "started": "2026-01-09T23:10:00Z", "slow": true, "duration_seconds": 5, "threshold_seconds": 0.2, "stages": []},
  {"id": "00f3a1b2c3d4e5f9", "service": "checkout", "pid": 812, "goroutine": 1, "method": "GET", "path": "/", "status_code": "200",
   "started": "2026-01-10T00:10:00Z", "slow": true, "duration_seconds": 9, "threshold_seconds": 0.2, "stages": []}]}`

func TestRequests_and_live_give_their_golden_frames(t *testing.T) {
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/requests" || r.URL.Query().Get("service") != "checkout" {
			t.Errorf("asked %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(requestsJSON))
	}))
	defer exporter.Close()
	f := startFake(t)
	d := f.datasource(t, map[string]any{"exporterUrls": []string{exporter.URL}})
	for _, kind := range []string{models.Requests, models.Live} {
		answer := ask(t, d, query("A", models.Query{QueryType: kind, Services: []string{"checkout"}}))
		for _, frame := range answer.Frames {
			if field, _ := frame.FieldByName("exporter"); field != nil {
				for i := range field.Len() {
					if field.At(i) != exporter.URL {
						t.Errorf("exporter is %v, want %s", field.At(i), exporter.URL)
					}
					field.Set(i, "http://exporter") // its port is another each time
				}
			}
		}
		experimental.CheckGoldenJSONResponse(t, "testdata", kind, &answer, *update)
	}
}
