// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

var known = []string{"accept", "fastopen", "http", "listen", "skb", "window"}

// designExample is the file of the design document.
const designExample = `# tcpslo.yml: everything has a default
services:
  - name: checkout
    match: {executable: "*/checkout", ports: [8080]}          # also command_line, cgroup, user; all given must match
    routes: ["/users/{id}"]                                   # for routers that do not fill Request.Pattern
    slos:
      - {name: availability, objective: 99.9, window: 30d}
      - {name: fast, objective: 99, latency: 200ms, path: "/users/{id}"}
collectors: {window: {collapse_below: 4096}, skb: false}
histograms: {native_schema: 3, request_buckets: {exponential: {start: 0.001, factor: 2, count: 12}}}
limits: {paths_per_service: 200, slow_requests: 1000}
probe_files: ["/etc/tcpslo/probes/*.yaml"]
`

func parse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("tcpslo.yml", []byte(text), known)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParse_reads_the_example_of_the_design(t *testing.T) {
	c := parse(t, designExample)
	if len(c.Services) != 1 {
		t.Fatalf("%d services", len(c.Services))
	}
	s := c.Services[0]
	wantSLOs := []slo.Definition{
		{Name: "availability", Objective: 99.9, Window: 720 * time.Hour},
		{Name: "fast", Objective: 99, Window: 720 * time.Hour, Latency: 200 * time.Millisecond, Path: "/users/{id}"},
	}
	if s.Name != "checkout" || s.Match.Executable.String() != "*/checkout" || !slices.Equal(s.Match.Ports, []uint16{8080}) || !slices.Equal(s.SLOs, wantSLOs) {
		t.Errorf("service %+v, match %+v", s, s.Match)
	}
	if template, ok := s.Route("GET", "/users/7"); !ok || template != "/users/{id}" {
		t.Errorf("/users/7 is of route %q, %v", template, ok)
	}
	options := struct {
		CollapseBelow int `yaml:"collapse_below"`
	}{CollapseBelow: 1}
	if err := c.Collectors["window"].Options(&options); err != nil || options.CollapseBelow != 4096 {
		t.Errorf("options of window: %+v, %v", options, err)
	}
	if !c.CollectorEnabled("window", false) || c.CollectorEnabled("skb", true) || !c.CollectorEnabled("http", true) || c.CollectorEnabled("http", false) {
		t.Errorf("collectors %+v", c.Collectors)
	}
	if c.Histograms.NativeSchema != 3 || c.Limits != Default().Limits || !slices.Equal(c.ProbeFiles, []string{"/etc/tcpslo/probes/*.yaml"}) {
		t.Errorf("histograms %+v limits %+v probe files %v", c.Histograms, c.Limits, c.ProbeFiles)
	}
	want := []float64{0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048}
	if got, err := c.Histograms.RequestBuckets.Boundaries(); err != nil || !slices.Equal(got, want) {
		t.Errorf("request buckets %v, %v", got, err)
	}
}

