// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// stageLabels are the stages of a request, from the probe that measures them.
func stageLabels(t *testing.T) map[string]string {
	t.Helper()
	for _, builtin := range bpf.Probes() {
		definition, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range definition.Metrics {
			if metric.Name == "http_request_stage_seconds" {
				return metric.Values.Fields
			}
		}
	}
	t.Fatal("no metric http_request_stage_seconds")
	return nil
}

// busy is an exporter whose every metric has series and grows with each scrape.
type busy struct {
	registry *prometheus.Registry
	has      map[string]bool
	mu       sync.Mutex
	grow     []func()
}

// valuesOf are the values that a label has; one that doesn't matter has one.
func (b *busy) valuesOf(t *testing.T, label string) []string {
	switch label {
	case "service":
		return []string{"shop"}
	case "netns":
		return []string{""}
	case "verdict":
		return []string{"good", "bad"}
	case "ring":
		return []string{"rx", "tx"}
	case "state":
		return []string{"close_wait", "time_wait"}
	case "status_code":
		return []string{"200", "500"}
	case "worker", "cpu":
		return []string{"1", "2"}
	case "stage":
		var all []string
		for stage := range stageLabels(t) {
			all = append(all, stage)
		}
		return all
	}
	return []string{"some"}
}

// add adds a metric with all its series. A native histogram is one where Prometheus asks for it.
func (b *busy) add(t *testing.T, name, kind string, labels []string, native bool) {
	if b.has[name] {
		return
	}
	b.has[name] = true
	rows := [][]string{{}}
	for _, label := range labels {
		var more [][]string
		for _, row := range rows {
			for _, value := range b.valuesOf(t, label) {
				more = append(more, append(slices.Clone(row), value))
			}
		}
		rows = more
	}
	each := func(do func(row []string)) {
		b.grow = append(b.grow, func() {
			for _, row := range rows {
				do(row)
			}
		})
	}
	switch kind {
	case "counter":
		vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name}, labels)
		b.registry.MustRegister(vector)
		each(func(row []string) { vector.WithLabelValues(row...).Add(1000) })
	case "histogram":
		options := prometheus.HistogramOpts{Name: name, Buckets: []float64{0.01, 0.2, 1}}
		if native {
			options.NativeHistogramBucketFactor = 1.1
		}
		vector := prometheus.NewHistogramVec(options, labels)
		b.registry.MustRegister(vector)
		each(func(row []string) {
			for range 20 {
				vector.WithLabelValues(row...).Observe(0.15)
				vector.WithLabelValues(row...).Observe(0.5)
			}
		})
	default:
		vector := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name}, labels)
		b.registry.MustRegister(vector)
		value := map[string]float64{"tcpslo_slo_objective_ratio": 0.99, "tcpslo_slo_window_seconds": 30 * 24 * 3600}[name]
		each(func(row []string) { vector.WithLabelValues(row...).Set(max(value, 0.5)) })
	}
}

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, grow := range b.grow {
		grow()
	}
	promhttp.HandlerFor(b.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// newBusy makes every metric that the exporter has.
func newBusy(t *testing.T) *busy {
	t.Helper()
	b := &busy{registry: prometheus.NewRegistry(), has: map[string]bool{}}
	for _, builtin := range bpf.Probes() {
		definition, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range definition.Metrics {
			var labels []string
			for _, label := range metric.Labels {
				labels = append(labels, label.Name)
			}
			if metric.Values != nil {
				labels = append(labels, metric.Values.Label)
			}
			// Without a schema of its own it has the one of tcpslo.yml, which is native.
			native := metric.Buckets != nil && (metric.Buckets.NativeSchema == nil || metric.Buckets.NativeSchema.Native())
			b.add(t, names.Namespace+"_"+metric.Name, string(metric.Type), labels, native)
		}
	}
	own := slices.Concat(names.SLO, names.Self)
	for _, collector := range names.Host {
		own = append(own, collector.Metrics...)
	}
	for _, metric := range own {
		b.add(t, metric.Full(), metric.Type, metric.Labels, false)
	}
	return b
}

// startPrometheus runs Prometheus with the rules until the test ends. It scrapes and
// evaluates each second.
func startPrometheus(t *testing.T, target string, flags ...string) *child.Prometheus {
	t.Helper()
	folder := t.TempDir()
	m := rendered(t)
	for i := range m.Rules.Groups {
		m.Rules.Groups[i].Interval = ""
	}
	rules, err := m.Rules.YAML()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs: [{job_name: tcpslo, static_configs: [{targets: [%q]}]}]\n", target)
	for name, text := range map[string]string{"rules.yaml": string(rules), "prometheus.yml": config} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return labtest.StartPrometheus(t, folder, flags...)
}

// count asks for an expression and returns how many series it has now.
func count(p *child.Prometheus, expression string) (int, error) {
	var data struct{ Result []any }
	err := p.Query(expression, nil, &data)
	return len(data.Result), err
}

// A wrong label in a grouping or a join gives no error, but an empty panel. Both kinds of histograms must be
// tried: of one that is scraped as a native one there are no series of its buckets.
func TestEvery_panel_shows_something_where_every_metric_has_a_value(t *testing.T) {
	for _, kind := range []struct {
		name  string
		flags []string
	}{{"classic histograms", nil}, {"native histograms", []string{"--enable-feature=native-histograms"}}} {
		t.Run(kind.name, func(t *testing.T) {
			server := httptest.NewServer(newBusy(t))
			t.Cleanup(server.Close)
			p := startPrometheus(t, server.Listener.Addr().String(), kind.flags...)
			expressions := map[string]string{}
			for name, d := range asking(dashboards(t), prometheusSource) {
				for _, p := range d.shown() {
					for _, query := range p.Targets {
						expressions[name+": "+p.Title+" "+query.RefID] = inserted.Replace(query.Expr)
					}
				}
			}
			// An alert on a histogram must see both kinds, too.
			for _, rule := range allRules(rendered(t).Alerts) {
				if rule.Alert == "TcpsloNetpollDelay" {
					expressions[rule.Alert] = rule.Expr
				}
			}
			labtest.EventuallyWithin(t, 2*time.Minute, func() error {
				for what, expression := range expressions {
					if n, err := count(p, expression); err != nil {
						return err
					} else if n == 0 {
						return fmt.Errorf("%s shows nothing: %s", what, expression)
					}
					delete(expressions, what)
				}
				return nil
			})
			buckets, err := count(p, "tcpslo_http_request_duration_seconds_bucket")
			if err != nil {
				t.Fatal(err)
			}
			if native := buckets == 0; native != (kind.flags != nil) {
				t.Errorf("Prometheus has %d series of buckets: that was not %s", buckets, kind.name)
			}
		})
	}
}
