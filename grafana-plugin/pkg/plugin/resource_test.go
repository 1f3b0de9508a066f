// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

func TestExplain_gives_numerator_denominator_PromQL_and_the_worst_route(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	const of = `{service="checkout", slo="availability"}`
	for metric, v := range map[string]float64{objectiveRatio: 0.999, windowSeconds: 2592000, names.RecordedWindowBadEvents: 396, names.RecordedWindowEvents: 1e6, budgetRemaining: 0.604} {
		f.tell(metric+of, []promapi.Series{series(availability, v)})
	}
	f.tell("topk(1, sum by (path) (sum_over_time("+badEventsByPath+of+"[1d])))", []promapi.Series{series([]string{"path", "/orders/{id}"}, 324)})
	answer := call(t, d, "explain?service=checkout&slo=availability")
	var got explanation
	if err := json.Unmarshal(answer.Body, &got); err != nil || answer.Status != 200 {
		t.Fatalf("got %d %s, %v", answer.Status, answer.Body, err)
	}
	if want := "396 of 1000000 events of the last 30d were bad; 99.9 % good means that 1000 may be, so 60.4 % of the error budget is left. Most bad events of the last day are of /orders/{id}."; got.Sentence != want {
		t.Errorf("got %s\nwant %s", got.Sentence, want)
	}
	if *got.Bad != 396 || *got.Total != 1e6 || got.WorstRoute != "/orders/{id}" || *got.WorstBad != 324 || got.Queries["bad"] != names.RecordedWindowBadEvents+of {
		t.Errorf("got %+v", got)
	}
	if answer := call(t, d, "explain?service=checkout"); answer.Status != 400 || string(answer.Body) != `{"message":"parameters service and slo must be given"}` {
		t.Errorf("without an SLO: got %d %s", answer.Status, answer.Body)
	}
	if answer := call(t, d, "explain?service=checkout&slo=none"); answer.Status != 200 || !strings.Contains(string(answer.Body), `No exporter tells of the SLO \"none\" of \"checkout\"`) {
		t.Errorf("an SLO that there isn't: got %d %s", answer.Status, answer.Body)
	}
}

func TestQueries_tells_the_very_PromQL_that_a_query_runs(t *testing.T) {
	d := startFake(t).datasource(t, nil)
	for _, kind := range models.Types {
		answer := call(t, d, "queries?type="+kind+"&service=checkout")
		var got []asked
		if err := json.Unmarshal(answer.Body, &got); err != nil {
			t.Fatalf("%s: %v in %s", kind, err, answer.Body)
		}
		q := query("A", models.Query{QueryType: kind, Services: []string{"checkout"}})
		q.TimeRange = backend.TimeRange{From: testTo.Add(-time.Hour), To: testTo}
		q.MaxDataPoints, q.Interval = 0, 0
		want := map[string]string{}
		if handlers[kind].ask != nil {
			want = exprs(t, d, q)
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %d queries, want %d", kind, len(got), len(want))
		}
		for _, one := range got {
			// The span of the last hour is a second longer or shorter.
			if one.Query != want[one.Name] {
				t.Errorf("%s, %s: got %s, want %s", kind, one.Name, one.Query, want[one.Name])
			}
		}
	}
	if answer := call(t, d, "queries?type=none"); answer.Status != 400 {
		t.Errorf("an unknown type: got %d %s", answer.Status, answer.Body)
	}
}

