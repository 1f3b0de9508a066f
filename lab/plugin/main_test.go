// SPDX-License-Identifier: Apache-2.0

// Package plugin tests the Grafana plugin on the real thing: a Go server that knows nothing of it, the exporter, Prometheus
// with the rules, and the executable of the plugin's backend, asked over gRPC as Grafana asks it. What it answers
// is compared with what the client of the server has written down.
package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/genproto/pluginv2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/lab/labtest"
	"github.com/tcpslo/tcpslo/mixin"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// entry is a request in the client's log.
type entry struct {
	method, path, status string
	local                string // the client's address
}

// client keeps a log. Each request has a connection of its own: one that is used again makes net/http ask twice
// where a server hangs up.
type client struct {
	server string
	mu     sync.Mutex
	log    []entry
}

// round is what the client asks for, again and again: of ten requests three fail, and one takes long.
var round = []struct {
	times             int
	method, url, path string
	status            string // panic for no answer
}{
	{4, "GET", "/hello/you", "/hello/{name}", "200"},
	{2, "POST", "/items", "/items", "201"},
	{2, "GET", "/status/503", "/status/{code}", "503"},
	{1, "GET", "/panic", "/panic", "panic"},
	{1, "GET", "/slow?ms=1300", "/slow", "200"},
}

// threshold is well between what is slow and what isn't.
const threshold = "1s"

// rounds sends some rounds, several at a time.
func (c *client) rounds(t *testing.T, each, atOnce int) {
	t.Helper()
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for range each {
				for _, r := range round {
					for range r.times {
						c.ask(t, r.method, r.url, r.path, r.status)
					}
				}
			}
		})
	}
	all.Wait()
}

func (c *client) ask(t *testing.T, method, target, path, want string) {
	e := entry{method: method, path: path, status: "panic"}
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { e.local = info.Conn.LocalAddr().String() }})
	request, err := http.NewRequestWithContext(ctx, method, c.server+target, strings.NewReader(""))
	if err != nil {
		t.Error(err)
		return
	}
	answer, err := (&http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err == nil {
		answer.Body.Close()
		e.status = strconv.Itoa(answer.StatusCode)
	}
	if e.status != want {
		t.Errorf("%s %s: %s (%v), want %s", method, target, e.status, err, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, e)
}

// count is how many requests of the log are as match says.
func (c *client) count(match func(entry) bool) (n float64) {
	for _, e := range c.log {
		if match(e) {
			n++
		}
	}
	return n
}

// gate stands between Prometheus and the exporter. While it is shut nothing can be scraped, so that what Prometheus sees is
// what was before and what was after.
type gate struct {
	sync.RWMutex
	exporter http.Handler
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.RLock()
	defer g.RUnlock()
	g.exporter.ServeHTTP(w, r)
}

func newGate(t *testing.T, exporter string) *gate {
	t.Helper()
	to, err := url.Parse(exporter)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	return &gate{exporter: proxy}
}

// startPrometheus runs the real program with the rules of the mixin, but for their intervals and for the minute that they
// wait for scrapes to end, until the test ends. It scrapes and evaluates each second.
func startPrometheus(t *testing.T, target string) *child.Prometheus {
	t.Helper()
	folder := t.TempDir()
	m, err := mixin.Evaluate("../../mixin", `{ increaseDelay: '1s' }`)
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range map[string]mixin.Rules{"rules.yaml": m.Rules, "alerts.yaml": m.Alerts} {
		text, err := rules.YAML()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, name), regexp.MustCompile(`(?m)^    interval: .*\n`).ReplaceAllString(string(text), ""))
	}
	write(t, filepath.Join(folder, "prometheus.yml"), fmt.Sprintf(
		"global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml, alerts.yaml]\nscrape_configs: [{job_name: tcpslo, static_configs: [{targets: [%q]}]}]\n", target))
	return labtest.StartPrometheus(t, folder)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run starts a program and kills it when the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	ended, err := child.Start(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
}

// series asks for an expression: the value of each series now, by its labels' values in the order given.
func series(p *child.Prometheus, expr string, labels ...string) (map[string]float64, error) {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	err := p.Query(expr, nil, &answer)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, s := range answer.Result {
		var key []string
		for _, label := range labels {
			key = append(key, s.Metric[label])
		}
		if all[strings.Join(key, " ")], err = strconv.ParseFloat(s.Value[1].(string), 64); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// backend is the running executable of the plugin.
type backend struct {
	client  pluginv2.DataClient
	context *pluginv2.PluginContext
}

// startBackend builds the executable as the Makefile does, starts it as Grafana does (hashicorp/go-plugin: a cookie in its
// environment, a line on its output that says where it listens), and tells it about a datasource.
func startBackend(t *testing.T, prometheusURL, exporterURL string) *backend {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gpx_tcpslo_slo")
	build := exec.Command("go", "build", "-tags", "arrow_json_stdlib", "-o", binary, "github.com/tcpslo/tcpslo/grafana-plugin/pkg")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "grafana_plugin_type=datasource", "PLUGIN_UNIX_SOCKET_DIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run(t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	parts := strings.Split(strings.TrimSpace(line), "|")
	if err != nil || len(parts) < 5 || parts[2] != "unix" {
		t.Fatalf("the handshake is %q, %v", line, err)
	}
	connection, err := grpc.NewClient("unix:"+parts[3], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	settings, err := json.Marshal(map[string]any{"exporterUrls": []string{exporterURL}})
	if err != nil {
		t.Fatal(err)
	}
	return &backend{pluginv2.NewDataClient(connection), &pluginv2.PluginContext{
		PluginId: "tcpslo-slo-datasource", OrgId: 1,
		DataSourceInstanceSettings: &pluginv2.DataSourceInstanceSettings{Id: 1, Uid: "tcpslo", Url: prometheusURL, JsonData: settings},
	}}
}

// query asks one, the JSON of a panel's target, about a range of time.
func (b *backend) query(query map[string]any, from, to time.Time) (data.Frames, error) {
	text, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := b.client.QueryData(ctx, &pluginv2.QueryDataRequest{PluginContext: b.context, Queries: []*pluginv2.DataQuery{{
		RefId: "A", MaxDataPoints: 500, IntervalMS: 1000, Json: text,
		TimeRange: &pluginv2.TimeRange{FromEpochMS: from.UnixMilli(), ToEpochMS: to.UnixMilli()},
	}}})
	if err != nil {
		return nil, err
	}
	response := answer.Responses["A"]
	if response == nil || response.Error != "" {
		return nil, fmt.Errorf("%s: %v", text, response)
	}
	frames, err := data.UnmarshalArrowFrames(response.Frames)
	if err == nil && len(frames) == 0 {
		err = fmt.Errorf("%s: no frame", text)
	}
	return frames, err
}

// rows reads a table: a row is its cells by name; null is nil.
func rows(frame *data.Frame) (all []map[string]any) {
	for i := range frame.Rows() {
		row := map[string]any{}
		for _, field := range frame.Fields {
			if cell, there := field.ConcreteAt(i); there {
				row[field.Name] = cell
			}
		}
		all = append(all, row)
	}
	return all
}

// points are the values of a field, without nulls, in the order of time.
func points(frame *data.Frame, name string, labels data.Labels) (values []float64) {
	for _, field := range frame.Fields {
		if field.Name != name || !field.Labels.Contains(labels) {
			continue
		}
		for i := range field.Len() {
			if v, there := field.ConcreteAt(i); there {
				values = append(values, v.(float64))
			}
		}
	}
	return values
}
