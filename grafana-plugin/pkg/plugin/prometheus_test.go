// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// scrape is how far the samples of the exposition are apart.
const scrape = 15 * time.Second

// exposition is what is scraped from two hours before testTo until then, in the OpenMetrics format.
type exposition struct{ bytes.Buffer }

// add writes a series: its value at each scrape, by the seconds since testFrom.
func (e *exposition) add(name string, labels []string, value func(since float64) float64) {
	var text []string
	for i := 0; i < len(labels); i += 2 {
		text = append(text, fmt.Sprintf("%s=%q", labels[i], labels[i+1]))
	}
	for at := testFrom.Add(-time.Hour); !at.After(testTo); at = at.Add(scrape) {
		if v := value(at.Sub(testFrom).Seconds()); !math.IsNaN(v) {
			fmt.Fprintf(e, "%s{%s} %g %d\n", name, strings.Join(text, ","), v, at.Unix())
		}
	}
}

// grows is a counter that grows by so much in the hour before testFrom, and in the hour from there on.
func grows(before, hour float64) func(float64) float64 {
	return func(since float64) float64 {
		if since < 0 {
			return before * (since + 3600) / 3600
		}
		return before + hour*since/3600
	}
}

func always(v float64) func(float64) float64 { return func(float64) float64 { return v } }

