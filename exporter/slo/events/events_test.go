// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/slo"
)

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("tcpslo.yml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// request is one request.
type request struct {
	service, method, path, status string
	seconds                       float64
	aborted                       bool
}

// scraped makes the histograms that the probe would have made of requests.
func scraped(t testing.TB, c *config.Config, requests []request) Requests {
	t.Helper()
	var aborted []request
	for _, r := range requests {
		if r.aborted {
			aborted = append(aborted, r)
		}
	}
	other := &dto.MetricFamily{Name: proto.String("tcpslo_other")}
	return Find([]*dto.MetricFamily{other, durations(t, c, AbortedDurations, aborted), durations(t, c, RequestDurations, requests)})
}

// durations makes a histogram by the layout that the configuration asks for, nanoseconds in
// slots.
func durations(t testing.TB, c *config.Config, name string, requests []request) *dto.MetricFamily {
	t.Helper()
	classic, err := c.Histograms.RequestBuckets.Boundaries()
	if err != nil {
		t.Fatal(err)
	}
	layout, err := histogram.NewLayout(histogram.Spec{Classic: classic, Thresholds: c.LatencyThresholds(), UnitsPerOne: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	type series struct{ service, method, path, status string }
	slots := map[series][]uint64{}
	for _, r := range requests {
		s := series{r.service, r.method, r.path, r.status}
		if slots[s] == nil {
			slots[s] = make([]uint64, layout.Slots())
		}
		slots[s][layout.Slot(uint64(r.seconds*1e9))]++
	}
	f := &dto.MetricFamily{Name: proto.String(name), Type: dto.MetricType_HISTOGRAM.Enum()}
	for s, counts := range slots {
		snapshot := layout.Fold(histogram.Counts{}.Add(counts), 0)
		m := &dto.Metric{Histogram: &dto.Histogram{}}
		for _, label := range [][2]string{{"method", s.method}, {"path", s.path}, {"service", s.service}, {"status_code", s.status}} {
			m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(label[0]), Value: proto.String(label[1])})
		}
		snapshot.Write(m.Histogram)
		f.Metric = append(f.Metric, m)
	}
	return f
}

// lines are the series of a metric, by name of labels and sorted.
func lines(families []*dto.MetricFamily, name string) string {
	var all []string
	for _, f := range families {
		if f.GetName() != "tcpslo_"+name {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, pair := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%s", pair.GetName(), pair.GetValue()))
			}
			all = append(all, fmt.Sprintf("%s %v", strings.Join(labels, ","), m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	return strings.Join(all, "\n")
}

const shop = `
services:
  - name: shop
    slos:
      - {name: available, objective: 99.9}
      - {name: fast, objective: 99, latency: 250ms}
      - {name: cart, objective: 95, window: 7d, path: /cart, method: POST}
  - {name: unmeasured, slos: []}
`

func TestCount_judges_each_request_as_the_objectives_say(t *testing.T) {
	c := parse(t, shop)
	families := Families(Count(scraped(t, c, []request{
		{"shop", "GET", "/", "200", 0.001, false},
		{"shop", "GET", "/", "200", 0.25, false},     // at most the threshold is good
		{"shop", "GET", "/", "404", 0.250001, false}, // bad for fast alone
		{"shop", "GET", "/", "503", 0.001, false},
		{"shop", "GET", "/", "panic", 3, false},
		{"shop", "GET", "/ws", "hijacked", 60, false},
		{"shop", "GET", "/cart", "500", 0.1, false},
		{"shop", "POST", "/cart", "500", 0.1, false},
		{"shop", "POST", "/cart", "201", 1, false},
		{"unmeasured", "GET", "/", "500", 1, false},
		{"unlisted", "GET", "/x", "200", 0.21, false},
	}), time.Time{}, c, []string{"idle", "unlisted"}))
	for name, want := range map[string]string{
		"slo_events_total": `path=,service=idle,slo=availability,verdict=good 0
path=,service=idle,slo=availability,verdict=bad 0
path=,service=idle,slo=latency,verdict=good 0
path=,service=idle,slo=latency,verdict=bad 0
path=/,service=shop,slo=available,verdict=good 3
path=/,service=shop,slo=available,verdict=bad 2
path=/cart,service=shop,slo=available,verdict=good 1
path=/cart,service=shop,slo=available,verdict=bad 2
path=/ws,service=shop,slo=available,verdict=good 1
path=/ws,service=shop,slo=available,verdict=bad 0
path=/,service=shop,slo=fast,verdict=good 2
path=/,service=shop,slo=fast,verdict=bad 3
path=/cart,service=shop,slo=fast,verdict=good 0
path=/cart,service=shop,slo=fast,verdict=bad 3
path=/ws,service=shop,slo=fast,verdict=good 0
path=/ws,service=shop,slo=fast,verdict=bad 0
path=/cart,service=shop,slo=cart,verdict=good 1
path=/cart,service=shop,slo=cart,verdict=bad 1
path=/x,service=unlisted,slo=availability,verdict=good 1
path=/x,service=unlisted,slo=availability,verdict=bad 0
path=/x,service=unlisted,slo=latency,verdict=good 0
path=/x,service=unlisted,slo=latency,verdict=bad 1`,
		"slo_objective_ratio": `service=idle,slo=availability 0.999
service=idle,slo=latency 0.99
service=shop,slo=available 0.999
service=shop,slo=fast 0.99
service=shop,slo=cart 0.95
service=unlisted,slo=availability 0.999
service=unlisted,slo=latency 0.99`,
		"slo_window_seconds": `service=idle,slo=availability 2.592e+06
service=idle,slo=latency 2.592e+06
service=shop,slo=available 2.592e+06
service=shop,slo=fast 2.592e+06
service=shop,slo=cart 604800
service=unlisted,slo=availability 2.592e+06
service=unlisted,slo=latency 2.592e+06`,
		"slo_latency_threshold_seconds": `service=idle,slo=latency 0.2
service=shop,slo=fast 0.25
service=unlisted,slo=latency 0.2`,
	} {
		if got := lines(families, name); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// A series that begins at 1 is no increase to rate(), so what can be foreseen is 0 first.
func TestCount_shows_the_paths_of_the_configuration_before_they_are_seen(t *testing.T) {
	c := parse(t, `
services:
  - name: shop
    routes: ["GET /a/{id}", "POST /a/{id}", "POST /b", /c]
    slos:
      - {name: all, objective: 99}
      - {name: get, objective: 99, method: GET}
      - {name: one, objective: 99, path: /b}
  - {name: other, slos: [{name: one, objective: 99, path: /z}]}
`)
	var got []string
	for _, o := range Count(Requests{}, time.Time{}, c, nil) {
		got = append(got, fmt.Sprintf("%s %s %q", o.Service, o.Name, slices.Sorted(maps.Keys(o.Events))))
	}
	want := []string{`other one ["/z"]`, `shop all ["/a/{id}" "/b" "/c"]`, `shop get ["/a/{id}" "/c"]`, `shop one ["/b"]`}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What Count finds in the histogram is what judging each request by itself finds.
func TestCount_agrees_with_judging_each_request_by_itself(t *testing.T) {
	c := parse(t, strings.Replace(shop, "      - {name: cart", `
      - {name: stayed, objective: 99, client_aborts: ignore}
      - {name: patient, objective: 99, latency: 250ms, client_aborts: good}
      - {name: kept, objective: 99, latency: 250ms, client_aborts: bad}
      - {name: cart`, 1))
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(all ...string) string { return all[rng.IntN(len(all))] }
	var requests []request
	for range 20_000 {
		requests = append(requests, request{
			pick("shop", "unlisted", "unmeasured"), pick("GET", "POST"), pick("/", "/cart", "/x", "other"),
			pick("200", "204", "301", "404", "500", "503", "panic", "hijacked"), 0.25 * rng.ExpFloat64(), rng.IntN(3) == 0,
		})
	}
	type place struct{ service, slo, path string }
	want, total := map[place]slo.Events{}, 0
	for _, r := range requests {
		for _, d := range c.ServiceNamed(r.service).SLOs {
			if d.Method != "" && d.Method != r.method || d.Path != "" && d.Path != r.path {
				continue
			}
			e := want[place{r.service, d.Name, r.path}]
			switch d.Judge(slo.Request{Status: r.status, Aborted: r.aborted, Within: r.seconds*1e9 <= float64(d.Latency)}) {
			case slo.Good:
				e.Good++
			case slo.Bad:
				e.Bad++
			}
			want[place{r.service, d.Name, r.path}] = e
			total++
		}
	}
	got := map[place]slo.Events{}
	for _, o := range Count(scraped(t, c, requests), time.Time{}, c, nil) {
		for path, e := range o.Events {
			got[place{o.Service, o.Name, path}] = *e
		}
	}
	if !maps.Equal(got, want) || total < 20_000 {
		t.Errorf("of %d events:\ngot  %v\nwant %v", total, got, want)
	}
}

func TestMethods_are_those_that_requests_are_told_apart_by(t *testing.T) {
	var known []string
	for number := range uint64(100) {
		if name := metric.HTTPMethod(number); name != fmt.Sprint(number) && name != "other" {
			known = append(known, name)
		}
	}
	if !slices.Equal(known, slo.Methods) {
		t.Errorf("objectives know %q, requests %q", slo.Methods, known)
	}
}

func BenchmarkCount_1000_histograms(b *testing.B) {
	c := config.Default()
	var requests []request
	for i := range 1000 {
		requests = append(requests, request{fmt.Sprint("service", i/250), "GET", fmt.Sprint("/", i/4), []string{"200", "201", "404", "500"}[i%4], 0.1, false})
	}
	f := scraped(b, c, requests)
	b.ReportAllocs()
	for b.Loop() {
		Families(Count(f, time.Time{}, c, nil))
	}
}