func TestParse_of_an_empty_file_is_the_default(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "{}", "services:\ncollectors:\nhistograms:\nlimits:\nprobe_files:\n"} {
		if got := parse(t, text); !reflect.DeepEqual(got, Default()) {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestParse_keeps_the_defaults_beside_what_is_written(t *testing.T) {
	c := parse(t, "limits: {listeners: 100, series_retention: 5m}\nhistograms: {native_schema: none, request_buckets: {list: [0.1, 1]}}")
	want := Default().Limits
	want.Listeners, want.SeriesRetention = 100, 5*time.Minute
	if c.Limits != want {
		t.Errorf("limits %+v, want %+v", c.Limits, want)
	}
	if got, _ := c.Histograms.RequestBuckets.Boundaries(); c.Histograms.NativeSchema != histogram.SchemaNone || !slices.Equal(got, []float64{0.1, 1}) {
		t.Errorf("schema %v boundaries %v", c.Histograms.NativeSchema, got)
	}
}

func TestNativeSchema_of_a_probe_wins_over_the_configuration(t *testing.T) {
	c := Default()
	if got := c.NativeSchema(histogram.Buckets{}); got != 3 {
		t.Errorf("without its own: %v, want 3", got)
	}
	if got := c.NativeSchema(histogram.Buckets{NativeSchema: new(histogram.Schema(5))}); got != 5 {
		t.Errorf("with its own: %v, want 5", got)
	}
	if got := c.NativeSchema(histogram.Buckets{NativeSchema: new(histogram.SchemaNone)}); got != histogram.SchemaNone {
		t.Errorf("with none: %v", got)
	}
}

func TestParse_gives_default_objectives_unless_the_list_is_empty(t *testing.T) {
	c := parse(t, "services: [{name: a}, {name: b, slos: []}, {name: c, slos: [{name: x, objective: 95, window: 7d}]}]")
	want := []slo.Definition{
		{Name: "availability", Objective: 99.9, Window: 30 * 24 * time.Hour},
		{Name: "latency", Objective: 99, Window: 30 * 24 * time.Hour, Latency: 200 * time.Millisecond},
	}
	if got := c.Services[0].SLOs; !slices.Equal(got, want) {
		t.Errorf("without slos: %+v", got)
	}
	if got := c.Services[1].SLOs; len(got) != 0 {
		t.Errorf("with an empty list: %+v", got)
	}
	if got := c.Services[2].SLOs; !slices.Equal(got, []slo.Definition{{Name: "x", Objective: 95, Window: 7 * 24 * time.Hour}}) {
		t.Errorf("with one: %+v", got)
	}
}

func TestLatencyThresholds_are_each_once_and_increase(t *testing.T) {
	c := parse(t, `
services:
  - {name: a, slos: [{name: x, objective: 99, latency: 1s}, {name: y, objective: 90, latency: 200ms}]}
  - {name: b, slos: [{name: x, objective: 99, latency: 50ms}, {name: y, objective: 99.9}]}
  - {name: c}
`)
	if got := c.LatencyThresholds(); !slices.Equal(got, []float64{0.05, 0.2, 1}) {
		t.Errorf("got %v", got)
	}
	if got := Default().LatencyThresholds(); !slices.Equal(got, []float64{0.2}) {
		t.Errorf("by default: %v", got)
	}
}

func TestParse_refuses_with_place_and_reason(t *testing.T) {
	service := func(rest string) string { return "services:\n  - name: a\n    " + rest }
	slo := func(rest string) string { return service("slos:\n      - {name: x, " + rest + "}") }
	for _, c := range []struct{ name, yaml, want string }{
		{"a typo at the top", "colectors: {}", `tcpslo.yml:1:1: unknown key "colectors", did you mean "collectors"?`},
		{"a typo in limits", "limits: {listener: 1}", `tcpslo.yml:1:10: unknown key "listener", did you mean "listeners"?`},
		{"a typo in a service", service("mtach: {}"), `tcpslo.yml:3:5: unknown key "mtach", did you mean "match"?`},
		{"a typo in a match", service("match: {prots: [1]}"), `tcpslo.yml:3:13: unknown key "prots", did you mean "ports"?`},
		{"a typo in an objective", slo("objective: 99, latensy: 1s"), `tcpslo.yml:4:34: unknown key "latensy", did you mean "latency"?`},
		{"an unknown collector", "collectors: {fastopne: true}", `tcpslo.yml:1:14: unknown collector "fastopne", did you mean "fastopen"?`},
		{"an unknown collector with a dot", "collectors: {a.b: true}", `tcpslo.yml:1:14: unknown collector "a.b", must be one of "accept", "fastopen", "http", "listen", "skb", "window"`},
		{"a collector that is a number", "collectors: {skb: 1}", `tcpslo.yml:1:19: collector "skb" must be true, false or a mapping of options`},
		{"a collector that is nothing", "collectors: {skb: }", `tcpslo.yml:1:19: "skb" must not be empty`},
		{"a collector twice", "collectors: {skb: true, skb: false}", `tcpslo.yml:1:25: duplicate key "skb"`},
		{"an empty service", "services: [null]", `tcpslo.yml:1:12: a service must not be empty`},
		{"a service without name", "services: [{match: {ports: [1]}}]", `tcpslo.yml:1:12: missing required key "name"`},
		{"an empty name", `services: [{name: ""}]`, `tcpslo.yml:1:19: the name of a service must not be empty`},
		{"a name with a line break", `services: [{name: "a\nb"}]`, `tcpslo.yml:1:19: the name of a service must be printable without spaces around it, got "a\nb"`},
		{"a name with a space before it", `services: [{name: " a"}]`, `tcpslo.yml:1:19: the name of a service must be printable without spaces around it, got " a"`},
		{"a very long name", "services: [{name: " + strings.Repeat("x", 129) + "}]", `tcpslo.yml:1:19: the name of a service must not be longer than 128 bytes, got 129`},
		{"a service twice", "services:\n  - {name: a, match: {ports: [1]}}\n  - {name: a, match: {ports: [2]}}", `tcpslo.yml:3:12: duplicate service "a"`},
		{"a match twice", "services:\n  - {name: a, match: {ports: [1, 2], user: www}}\n  - {name: b, match: {user: www, ports: [2, 1]}}",
			`tcpslo.yml:3:22: matches the same processes as service "a", which comes first`},
		{"a match that another has by default", "services:\n  - {name: a}\n  - {name: b, match: {executable: a}}",
			`tcpslo.yml:3:22: matches the same processes as service "a", which comes first`},
		{"a match by default that another has", "services:\n  - {name: b, match: {executable: a}}\n  - name: a",
			`tcpslo.yml:3:5: matches the same processes as service "b", which comes first`},
		{"an empty match", service("match: {}"), `tcpslo.yml:3:12: "match" must have at least one of executable, ports, command_line, cgroup, user`},
		{"a match of the wrong type", service("match: checkout"), `tcpslo.yml:3:12: "match" must be a mapping, got string "checkout"`},
		{"port 0", service("match: {ports: [0]}"), `tcpslo.yml:3:21: a port must be between 1 and 65535, got 0`},
		{"a port too large", service("match: {ports: [80, 65536]}"), `tcpslo.yml:3:25: "ports[1]" must be an integer between 0 and 65535, got number 65536`},
		{"a port twice", service("match: {ports: [80, 81, 80]}"), `tcpslo.yml:3:29: duplicate port 80`},
		{"a bad regular expression", service(`match: {command_line: "a("}`), "tcpslo.yml:3:27: \"command_line\": error parsing regexp: missing closing ): `a(`"},
		{"a bad glob", service(`match: {executable: "a["}`), `tcpslo.yml:3:25: "executable": a [ has no ] after at least one character, write \[ for the character itself`},
		{"a bad set in a glob", service(`match: {cgroup: "[z-a]"}`), `tcpslo.yml:3:21: "cgroup": a set in brackets is invalid`},
		{"a glob that ends in a backslash", service(`match: {cgroup: 'a\'}`), `tcpslo.yml:3:21: "cgroup": nothing follows the last backslash`},
		{"an empty glob", service(`match: {executable: ""}`), `tcpslo.yml:3:25: "executable": pattern is empty`},
		{"a user that is a list", service(`match: {user: [a]}`), `tcpslo.yml:3:19: "user" must be the name of a user or its number`},
		{"a negative user", service(`match: {user: -1}`), `tcpslo.yml:3:19: "user" must be the name of a user or its number`},
		{"a bad route", service(`routes: ["/a", "/b/{"]`), `tcpslo.yml:3:20: route "/b/{" is invalid: bad wildcard segment (must end with '}')`},
		{"routes that conflict", service(`routes: ["/a/{x}", "/{y}/b"]`), `tcpslo.yml:3:24: route "/{y}/b" conflicts with pattern "/a/{x}": /{y}/b and /a/{x} both match some paths, like "/a/b", but neither is more specific than the other`},
		{"an objective of 100", slo("objective: 100"), `tcpslo.yml:4:30: "objective" must be a percentage above 0 and below 100, got 100`},
		{"an objective of 0", slo("objective: 0"), `tcpslo.yml:4:30: "objective" must be a percentage above 0 and below 100, got 0`},
		{"a negative objective", slo("objective: -1"), `tcpslo.yml:4:30: "objective" must be a percentage above 0 and below 100, got -1`},
		{"an objective that is a word", slo("objective: high"), `tcpslo.yml:4:30: "objective" must be a number, got string "high"`},
		{"no objective", slo("window: 30d"), `tcpslo.yml:4:9: missing required key "objective"`},
		{"an objective without name", service("slos: [{objective: 99}]"), `tcpslo.yml:3:12: missing required key "name"`},
		{"a window too short", slo("objective: 99, window: 30m"), `tcpslo.yml:4:42: "window" must be between 1h and 366d, got 30m0s`},
		{"a window too long", slo("objective: 99, window: 367d"), `tcpslo.yml:4:42: "window" must be between 1h and 366d, got 8808h0m0s`},
		{"a window without unit", slo("objective: 99, window: 30"), `tcpslo.yml:4:42: "window" must be a duration with a unit, such as 200ms or 30d, got number 30`},
		{"a latency too short", slo("objective: 99, latency: 10ns"), `tcpslo.yml:4:43: "latency" must be between 1us and 1h, got 10ns`},
		{"a latency too long", slo("objective: 99, latency: 2h"), `tcpslo.yml:4:43: "latency" must be between 1us and 1h, got 2h0m0s`},
		{"a path with a method", slo(`objective: 99, path: "GET /a"`), `tcpslo.yml:4:40: "path" must be a route without method, got "GET /a"; write path: /a and method: GET`},
		{"a path that is none", slo(`objective: 99, path: users`), `tcpslo.yml:4:40: route "users" has path "users", which must start with /`},
		{"a method in lower case", slo("objective: 99, method: get"), `tcpslo.yml:4:42: unknown method "get", did you mean "GET"?`},
		{"a policy for aborts that is none", slo("objective: 99, client_aborts: ignored"), `tcpslo.yml:4:49: unknown policy "ignored", did you mean "ignore"?`},
		{"a policy for aborts that is like none", slo("objective: 99, client_aborts: count"), `tcpslo.yml:4:49: unknown policy "count", must be one of "judge", "good", "bad", "ignore"`},
		{"several policies for aborts", slo("objective: 99, client_aborts: [good]"), `tcpslo.yml:4:49: "client_aborts" must be a string, got a list`},
		{"two objectives that differ in a policy that is the default", service("slos: [{name: x, objective: 99}, {name: y, objective: 98, client_aborts: judge}]"),
			`tcpslo.yml:3:38: SLO "y" is about the same requests and window as SLO "x"`},
		{"a path that is no route", service("routes: [\"GET /users/{id}\", /carts]\n    slos: [{name: x, objective: 99, path: \"/user/{id}\"}]"),
			`tcpslo.yml:4:43: "/user/{id}" is none of the routes of service "a", did you mean "/users/{id}"?`},
		{"an objective too near to 100", slo("objective: 99.99999999999"), `tcpslo.yml:4:30: "objective" must not be nearer to 0 or 100 than a trillionth, got 99.99999999999`},
		{"more paths of objectives than of the service", service("slos: [{name: x, objective: 99, path: /a}, {name: y, objective: 99, path: /b}]\nlimits: {paths_per_service: 1}"),
			`tcpslo.yml:3:11: objectives of service "a" are about 2 paths, and limits.paths_per_service is 1: raise it`},
		{"an objective twice", slo("objective: 99}\n      - {name: x, objective: 95, latency: 1s"), `tcpslo.yml:5:16: duplicate SLO "x"`},
		{"two objectives about the same", slo("objective: 99, latency: 1s}\n      - {name: y, objective: 95, latency: 1000ms"), `tcpslo.yml:5:9: SLO "y" is about the same requests and window as SLO "x"`},
		{"a schema that doesn't exist", "histograms: {native_schema: 9}", `tcpslo.yml:1:29: "native_schema" must be an integer between -4 and 8, or none`},
		{"buckets of two kinds", "histograms: {request_buckets: {list: [1], linear: {start: 1, width: 1, count: 1}}}",
			`tcpslo.yml:1:31: "request_buckets": give exactly one of exponential, linear and list, got 2`},
		{"a schema in the wrong place", "histograms: {request_buckets: {list: [1], native_schema: 3}}",
			`tcpslo.yml:1:43: "native_schema" of requests is that of histograms, one level up`},
		{"no paths", "limits: {paths_per_service: 0}", `tcpslo.yml:1:29: "paths_per_service" must be between 1 and 10000, got 0`},
		{"too many slow requests", "limits: {slow_requests: 100001}", `tcpslo.yml:1:25: "slow_requests" must be between 0 and 100000, got 100001`},
		{"too short for a slow request", "services: [{name: a, slower_than: 10ns}]", `tcpslo.yml:1:35: "slower_than" must be between 1us and 1h, got 10ns`},
		{"too long for a slow request", "services: [{name: a, slower_than: 2h}]", `tcpslo.yml:1:35: "slower_than" must be between 1us and 1h, got 2h0m0s`},
		{"too few listeners", "limits: {listeners: 15}", `tcpslo.yml:1:21: "listeners" must be between 16 and 1000000, got 15`},
		{"too few connections", "limits: {connections: 63}", `tcpslo.yml:1:23: "connections" must be between 64 and 4194304, got 63`},
		{"series that stay too long", "limits: {series_retention: 2h}", `tcpslo.yml:1:28: "series_retention" must be between 0s and 1h, got 2h0m0s`},
		{"a negative limit", "limits: {series_retention: -1s}", `tcpslo.yml:1:28: "series_retention" must be a duration such as 200ms, 5m or 30d, got string "-1s"`},
		{"a bad glob of probe files", `probe_files: ["a", "b["]`, `tcpslo.yml:1:20: "b[" is no valid glob`},
		{"an empty glob of probe files", `probe_files: [""]`, `tcpslo.yml:1:15: "" is no valid glob`},
		{"no YAML at all", "services: [", `tcpslo.yml:1:1: did not find expected node content`},
		{"everything at once, in the order of the file", "limits: {listeners: 1}\nservices: [{name: a, slos: [{name: x, objective: 200}]}, {name: a, macth: 5}]\ncollectors: {lisen: true}",
			`tcpslo.yml:1:21: "listeners" must be between 16 and 1000000, got 1
tcpslo.yml:2:50: "objective" must be a percentage above 0 and below 100, got 200
tcpslo.yml:2:65: duplicate service "a"
tcpslo.yml:2:68: unknown key "macth", did you mean "match"?
tcpslo.yml:3:14: unknown collector "lisen", did you mean "listen"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := Parse("tcpslo.yml", []byte(c.yaml), known)
			if config != nil || err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			var all strictyaml.Errors
			if err != nil && !errors.As(err, &all) {
				t.Errorf("error of type %T", err)
			}
		})
	}
}

func TestParse_takes_two_objectives_that_count_other_requests(t *testing.T) {
	c := parse(t, `
services:
  - name: a
    routes: [/x, /y]
    slos:
      - {name: all, objective: 99}
      - {name: x, objective: 99, path: /x}
      - {name: posts to x, objective: 99, path: /x, method: POST}
      - {name: posts, objective: 99, method: POST}
      - {name: quick, objective: 99, latency: 1s}
      - {name: this week, objective: 99, window: 7d}
      - {name: patient, objective: 99, client_aborts: ignore}
      - {name: kept, objective: 99, client_aborts: bad}
`)
	for i, want := range map[int]slo.AbortPolicy{0: slo.JudgeAborts, 6: slo.IgnoreAborts, 7: slo.AbortsBad} {
		if got := c.Services[0].SLOs[i].ClientAborts; got != want {
			t.Errorf("SLO %d has the policy %s, want %s", i, got, want)
		}
	}
	if got := c.Services[0].SLOs[2]; got != (slo.Definition{Name: "posts to x", Objective: 99, Window: slo.DefaultWindow, Path: "/x", Method: "POST"}) {
		t.Errorf("got %+v", got)
	}
	if got := c.Services[0].SLOPaths(); !slices.Equal(got, []string{"/x"}) {
		t.Errorf("paths of objectives %q", got)
	}
	if c.Doubts != nil {
		t.Errorf("doubts %v", c.Doubts)
	}
}

func TestDoubts_have_their_place_in_the_file(t *testing.T) {
	c := parse(t, "services:\n  - name: a\n    slos: [{name: x, objective: 99.9, window: 1d}]")
	const want = "tcpslo.yml:3:47: a window of 1d is shorter than the 3d that the slowest alert looks back, which tells little of it"
	if c.Doubts.Error() != want {
		t.Errorf("got  %v\nwant %s", c.Doubts, want)
	}
}

// A service that is not listed has objectives too.
func TestRecounts_is_about_objectives_that_keep_their_name(t *testing.T) {
	const file = "services: [{name: a, slos: [{name: x, objective: 99, latency: 1s}, {name: y, objective: 99}]}]"
	for text, want := range map[string]bool{
		file: false,
		"services: [{name: a, slos: [{name: x, objective: 95, latency: 1s, window: 7d}, {name: y, objective: 99}]}]":           false,
		"services: [{name: a, slos: [{name: y, objective: 99}]}, {name: b}]":                                                   false,
		"services: [{name: a, slos: [{name: x, objective: 99, latency: 2s}, {name: y, objective: 99}]}]":                       true,
		"services: [{name: a, slos: [{name: x, objective: 99, latency: 1s}, {name: y, objective: 99, path: /y}]}]":             true,
		"services: [{name: a, slos: [{name: x, objective: 99, latency: 1s, client_aborts: bad}, {name: y, objective: 99}]}]":   true,
		"services: [{name: a, slos: [{name: x, objective: 99, latency: 1s, client_aborts: judge}, {name: y, objective: 99}]}]": false,
		"services: [{name: a, slos: [{name: x, objective: 99}, {name: y, objective: 99, latency: 1s}]}]":                       true,
		"": false,
		"services: [{name: b, slos: [{name: latency, objective: 99, latency: 1s}]}]": true,
	} {
		a, b := parse(t, file), parse(t, text)
		if a.Recounts(b) != want || b.Recounts(a) != want {
			t.Errorf("%s: %v and %v, want %v", text, a.Recounts(b), b.Recounts(a), want)
		}
	}
}

func TestOptions_of_a_collector_are_decoded_strictly(t *testing.T) {
	c := parse(t, "collectors:\n  window: {colapse_below: 4096}\n  skb: true")
	options := struct {
		CollapseBelow int `yaml:"collapse_below"`
	}{CollapseBelow: 7}
	err := c.Collectors["window"].Options(&options)
	if want := `tcpslo.yml:2:12: unknown key "colapse_below", did you mean "collapse_below"?`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	for _, name := range []string{"skb", "not mentioned"} {
		if err := c.Collectors[name].Options(&options); err != nil || options.CollapseBelow != 7 {
			t.Errorf("%s: %+v, %v", name, options, err)
		}
	}
}

func TestLoad_reads_a_file_and_takes_globs_from_its_directory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tcpslo.yml")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tcpslo.yml", `probe_files: ["*.probe.yaml", "a.probe.yaml", "none-*.yaml"]`)
	write("b.probe.yaml", "")
	write("a.probe.yaml", "")
	c, err := Load(path, known)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "a.probe.yaml"), filepath.Join(dir, "b.probe.yaml")}
	if got, err := c.ProbePaths(); err != nil || !slices.Equal(got, want) {
		t.Errorf("probe files %v, %v, want %v", got, err, want)
	}

	write("tcpslo.yml", `probe_files: [missing.yaml]`)
	if c, err = Load(path, known); err != nil {
		t.Fatal(err)
	}
	wantErr := `probe_files "` + filepath.Join(dir, "missing.yaml") + `": no such file`
	if _, err := c.ProbePaths(); err == nil || err.Error() != wantErr {
		t.Errorf("got  %v\nwant %s", err, wantErr)
	}

	write("tcpslo.yml", "limit: {}")
	wantErr = path + `:1:1: unknown key "limit", did you mean "limits"?`
	if _, err := Load(path, known); err == nil || err.Error() != wantErr {
		t.Errorf("got  %v\nwant %s", err, wantErr)
	}

	if _, err := Load(filepath.Join(dir, "absent.yml"), known); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot read configuration: ") {
		t.Errorf("a file that is not there: %v", err)
	}
	if c, err := Load("", known); err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("without a path: %+v, %v", c, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		designExample, "", "services: [{name: a}, {name: a}]", "services: [null]", "collectors: {\"a:.[\": true}",
		"services: &s [{name: a, slos: *s}]", "probe_files: ['[']", "services: [{name: a, match: {user: 1, cgroup: '[!a]*'}}]",
		"services: [{name: a, routes: ['GET /{x...}', '/{$}']}]", "histograms: {request_buckets: {list: [1e-300, 1]}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("tcpslo.yml", data, known)
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v and error %v", c, err)
		}
		if err != nil {
			return
		}
		// What was accepted can be used.
		name, service := c.ServiceFor(Process{Executable: "/usr/bin/a", Ports: []uint16{80}})
		service.Route("GET", "/")
		if name == "" {
			t.Fatal("a process with an executable has no name")
		}
		if _, err := c.Histograms.RequestBuckets.Boundaries(); err != nil {
			t.Fatalf("accepted buckets are no good: %v", err)
		}
		for _, threshold := range c.LatencyThresholds() {
			if !(threshold > 0) {
				t.Fatalf("threshold %v", threshold)
			}
		}
	})
}
