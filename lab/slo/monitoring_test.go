// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/lab/labtest"
	"github.com/tcpslo/tcpslo/mixin"
)

// faster is what all durations of the mixin and of Alertmanager are divided by, up to a whole second: an hour is 24 s, and 30
// days are 17,280 s. What is tested is what is shipped, but for that. The exporter observes all Go services, Prometheus among
// them, so the rules are told which one is meant. An increase is lost if Prometheus gets no turn for as long as it takes, so those
// are not as short as they would be.
const faster = 150

const accelerated = `
local promql = import 'lib/promql.libsonnet';
local isDuration(x) = std.isString(x) && std.length(x) > 1 && std.member('smhd', x[std.length(x) - 1]) &&
  std.all([std.member('0123456789', c) for c in std.stringChars(x[:std.length(x) - 1])]);
local faster(x) =
  if isDuration(x) then '%ds' % std.ceil(promql.seconds(x) / FASTER)
  else if std.isArray(x) then std.map(faster, x)
  else if std.isObject(x) then std.mapWithKey(function(_, y) faster(y), x)
  else x;
faster((import 'config.libsonnet')._config) + {
  tcpsloSelector: 'service="shop"',
  intervals+: { staged: '10s' },
}
`

func write(t *testing.T, folder, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// prometheus scrapes a target and tells an Alertmanager of what fires.
func prometheus(t *testing.T, target, alertmanager string) *child.Prometheus {
	t.Helper()
	m, err := mixin.Evaluate("../../mixin", strings.ReplaceAll(accelerated, "FASTER", strconv.Itoa(faster)))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, rules := range map[string]mixin.Rules{"rules.yaml": m.Rules, "alerts.yaml": m.Alerts} {
		text, err := rules.YAML()
		if err != nil {
			t.Fatal(err)
		}
		write(t, folder, name, text)
	}
	write(t, folder, "prometheus.yml", fmt.Appendf(nil, `
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}
rule_files: [rules.yaml, alerts.yaml]
scrape_configs: [{job_name: tcpslo, static_configs: [{targets: [%q]}]}]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
`, target, alertmanager))
	// Prometheus forgets a value after five minutes unless it is told otherwise.
	return labtest.StartPrometheus(t, folder, "--query.lookback-delta=12s")
}

// value is that of the only series of an expression.
func value(p *child.Prometheus, expression string) (float64, error) {
	var data struct{ Result []struct{ Value [2]any } }
	if err := p.Query(expression, nil, &data); err != nil {
		return 0, err
	}
	if len(data.Result) != 1 {
		return 0, fmt.Errorf("%d series of %s, want 1", len(data.Result), expression)
	}
	return strconv.ParseFloat(fmt.Sprint(data.Result[0].Value[1]), 64)
}

// wantValue compares an expression with a value, to the last bit.
func wantValue(p *child.Prometheus, expression string, want float64) error {
	have, err := value(p, expression)
	if err == nil && have != want {
		err = fmt.Errorf("%s is %v, want %v", expression, have, want)
	}
	return err
}

// told are the notifications that an Alertmanager has sent.
type told struct {
	mu    sync.Mutex
	began time.Time
	all   []notification
}

type notification struct {
	Receiver, Status string
	Alerts           []struct {
		Status string
		Labels map[string]string
	}
	after time.Duration
}

func (o *told) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := notification{after: time.Since(o.began)}
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		n.Status = err.Error()
	}
	o.all = append(o.all, n)
}

// String is a line for each notification, and when it came.
func (o *told) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines strings.Builder
	for _, n := range o.all {
		fmt.Fprintf(&lines, "%6.1f s  %s\n", n.after.Seconds(), n)
	}
	return lines.String()
}

func (n notification) String() string {
	var alerts []string
	for _, a := range n.Alerts {
		alerts = append(alerts, short(a.Labels)+" "+a.Status)
	}
	slices.Sort(alerts)
	return n.Receiver + " " + n.Status + ": " + strings.Join(alerts, ", ")
}

// short is how an alert is written here.
func short(labels map[string]string) string { return labtest.AlertName(labels, "slo") }

// to is what a receiver was told, without what was repeated.
func (o *told) to(receiver string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for _, n := range o.all {
		if n.Receiver == receiver {
			lines = append(lines, strings.TrimPrefix(n.String(), receiver+" "))
		}
	}
	return slices.Compact(lines)
}

// alertmanager runs with the example, whose receivers are told.
func alertmanager(t *testing.T) (*child.Alertmanager, *told) {
	t.Helper()
	o := &told{began: time.Now()}
	webhook := httptest.NewServer(o)
	t.Cleanup(webhook.Close)
	text, err := os.ReadFile("../../rules/alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	hurry(t, config["route"].(map[string]any))
	for _, receiver := range config["receivers"].([]any) {
		receiver.(map[string]any)["webhook_configs"] = []any{map[string]any{"url": webhook.URL}}
	}
	if text, err = yaml.Marshal(config); err != nil {
		t.Fatal(err)
	}
	return labtest.StartAlertmanager(t, write(t, t.TempDir(), "alertmanager.yml", text)), o
}

// hurry divides the durations of a route and of those below it.
func hurry(t *testing.T, route map[string]any) {
	t.Helper()
	for key, value := range route {
		if key == "group_wait" || strings.HasSuffix(key, "_interval") {
			duration, err := time.ParseDuration(value.(string))
			if err != nil {
				t.Fatal(err)
			}
			route[key] = fmt.Sprintf("%.0fs", math.Ceil(duration.Seconds()/faster))
		}
	}
	routes, _ := route["routes"].([]any)
	for _, below := range routes {
		hurry(t, below.(map[string]any))
	}
}