// healthy is a Prometheus with two exporters and rules, to which nothing is wrong.
func healthy(t *testing.T) (*fake, *Datasource) {
	f := startFake(t)
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"requests":[]}`))
	}))
	t.Cleanup(exporter.Close)
	f.tell("vector(1)", []promapi.Series{series(nil, 1)})
	f.tell("/api/v1/status/buildinfo", `{"status":"success","data":{"version":"3.5.0"}}`)
	f.tell("count by (version) ("+buildInfo+")", []promapi.Series{series([]string{"version", "1.0"}, 2)})
	f.tell("min(count_over_time("+buildInfo+"[5m]))", []promapi.Series{series(nil, 20)})
	f.tell("count("+objectiveRatio+")", []promapi.Series{series(nil, 6)})
	f.tell("max("+windowSeconds+")", []promapi.Series{series(nil, 2592000)})
	f.tell("/api/v1/status/flags", `{"status":"success","data":{"storage.tsdb.retention.time":"33d"}}`)
	f.tell("/api/v1/rules", rulesOf("ok", 0.1, 30))
	return f, f.datasource(t, map[string]any{"exporterUrls": []string{exporter.URL}})
}

func rulesOf(health string, took, due float64) string {
	return fmt.Sprintf(`{"status":"success","data":{"groups":[{"name":"other","interval":1,"evaluationTime":2,"rules":[{"health":"err"}]},
		{"name":"tcpslo-slo","interval":%g,"evaluationTime":%g,"rules":[{"name":"r","type":"recording","health":%q,"lastError":"boom"}]}]}}`, due, took, health)
}

func TestCheckHealth_says_that_all_is_well_where_it_is(t *testing.T) {
	_, d := healthy(t)
	got, err := d.CheckHealth(t.Context(), nil)
	if err != nil || got.Status != backend.HealthStatusOk || got.Message != "All is well: It answers: version 3.5.0." {
		t.Errorf("got %+v, %v\n%s", got, err, got.JSONDetails)
	}
	var details struct{ Findings []finding }
	if err := json.Unmarshal(got.JSONDetails, &details); err != nil || len(details.Findings) != 7 {
		t.Errorf("got %s, %v", got.JSONDetails, err)
	}
}

func TestDoctor_finds_each_thing_that_is_wrong_and_what_helps(t *testing.T) {
	for _, c := range []struct {
		name, expr string
		answer     any
		check      string
		verdict    verdict
		helps      string // words of the finding
	}{
		{"down", "vector(1)", 503, "Prometheus", bad, "Set the URL"},
		{"nothing scraped", "count by (version) (" + buildInfo + ")", []promapi.Series{}, "Exporters", bad, "scrape_configs"},
		{"two versions", "count by (version) (" + buildInfo + ")", []promapi.Series{series([]string{"version", "1.0"}, 1), series([]string{"version", "1.1"}, 1)}, "Exporters", warning, "same version"},
		{"one is down", "(up == 0) and on (job) " + buildInfo, []promapi.Series{series([]string{"instance", "b:10984"}, 0)}, "Exporters", warning, "/targets"},
		{"scraped rarely", "min(count_over_time(" + buildInfo + "[5m]))", []promapi.Series{series(nil, 3)}, "Scrape interval", warning, "scrape_interval"},
		{"no rules", "/api/v1/rules", `{"status":"success","data":{"groups":[]}}`, "Rules", bad, "rule_files"},
		{"a rule fails", "/api/v1/rules", rulesOf("err", 0.1, 30), "Rules", bad, "Load the rules"},
		{"slow rules", "/api/v1/rules", rulesOf("ok", 31, 30), "Rules", bad, "CPU"},
		{"no API of rules", "/api/v1/rules", 404, "Rules", unknown, ""},
		{"nothing recorded", "count(" + objectiveRatio + ")", []promapi.Series{}, "Recorded SLOs", bad, "recording rules"},
		{"kept for 15 days", "/api/v1/status/flags", `{"status":"success","data":{"storage.tsdb.retention.time":"0s"}}`, "Retention", bad, "Data is kept for 15d"},
		{"kept for 4 weeks", "/api/v1/status/flags", `{"status":"success","data":{"storage.tsdb.retention.time":"4w1d"}}`, "Retention", bad, "--storage.tsdb.retention.time=33d"},
		{"no flags", "/api/v1/status/flags", 404, "Retention", unknown, ""},
	} {
		f, d := healthy(t)
		f.tell(c.expr, c.answer)
		for _, got := range d.doctor(t.Context()) {
			want := good
			if got.Check == c.check {
				want = c.verdict
			}
			if got.Verdict != want || got.Check == c.check && (!strings.Contains(got.String(), c.helps) || (got.Fix == "") != (c.helps == "")) {
				t.Errorf("%s: got [%s] %s, want %s and %q", c.name, got.Verdict, got, want, c.helps)
			}
		}
		health, err := d.CheckHealth(t.Context(), nil)
		if want := map[bool]backend.HealthStatus{true: backend.HealthStatusError, false: backend.HealthStatusOk}[c.verdict == bad]; err != nil || health.Status != want {
			t.Errorf("%s: health is %+v, %v", c.name, health, err)
		}
	}
}

func TestParseDuration_reads_what_Prometheus_writes(t *testing.T) {
	for text, want := range map[string]time.Duration{"15d": 360 * time.Hour, "0s": 0, "1h30m": 90 * time.Minute, "1y": 8760 * time.Hour, "2w": 336 * time.Hour, "5ms": 5 * time.Millisecond} {
		if got, ok := parseDuration(text); !ok || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "5", "d", "5x", "-1d", "1d2"} {
		if got, ok := parseDuration(text); ok {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}

func TestJudge_calls_uneven_what_a_table_of_chi_square_does(t *testing.T) {
	// Upper 1 % points by degrees of freedom, of the NIST/SEMATECH handbook of statistical methods, section 1.3.6.7.4.
	for freedom, want := range map[int]float64{1: 6.635, 2: 9.210, 3: 11.345, 7: 18.475, 31: 52.191, 63: 92.010} {
		var group []promapi.Series
		for i := range freedom + 1 {
			group = append(group, series([]string{"worker", fmt.Sprint(i)}, 100))
		}
		got := judge("worker", group)
		if difference := got.critical/want - 1; difference > 0.02 || difference < -0.02 {
			t.Errorf("%d degrees of freedom: got %.3f, the table has %.3f", freedom, got.critical, want)
		}
		if got.verdict() != "even" || got.chiSquare != 0 || got.variation != 0 {
			t.Errorf("all have the same: got %+v", got)
		}
	}
	for verdict, counts := range map[string][]float64{"uneven": {60, 140}, "even": {95, 105}, "even: chance": {8, 12}, "too few": {1, 8}, "only one": {100}} {
		var group []promapi.Series
		for i, n := range counts {
			group = append(group, series([]string{"worker", fmt.Sprint(i)}, n))
		}
		if got := judge("worker", group); !strings.HasPrefix(verdict, got.verdict()) {
			t.Errorf("%v: got %s, want %s", counts, got.verdict(), verdict)
		}
	}
	if got := judge("worker", []promapi.Series{series([]string{"worker", "a"}, 0), series([]string{"worker", "b"}, 0)}); got.verdict() != "too few" || value(got.variation) != nil {
		t.Errorf("no connections: got %+v", got)
	}
}
