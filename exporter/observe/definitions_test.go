// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

// withProbes is a configuration with probe files of the user's own; files maps
// their names to their text.
func withProbes(t *testing.T, files map[string]string) (*config.Config, string) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := config.Default()
	c.ProbeFiles = []string{filepath.Join(folder, "*.yaml")}
	return c, folder
}

const query = "name: query\nhelp: Q.\ngo_function: {function: main.query, metric: query_seconds}\n"

func TestDefinitions_are_the_built_in_probes_and_the_users_own(t *testing.T) {
	c, _ := withProbes(t, map[string]string{"query.yaml": query})
	c.Collectors = map[string]config.Collector{"listen": {Enabled: false}, "service": {Enabled: false}}
	definitions, objects, err := Definitions(c)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, d := range definitions {
		got[d.Name] = true
		if len(objects[d.Name]) == 0 {
			t.Errorf("probe %q has no object", d.Name)
		}
	}
	if !got["http"] || !got["accept"] || !got["query"] || !got["service"] || got["listen"] {
		t.Errorf("got %v: want http, accept, query, and service, which can't be switched off, but not listen", got)
	}
}

func TestDefinitions_refuse_what_does_not_go_together(t *testing.T) {
	rename := func(old, new string) string { return strings.Replace(query, old, new, 1) }
	for _, test := range []struct {
		sentence string
		files    map[string]string
		want     string // $ stands for the folder
	}{
		{"two probes with one name", map[string]string{"a.yaml": query, "b.yaml": rename("query_seconds", "other_seconds")},
			`$/b.yaml: duplicate probe "query", it is in $/a.yaml too`},
		{"a probe called like a built-in one", map[string]string{"a.yaml": rename("name: query", "name: http")},
			`$/a.yaml: duplicate probe "http", it is in bpf/http.yaml too`},
		{"two metrics with one name", map[string]string{"a.yaml": query, "b.yaml": rename("name: query", "name: other")},
			`$/b.yaml: duplicate metric "query_seconds", it is in $/a.yaml too
$/b.yaml: duplicate metric "query_seconds_bucket", it is in $/a.yaml too
$/b.yaml: duplicate metric "query_seconds_sum", it is in $/a.yaml too
$/b.yaml: duplicate metric "query_seconds_count", it is in $/a.yaml too`},
		{"a metric called like one of the exporter", map[string]string{"a.yaml": rename("query_seconds", "uprobe_trap_seconds")},
			`$/a.yaml: duplicate metric "uprobe_trap_seconds", it is in the exporter itself too`},
		{"a metric called like the count of a histogram", map[string]string{"a.yaml": rename("query_seconds", "http_request_duration_seconds_count")},
			`$/a.yaml: duplicate metric "http_request_duration_seconds_count", it is in bpf/http.yaml too`},
		{"a probe without its object", map[string]string{"own.yaml": "name: own\nhelp: O.\nprograms:\n  - {name: a, variants: [raw_tp/sched_switch]}\n"},
			`$/own.yaml: object of probe "own": open $/own.bpf.o: no such file or directory; compile it with: clang -g -O2 -target bpf -c`},
		{"mistakes in two files", map[string]string{"a.yaml": "name: a\n", "b.yaml": "nme: b\n"},
			`$/a.yaml:1:1: missing required key "help"
$/b.yaml:1:1: unknown key "nme", did you mean "name"?
$/b.yaml:1:1: missing required key "name"
$/b.yaml:1:1: missing required key "help"`},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			c, folder := withProbes(t, test.files)
			_, _, err := Definitions(c)
			if want := strings.ReplaceAll(test.want, "$", folder); err == nil || err.Error() != want {
				t.Errorf("got\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestDefinitions_refuse_a_probe_file_that_is_named_and_not_there(t *testing.T) {
	c := config.Default()
	c.ProbeFiles = []string{"/nonexistent/probe.yaml"}
	_, _, err := Definitions(c)
	if want := `probe_files "/nonexistent/probe.yaml": no such file`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDefinitions_have_a_probe_that_is_off_by_default_only_where_it_is_asked_for_and_behind_what_it_looks_at(t *testing.T) {
	c := config.Default()
	has := func(name string) int {
		t.Helper()
		definitions, _, err := Definitions(c)
		if err != nil {
			t.Fatal(err)
		}
		return slices.IndexFunc(definitions, func(d *probe.Definition) bool { return d.Name == name })
	}
	if has(hotspots) >= 0 {
		t.Error("hotspots is on by default")
	}
	c.Collectors = map[string]config.Collector{hotspots: {Enabled: true}}
	if has(hotspots) < has("http") || has("http") < has("timeline") || has("timeline") < 0 {
		t.Errorf("timeline, http and hotspots are at %d, %d and %d", has("timeline"), has("http"), has(hotspots))
	}
}

func TestDefinitions_refuse_a_probe_that_lacks_what_it_needs(t *testing.T) {
	for _, test := range []struct {
		text, want string
	}{
		{"collectors: {hotspots: true, timeline: false}", `collector "hotspots" needs "timeline", which is off`},
		{"collectors: {hotspots: {frequency: 10}, http: false}", `collector "hotspots" needs "http", which is off`},
		{"collectors: {hotspots: true}\nlimits: {slow_requests: 0}", `collector "hotspots" needs "slow_requests", which is off`},
		{"collectors: {hotspots: {frequency: 1000}}", `tcpslo.yml:1:36: "frequency" must be between 1 and 999, got 1000`},
	} {
		c, err := config.Parse("tcpslo.yml", []byte(test.text), []string{"hotspots", "http", "timeline"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Definitions(c); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.text, err, test.want)
		}
	}
}
