// SPDX-License-Identifier: Apache-2.0

package openslo

import (
	"os"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/config"
)

func TestImport_writes_what_can_be_counted_and_says_what_is_ignored(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := Import([]string{"shop.yaml"}, [][]byte{text})
	const want = `services:
  - name: "checkout"
    slos:
      - {name: "availability", objective: 99.9, window: 28d}
      - {name: "pay-is-fast", objective: 99, window: 30d, latency: 300ms, path: "/pay", method: POST}
  - name: "search"
    slos:
      - {name: "search", objective: 95, window: 30d, latency: 250ms}
`
	if got := in.YAML(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if in.Refused != nil {
		t.Errorf("refused: %v", in.Refused)
	}
	const ignored = `shop.yaml:31:3: alert policies of SLO "availability": the mixin alerts on the burn rate of every SLO
shop.yaml:27:17: labels job in the queries of SLO "availability": a service is what executes the file of its name, or what match says
shop.yaml:60:5: the query of SLO "search": its events were data points, and now are requests
shop.yaml:69:7: AlertPolicy "page": alerts are those of the mixin, which burn-rate alerts every SLO in the same way`
	if got := in.Ignored.Error(); got != ignored {
		t.Errorf("ignored:\n%s\nwant\n%s", got, ignored)
	}
	if _, err := config.Parse("tcpslo.yml", []byte(in.YAML()), nil); err != nil {
		t.Errorf("what it writes is refused: %v", err)
	}
}

// sloOf is an SLO with parts that may be replaced.
func sloOf(replace ...string) string {
	const base = `apiVersion: openslo/v1
kind: SLO
metadata: {name: x}
spec:
  service: a
  indicator:
    spec:
      ratioMetric:
        good: {metricSource: {spec: {query: 'hits{code!~"5.."}'}}}
        total: {metricSource: {spec: {query: 'hits'}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.99}]
`
	return strings.NewReplacer(replace...).Replace(base)
}

func TestImport_refuses_with_place_and_reason(t *testing.T) {
	const good, total = `'hits{code!~"5.."}'`, `query: 'hits'`
	const notErrors = `f.yaml:7:5: SLO "x" is left out: its queries do not say that 5xx are bad and all else is good`
	threshold := func(query, objective string) string {
		return `apiVersion: openslo/v1
kind: SLO
metadata: {name: x}
spec:
  service: a
  indicator: {spec: {thresholdMetric: {metricSource: {spec: {query: '` + query + `'}}}}}
  objectives: [{target: 0.99` + objective + `}]
`
	}
	for _, c := range []struct{ name, text, want string }{
		{"the one that all others are made from", sloOf(), ""},
		{"another version", sloOf("openslo/v1", "openslo/v1alpha"), `f.yaml:1:13: apiVersion "openslo/v1alpha" is not read, only "openslo/v1"`},
		{"an unknown kind", sloOf("kind: SLO", "kind: Slo"), `f.yaml:2:7: unknown kind "Slo"`},
		{"a typo", sloOf("budgetingMethod", "budgetMethod"), `f.yaml:12:3: unknown key "budgetMethod", did you mean "budgetingMethod"?`},
		{"no name", sloOf("{name: x}", "{}"), `f.yaml:3:11: missing required key "name"`},
		{"a service without name", sloOf("service: a", `service: ""`), `f.yaml:5:12: SLO "x" is left out: the name of a service must not be empty`},
		{"no spec", "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: x}\n", `f.yaml:1:1: SLO "x" has no spec`},
		{"time slices", sloOf("Occurrences", "Timeslices"), `f.yaml:12:20: SLO "x" is left out: its budget is of Timeslices, and here requests are counted (Occurrences)`},
		{"a month", sloOf("30d", "1M"), `f.yaml:11:27: SLO "x" is left out: "1M" is no window of minutes, hours, days or weeks, such as 28d`},
		{"a calendar", sloOf("isRolling: true", "isRolling: false"), `f.yaml:11:16: SLO "x" is left out: its window is one of the calendar, and here all are rolling`},
		{"a window too short", sloOf("30d", "5m"), `f.yaml:13:16: SLO "x" is left out: "window" must be between 1h and 366d, got 5m0s`},
		{"no target", sloOf("target: 0.99", "displayName: y"), `f.yaml:13:16: SLO "x" is left out: an objective has either target or targetPercent`},
		{"a target of 1", sloOf("0.99", "1.0"), `f.yaml:13:16: SLO "x" is left out: "objective" must be a percentage above 0 and below 100, got 100`},
		{"two targets about the same", sloOf("[{target: 0.99}]", "[{target: 0.99}, {target: 0.9}]"), `f.yaml:13:32: SLO "x" is left out: it is about the same requests and window as SLO "x-1"`},
		{"an unknown indicator", sloOf("  indicator:\n    spec:\n      ratioMetric:\n        good: {metricSource: {spec: {query: 'hits{code!~\"5..\"}'}}}\n        total: {metricSource: {spec: {query: 'hits'}}}\n", "  indicatorRef: y\n"),
			`f.yaml:6:17: SLO "x" is left out: there is no indicator "y" in these files`},
		{"good that is not all but 5xx", sloOf(good, `'hits{code=~"2..|3.."}'`), notErrors},
		{"bad that is 4xx too", sloOf(good, `'hits{code!~"4..|5.."}'`), notErrors},
		{"one status", sloOf(good, `'hits{code!="500"}'`), notErrors},
		{"good that is bad", sloOf(good, `'hits{code=~"5.."}'`), notErrors},
		{"queries without status", sloOf(good, `'good_total'`), notErrors},
		{"a total without errors", sloOf(total, `query: 'hits{code!~"5.."}'`), notErrors},
		{"several routes", sloOf(good, `'hits{code!~"5..",path=~"/a|/b"}'`), `f.yaml:7:5: SLO "x" is left out: its query is about requests with path=~"/a|/b", and an SLO is about one route or all`},
		{"all methods but one", sloOf(good, `'hits{code!~"5..",method!="GET"}'`), `f.yaml:7:5: SLO "x" is left out: its query is about requests with method!="GET", and an SLO is about one method or all`},
		{"good requests of a route among all", sloOf(good, `'hits{code!~"5..",path="/a"}'`), `f.yaml:7:5: SLO "x" is left out: the queries of its ratio are about different requests`},
		{"bad that is quick", sloOf("good:", "bad:", good, `'d_seconds_bucket{le="1"}'`), `f.yaml:7:5: SLO "x" is left out: its query does not say which requests were quick`},
		{"a boundary without unit", sloOf(good, `'d_bucket{le="1"}'`), `f.yaml:7:5: SLO "x" is left out: no metric of its query ends in a unit such as _seconds`},
		{"a boundary that is none", sloOf(good, `'d_seconds_bucket{le="+Inf"}'`), `f.yaml:7:5: SLO "x" is left out: a latency must be between 1us and 1h, got +Inf times 1s`},
		{"a ratio that is computed elsewhere", sloOf("good:", "raw:"), `f.yaml:7:5: SLO "x" is left out: its indicator must have good and total, or bad and total, to tell what it counts`},
		{"a threshold that is to be exceeded", threshold("a_seconds", ", op: gte, value: 1"), `f.yaml:6:14: SLO "x" is left out: an objective of a threshold needs value, and op: lte, to be a latency`},
		{"a threshold without value", threshold("a_seconds", ", op: lte"), `f.yaml:6:14: SLO "x" is left out: an objective of a threshold needs value, and op: lte, to be a latency`},
		{"a threshold of no time", threshold("queue_length", ", op: lte, value: 1"), `f.yaml:6:14: SLO "x" is left out: no metric of its query ends in a unit such as _seconds`},
		{"a threshold in two units", threshold("a_seconds + b_ms", ", op: lte, value: 1"), `f.yaml:6:14: SLO "x" is left out: its query has metrics in several units`},
		{"no YAML", "a: [", "f.yaml:1:1: did not find expected node content"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Import([]string{"f.yaml"}, [][]byte{[]byte(c.text)})
			got := ""
			if in.Refused != nil {
				got = in.Refused.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestImport_knows_the_ways_to_write_5xx(t *testing.T) {
	for query, want := range map[string]bool{
		`hits{code!~"5.."}`: true, `hits{status !~ "5xx"}`: true, `hits{status_code!~"^5.*$"}`: true, `hits{code!~"(5[0-9]{2})"}`: true,
		`hits{code!~'5[0-9][0-9]'}`: true, `hits{code!~"5\\d\\d"}`: true, `hits{code=~"2..|3..|4.."}`: true, `hits{code=~"1..|2..|3..|4.."}`: true,
		`hits{code!~"5"}`: false, `hits{code!~"50."}`: false, `hits{code!~".*"}`: false, `hits{code=~"2.."}`: false, `hits{code=~"2..|3..|4..|5.."}`: false, `hits{code!~""}`: false,
	} {
		if _, err := ofRatio(query, "hits", true); (err == nil) != want {
			t.Errorf("%s: %v, want it to be read: %v", query, err, want)
		}
	}
}

func TestImport_finds_indicators_in_any_file(t *testing.T) {
	in := Import([]string{"a.yaml", "b.yaml"}, [][]byte{
		[]byte("apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: x}\nspec: {service: a, indicatorRef: y, objectives: [{targetPercent: 99.95}]}"),
		[]byte("apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: y}\nspec: {ratioMetric: {bad: {metricSource: {spec: {query: 'n{code=~\"5..\"}'}}}, total: {metricSource: {spec: {query: n}}}}}"),
	})
	const want = "services:\n  - name: \"a\"\n    slos:\n      - {name: \"x\", objective: 99.95, window: 30d}\n"
	if got := in.YAML(); got != want || in.Refused != nil {
		t.Errorf("got %s, refused %v", got, in.Refused)
	}
}

// Whatever is imported is a configuration.
func FuzzImport(f *testing.F) {
	shop, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shop)
	f.Add([]byte(sloOf()))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := Import([]string{"f.yaml"}, [][]byte{text})
		if len(in.Services) == 0 {
			return
		}
		if _, err := config.Parse("tcpslo.yml", []byte(in.YAML()), nil); err != nil {
			t.Fatalf("%v\n%s", err, in.YAML())
		}
	})
}