// startPrometheus runs the real program on what was scraped.
func startPrometheus(t *testing.T, e *exposition) string {
	t.Helper()
	promtool := testenv.Need(t, "promtool", "prometheus")
	dir := t.TempDir()
	metrics, blocks, config := filepath.Join(dir, "metrics"), filepath.Join(dir, "data"), filepath.Join(dir, "prometheus.yml")
	rules, err := filepath.Abs("../../../rules/tcpslo_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(metrics, append(e.Bytes(), "# EOF\n"...), 0o600)
	os.WriteFile(config, []byte("rule_files: ["+rules+"]\n"), 0o600)
	if out, err := exec.Command(promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", metrics, blocks).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	return "http://" + labtest.StartPrometheus(t, dir, "--storage.tsdb.retention.time=100y").Address
}

// evil is a name that would end a string, a selector and a query if it were let.
const evil = `x"} or vector(1) or up{a=~".*|\` + "\n"

// hour is what happens to checkout in the hour of the test: of 36,000 requests 360 fail, 324 of them on one
// route; in the hour before it was 36.
func hour() *exposition {
	e := &exposition{}
	for _, name := range []string{"checkout", evil} {
		of := []string{"service", name, "slo", "availability"}
		e.add(sloEvents, with(of, "path", "/orders/{id}", "verdict", "bad"), grows(0, 324))
		e.add(sloEvents, with(of, "path", "/", "verdict", "bad"), grows(36, 36))
		e.add(sloEvents, with(of, "path", "/", "verdict", "good"), grows(35964, 35640))
		e.add(objectiveRatio, of, always(0.999))
		e.add(windowSeconds, of, always(2592000))
		e.add(errorRatio, with(of, "window", "30d"), always(396.0/72000))
		e.add(budgetRemaining, with(of, "window", "30d"), func(since float64) float64 { return 1 - max(0, since)/7200 })
		e.add(budgetExhaustion, with(of, "window", "30d"), always(3600))
		e.add(badEventsByPath, with(of, "path", "/orders/{id}"), always(1))
		for _, burn := range burnRates() {
			e.add(burn, of, func(since float64) float64 { return map[bool]float64{true: 10, false: 0.5}[since >= 1800] })
		}
		for _, tier := range slo.Tiers() {
			e.add(burnThreshold, with(of, "burn_tier", tier.Name, "long", "x", "short", "y"), always(tier.Factor(30*24*time.Hour)))
		}
		e.add("ALERTS", with(of, "alertname", burnAlert, "alertstate", "firing", "burn_tier", "medium", "severity", "critical", "long", "6h", "short", "30m"),
			func(since float64) float64 {
				return map[bool]float64{true: 1, false: math.NaN()}[since >= 1800 && since < 2700]
			})
	}
	e.add(requestDuration+"_count", []string{"service", "checkout", "method", "POST", "path", "/orders/{id}", "status_code", "503"}, grows(0, 324))
	e.add(requestDuration+"_count", []string{"service", "checkout", "method", "GET", "path", "/", "status_code", "panic"}, grows(36, 36))
	e.add(requestDuration+"_count", []string{"service", "checkout", "method", "GET", "path", "/", "status_code", "200"}, grows(35964, 35640))
	for stage, seconds := range map[string]float64{"accept_queue": 900, "handler": 2700} {
		e.add(requestStage+"_sum", []string{"service", "checkout", "path", "/", "stage", stage}, grows(seconds, seconds))
		for le, n := range map[string]float64{"0.1": 50, "0.2": 90, "+Inf": 100} {
			e.add(requestStage+"_bucket", []string{"service", "checkout", "path", "/", "stage", stage, "le", le}, grows(n, n))
		}
	}
	for worker, n := range map[string]float64{"1/3": 2400, "1/4": 1200} {
		e.add(accepted, []string{"service", "checkout", "listener", "0.0.0.0:8080", "netns", "", "worker", worker}, grows(n, n))
	}
	for cpu, n := range map[string]float64{"0": 1800, "1": 1800} {
		e.add(queued, []string{"service", "checkout", "listener", "0.0.0.0:8080", "netns", "", "cpu", cpu}, grows(n, n))
	}
	at := []string{"service", "checkout", "listener", "0.0.0.0:8080", "netns", ""}
	e.add(queueDepth, at, func(since float64) float64 { return max(0, since) / 60 }) // one more each minute
	e.add(queueLimit, at, always(128))
	e.add(listenDrops, with(at, "reason", "syn_refused"), grows(0, 7200)) // two a second
	return e
}

// at reads a field of a frame: by its name and the value that one label has.
func at(t *testing.T, frame *data.Frame, name, label string, row int) any {
	t.Helper()
	for _, field := range frame.Fields {
		if field.Name != name {
			continue
		}
		for _, v := range field.Labels {
			if v == label {
				v, ok := field.ConcreteAt(row)
				if !ok {
					return nil
				}
				return v
			}
		}
		if label == "" {
			v, _ := field.ConcreteAt(row)
			return v
		}
	}
	t.Fatalf("no field %q of %q in\n%s", name, label, must(frame.StringTable(-1, -1)))
	return nil
}

func must(text string, err error) string { return text + fmt.Sprint(err) }

func TestThe_frames_of_a_real_Prometheus_have_the_numbers_of_the_events_that_it_scraped(t *testing.T) {
	d := newDatasource(t, startPrometheus(t, hour()), nil)
	d.clock = func() time.Time { return testTo }
	get := func(kind string, frame int, more ...func(*models.Query)) *data.Frame {
		t.Helper()
		q := models.Query{QueryType: kind, Services: []string{"checkout"}}
		for _, change := range more {
			change(&q)
		}
		answer := ask(t, d, query("A", q))
		if answer.Error != nil || len(answer.Frames) <= frame {
			t.Fatalf("%s: got %d frames, %v", kind, len(answer.Frames), answer.Error)
		}
		for _, notice := range answer.Frames[0].Meta.Notices {
			t.Errorf("%s: %s", kind, notice.Text)
		}
		return answer.Frames[frame]
	}
	check := func(what string, got, want any) {
		t.Helper()
		if a, ok := got.(float64); ok {
			if b, ok := want.(float64); ok && math.Abs(a-b) <= 1e-9*math.Abs(b) { // the last digits of a float
				return
			}
		}
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}

	summary := get(models.SLOSummary, 0)
	for name, want := range map[string]any{"service": "checkout", "slo": "availability", "state": "critical", "worst_route": "/orders/{id}", "source": "tcpslo",
		"objective": 0.999, "sli": 1 - 396.0/72000, "budget_remaining": 0.5, "burn": 10.0, "exhaustion": 3600.0, "window": 2592000.0} {
		check("summary: "+name, at(t, summary, name, "", 0), want)
	}
	check("summary: rows", summary.Rows(), 1)

	budget := get(models.Budget, 0)
	for row := range 7 { // every ten minutes, a twelfth of the budget is gone
		check("budget", at(t, budget, "remaining", "checkout", row), 1-float64(row)/12)
	}

	burn, states := get(models.Burn, 0), get(models.Burn, 1)
	for _, tier := range slo.Tiers() {
		check("burn of "+tier.Name, at(t, burn, "burn", tier.Name, 6), 10/tier.Factor(30*24*time.Hour))
	}
	for row, want := range []data.EnumItemIndex{0, 0, 0, 3, 3, 3, 3} { // 10 is above the 6 of the tier "medium"
		check("state", at(t, states, "state", "checkout", row), want)
	}

	shares := get(models.LatencyStages, 0)
	check("share of the accept queue", at(t, shares, "stage", "accept_queue", 6), 0.25)
	check("share of the handler", at(t, shares, "stage", "handler", 6), 0.75)
	quantile := get(models.LatencyStages, 0, func(q *models.Query) { q.Mode, q.Quantile = models.ModeQuantile, 0.7 })
	check("quantile", at(t, quantile, "stage", "handler", 6), 0.1+0.1*20/40) // 20 of the 40 between 0.1 and 0.2

	balance := get(models.AcceptBalance, 0)
	check("share of a worker", at(t, balance, "share", "1/3", 6), 2.0/3)
	check("share of a CPU", at(t, balance, "share", "1", 6), 0.5)
	judged := get(models.AcceptBalance, 1)
	for row, want := range []map[string]any{
		{"by": "worker", "verdict": "uneven", "connections": 3600.0, "variation": 1.0 / 3, "largest": 4.0 / 3, "chi_square": 400.0},
		{"by": "cpu", "verdict": "even", "connections": 3600.0, "variation": 0.0, "largest": 1.0, "chi_square": 0.0}} {
		for name, want := range want {
			check("balance: "+name, at(t, judged, name, "", row), want)
		}
	}

	queue := get(models.ListenQueue, 0)
	check("queue", at(t, queue, "queued", "checkout", 6), 60.0)
	check("limit", at(t, queue, "limit", "checkout", 6), 128.0)
	check("refused", at(t, queue, "refused", "checkout", 6), 2.0)
	check("overflows in", at(t, queue, "overflows_in", "checkout", 6), (128.0+1-60)*60)

	causes := get(models.Causes, 0)
	check("causes: rows", causes.Rows(), 4)
	check("causes: first", at(t, causes, "sentence", "", 0), "90 % of the bad events of checkout/availability are of /orders/{id} (324 of 360); before, 0 %.")
	check("causes: second", at(t, causes, "sentence", "", 1), "90 % of the failed requests of checkout are POST /orders/{id} with 503 (324 of 360); before, 0 %.")
	check("causes: last", at(t, causes, "sentence", "", 3), "10 % of the failed requests of checkout are GET / with panic (36 of 360); before, 100 %.")

	breaches := get(models.Breaches, 0)
	check("breaches", breaches.Rows(), 1)
	check("breach", at(t, breaches, "time", "", 0), testFrom.Add(30*time.Minute))
	// A series that ends without a mark of staleness is repeated for five minutes.
	check("breach", at(t, breaches, "timeEnd", "", 0), testFrom.Add(50*time.Minute))
}

func TestA_real_Prometheus_finds_names_whatever_is_in_them_and_takes_them_for_nothing_else(t *testing.T) {
	d := newDatasource(t, startPrometheus(t, hour()), map[string]any{"selector": []models.Matcher{{Name: "absent", Value: ""}}})
	d.clock = func() time.Time { return testTo }
	for _, services := range [][]string{{evil}, {evil, "none"}} {
		answer := ask(t, d, query("A", models.Query{QueryType: models.SLOSummary, Services: services}))
		if answer.Error != nil || answer.Frames[0].Rows() != 1 || at(t, answer.Frames[0], "service", "", 0) != evil {
			t.Errorf("%q: got %+v", services, answer)
		}
	}
	q := models.Query{SLOs: []string{evil}, Services: []string{"x|.*", evil}, Paths: []string{evil, ".*"}, Listeners: []string{evil}, NetNS: evil}
	for _, q.QueryType = range models.Types {
		if handlers[q.QueryType].ask == nil {
			continue
		}
		if answer := ask(t, d, query("A", q)); answer.Error != nil || answer.Frames[0].Rows() != 0 {
			t.Errorf("%s: got %+v, want nothing", q.QueryType, answer)
		}
	}
	sender := call(t, d, "listeners?service=checkout")
	if string(sender.Body) != `["0.0.0.0:8080"]` || sender.Status != 200 {
		t.Errorf("listeners: got %d %s", sender.Status, sender.Body)
	}
	if got := call(t, d, "services?service=.*"); string(got.Body) != `[]` {
		t.Errorf("services that are called .*: got %s", got.Body)
	}
}

func TestThe_doctor_knows_a_real_Prometheus_its_rules_and_its_retention(t *testing.T) {
	d := newDatasource(t, startPrometheus(t, hour()), nil)
	d.clock = func() time.Time { return testTo }
	found := map[string]finding{}
	labtest.Eventually(t, func() error {
		for _, f := range d.doctor(t.Context()) {
			found[f.Check] = f
		}
		if f := found["Rules"]; f.Verdict != good {
			return fmt.Errorf("%s", f)
		}
		return nil
	})
	for check, want := range map[string]verdict{"Prometheus": good, "Exporters": bad, "Scrape interval": unknown, "Rules": good, "Recorded SLOs": good, "Retention": good, "Slow requests": warning} {
		if found[check].Verdict != want {
			t.Errorf("%s: got %s, want %s", check, found[check], want)
		}
	}
	if got := found["Retention"].Text; got != "Data is kept for 36500d, the longest window is 30d." {
		t.Errorf("got %s", got)
	}
}

func TestEvery_name_that_is_asked_for_is_recorded_or_told_by_an_exporter(t *testing.T) {
	rules, err := os.ReadFile("../../../rules/tcpslo_rules.yaml")
	alerts, err2 := os.ReadFile("../../../rules/tcpslo_alerts.yaml")
	metrics, err3 := os.ReadFile("../../../docs/metrics.md")
	stageFile, err4 := os.ReadFile("../../../bpf/timeline.yaml")
	if err != nil || err2 != nil || err3 != nil || err4 != nil {
		t.Fatal(err, err2, err3, err4)
	}
	for _, name := range append(burnRates(), objectiveRatio, windowSeconds, errorRatio, budgetRemaining, budgetExhaustion, burnThreshold, badEventsByPath, names.RecordedWindowEvents, names.RecordedWindowBadEvents) {
		if !strings.Contains(string(rules), "record: "+name+"\n") {
			t.Errorf("%s is not recorded", name)
		}
	}
	if !strings.Contains(string(alerts), "alert: "+burnAlert+"\n") {
		t.Errorf("there is no alert %s", burnAlert)
	}
	for _, name := range []string{sloEvents, requestDuration, requestStage, accepted, queued, queueDepth, queueLimit, listenDrops} {
		if !strings.Contains(string(metrics), "`"+name+"`") {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
	for _, stage := range stages {
		if !strings.Contains(string(stageFile), stage+": value."+stage+"\n") {
			t.Errorf("stage %s is not in bpf/timeline.yaml", stage)
		}
	}
}

// call asks for a resource.
func call(t *testing.T, d *Datasource, address string) (got *backend.CallResourceResponse) {
	t.Helper()
	path, _, _ := strings.Cut(address, "?")
	err := d.CallResource(t.Context(), &backend.CallResourceRequest{Method: http.MethodGet, Path: path, URL: address},
		backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error { got = r; return nil }))
	if err != nil {
		t.Fatal(err)
	}
	return got
}
