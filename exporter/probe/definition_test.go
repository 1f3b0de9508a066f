// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// good is a definition with a bit of everything. Tests change one line of it.
const good = `name: connects
help: Outgoing connections.
programs:
  - name: state
    variants:
      - {hook: tp_btf/inet_sock_set_state, requires: {params: [sock, int, int]}}
      - kprobe/tcp_set_state
iterators:
  - {name: refresh, run: on_scrape, map: sockets}
metrics:
  - name: connects_total
    type: counter
    help: Connections.
    map: connects
    labels:
      - {name: program, from: key.comm, decode: string}
      - {name: family, from: key.family, decode: static_map, map: {"2": ipv4}}
      - {name: reason, from: key.reason, decode: enum, enum: skb_drop_reason}
  - name: connect_seconds
    type: histogram
    help: Time.
    map: seconds
    stored: nanoseconds
    buckets: {exponential: {start: 0.001, factor: 2, count: 10}}
  - name: connects_pending
    type: gauge
    help: Pending.
    map: pending
    aggregate: count
`

func TestReadDefinition_places_and_explains_everything_that_is_wrong(t *testing.T) {
	if _, err := probe.ReadDefinition("x.yaml", []byte(good)); err != nil {
		t.Fatalf("the definition that the tests change is wrong: %v", err)
	}
	const types = `"counter", "gauge", "histogram"`
	for _, test := range []struct{ sentence, old, new, want string }{
		{"an unknown key", "map: connects\n", "mapp: connects\n", `x.yaml:11:5: missing required key "map"
x.yaml:14:5: unknown key "mapp", did you mean "map"?`},
		{"a wrong type", "name: connects\n", "name: [a]\n", `x.yaml:1:7: "name" must be a string, got a list`},
		{"an empty file", good, "", `x.yaml:1:1: missing required key "name"
x.yaml:1:1: missing required key "help"`},
		{"no program", good, "name: a\nhelp: b\n", `x.yaml:1:1: a probe needs programs, iterators or a go_function`},
		{"a name with a dash", "name: connects\n", "name: my-probe\n", `x.yaml:1:7: probe name "my-probe" must be lower case letters, digits and underscores`},
		{"a program without variants", "  - name: state\n", "  - {name: other, variants: []}\n  - name: state\n", `x.yaml:4:29: program "other" needs a variant`},
		{"two programs with one name", "  - name: state\n", "  - {name: state, variants: [raw_tp/a]}\n  - name: state\n", `x.yaml:5:11: duplicate program "state"`},
		{"an iterator called like a program", "{name: refresh,", "{name: state,", `x.yaml:9:12: duplicate program "state"`},
		{"an unknown kind of hook", "kprobe/tcp_set_state", "kprobes/tcp_set_state", `x.yaml:7:9: unknown kind of hook "kprobes" in "kprobes/tcp_set_state", did you mean "kprobe"?`},
		{"a hook without a kind", "kprobe/tcp_set_state", "tcp_set_state", `x.yaml:7:9: hook "tcp_set_state" must have the form KIND/TARGET, for example tp_btf/sk_data_ready`},
		{"an iterator among programs", "kprobe/tcp_set_state", "iter/tcp", `x.yaml:7:9: "iter/tcp" is an iterator, which stands under "iterators"`},
		{"a variant without hooks", "kprobe/tcp_set_state", "{hook: []}", `x.yaml:7:9: a variant needs a hook`},
		{"fewer functions than hooks", "kprobe/tcp_set_state", "{hook: [kprobe/a, kprobe/b], function: [c]}", `x.yaml:7:48: 2 hooks need 2 functions, got 1`},
		{"Go and kernel hooks in one program", "kprobe/tcp_set_state", "gouprobe/main.main", `x.yaml:7:9: program "state" mixes gouprobe with kernel hooks`},
		{"Go and kernel hooks in one variant", "kprobe/tcp_set_state", "{hook: [kprobe/a, gouprobe/main.main]}", `x.yaml:7:16: a gouprobe variant has one hook`},
		{"a place in a kernel hook", "kprobe/tcp_set_state", "{hook: kprobe/a, at: return}", `x.yaml:7:30: "at" is for gouprobe hooks`},
		{"an unknown place in a Go function", "kprobe/tcp_set_state", "{hook: gouprobe/main.main, at: retrun}", `x.yaml:7:40: unknown place "retrun", did you mean "return"?`},
		{"a call without its caller", "kprobe/tcp_set_state", "{hook: gouprobe/main.main, at: after_call}", `x.yaml:7:9: "in" names the function that calls and goes with "at: before_call", after_call, inlined or beside_inlined`},
		{"a closure without what it calls", "kprobe/tcp_set_state", "{hook: gouprobe/main.main, at: closure}", `x.yaml:7:9: "calling" goes with "at: closure" or last_closure: the function that the closure calls`},
		{"a clock without a frequency", "kprobe/tcp_set_state", "perf_event/cpu-clock", `x.yaml:7:9: "frequency" goes with a perf_event hook: the option that says how often a second it runs on each CPU`},
		{"a frequency of what is no clock", "kprobe/tcp_set_state", "{hook: kprobe/a, frequency: hz}", `x.yaml:7:9: "frequency" goes with a perf_event hook: the option that says how often a second it runs on each CPU`},
		{"a frequency of no option", "kprobe/tcp_set_state", "{hook: perf_event/cpu-clock, frequency: hz}", `x.yaml:7:49: no option "hz" with a "min" of at least 1`},
		{"an unknown perf event", "kprobe/tcp_set_state", "perf_event/cpu-clok", `x.yaml:7:9: unknown perf event "cpu-clok", must be "cpu-clock"`},
		{"an optional program at a kernel hook", "    variants:\n", "    optional: true\n    variants:\n", `x.yaml:4:11: only a program at Go functions is "optional" or "on_demand"; any other may be unavailable anyhow`},
		{"an iterator at an unknown time", "run: on_scrape", "run: on_scrap", `x.yaml:9:26: unknown time "on_scrap", did you mean "on_scrape"?`},
		{"two metrics with one name", "name: connects_pending", "name: connect_seconds", `x.yaml:25:11: duplicate metric "connect_seconds"`},
		{"an unknown type", "type: gauge", "type: summary", `x.yaml:26:11: unknown type "summary", must be one of ` + types},
		{"a metric name in capitals", "name: connects_pending", "name: Pending", `x.yaml:25:11: metric name "Pending" must be lower case letters, digits and underscores`},
		{"a counter without _total", "name: connects_total", "name: connects", `x.yaml:11:11: a counter's name ends in _total: "connects_total"`},
		{"a gauge with _total", "name: connects_pending", "name: pending_total", `x.yaml:25:11: only a counter's name ends in _total`},
		{"a histogram without buckets", "    buckets: {exponential: {start: 0.001, factor: 2, count: 10}}\n", "", `x.yaml:19:5: a histogram needs buckets, and nothing else has them`},
		{"a gauge with buckets", "aggregate: count", "buckets: request_buckets", `x.yaml:29:14: a histogram needs buckets, and nothing else has them`},
		{"buckets that do not increase", "{exponential: {start: 0.001, factor: 2, count: 10}}", "{list: [1, 3, 2]}", `x.yaml:24:28: "buckets": boundaries must increase, got 2 after 3`},
		{"buckets by an unknown name", "{exponential: {start: 0.001, factor: 2, count: 10}}", "requests", `x.yaml:24:14: "buckets" must be a mapping, or the name "request_buckets"`},
		{"a schema that Prometheus does not know", "count: 10}}", "count: 10}, native_schema: 9}", `x.yaml:24:81: "native_schema" must be an integer between -4 and 8, or none`},
		{"an unknown unit", "stored: nanoseconds", "stored: nanosecond", `x.yaml:23:13: unknown unit "nanosecond", did you mean "nanoseconds"?`},
		{"a counter with an aggregate", "map: connects\n", "map: connects\n    aggregate: max\n", `x.yaml:15:16: only a gauge has "aggregate"`},
		{"an unknown aggregate", "aggregate: count", "aggregate: mean", `x.yaml:29:16: unknown aggregate "mean", must be one of "sum", "max", "count", "age"`},
		{"value and values", "aggregate: count", "value: value.a\n    values: {label: b, fields: {c: value.c}}", `x.yaml:29:12: give either "value" or "values"`},
		{"values without fields", "aggregate: count", "values: {label: b, fields: {}}", `x.yaml:29:32: "fields" must name at least one field`},
		{"two labels with one name", "{name: family,", "{name: program,", `x.yaml:17:16: duplicate label "program"`},
		{"a label called like that of the values", "map: connects\n", "map: connects\n    values: {label: family, fields: {a: value.a}}\n", `x.yaml:15:21: duplicate label "family"`},
		{"the label le", "{name: family,", "{name: le,", `x.yaml:17:16: label name "le" must be lower case letters, digits and underscores, and not "le"`},
		{"an unknown decoder", "decode: string}", "decode: sting}", `x.yaml:16:49: unknown decoder "sting", did you mean "string"?`},
		{"an enum for another decoder", "decode: string}", "decode: string, enum: tcp_ca_state}", `x.yaml:16:63: "enum" goes with "decode: enum": the kernel's enum`},
		{"a decoder of enums without one", ", enum: skb_drop_reason}", "}", `x.yaml:18:9: "enum" goes with "decode: enum": the kernel's enum`},
		{"names for what is no number", `{"2": ipv4}`, `{two: ipv4}`, `x.yaml:17:68: "two" is not a number`},
		{"names without their decoder", "decode: string}", `decode: string, map: {"1": a}}`, `x.yaml:16:62: "map" goes with "decode: static_map": number to name`},
		{"a site of no program", "iterators:\n", "executables: {map: m, values: {a: {stack_depth: serve}}}\niterators:\n", `x.yaml:8:35: no program "serve"`},
		{"a way down to nothing", "iterators:\n", "executables: {map: m, values: {}, unwrap: {map: w, interface: net.Conn}}\niterators:\n", `x.yaml:8:43: missing required key "to"`},
		{"a member that is nothing", "iterators:\n", "executables: {map: m, values: {a: {optional: true}}}\niterators:\n", `x.yaml:8:35: give exactly one of field, itab and stack_depth, got 0`},
		{"half an itab", "iterators:\n", "executables: {map: m, values: {a: {itab: [io.Reader]}}}\niterators:\n", `x.yaml:8:35: "itab" is a pair, [concrete type, interface]`},
		{"a go_function with programs", "iterators:\n", "go_function: {function: a.b, metric: c}\niterators:\n", `x.yaml:8:14: a go_function probe has no object, programs, iterators or metrics of its own`},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			text := strings.Replace(good, test.old, test.new, 1)
			if text == good {
				t.Fatalf("%q is not in the definition", test.old)
			}
			_, err := probe.ReadDefinition("x.yaml", []byte(text))
			if err == nil || err.Error() != test.want {
				t.Errorf("got\n%v\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestReadDefinition_tells_of_a_bad_go_function_where_it_stands(t *testing.T) {
	const text = "name: queries\nhelp: Queries.\ngo_function:\n  function: database/sql.(*DB).QueryContext\n  metric: Queries\n"
	_, err := probe.ReadDefinition("q.yaml", []byte(text))
	const want = `q.yaml:4:3: metric name "Queries" must be lower case letters, digits and underscores`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Whatever the file says, the exporter must not end, and what is refused must
// be told with its place.
func FuzzReadDefinition(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("name: q\nhelp: q\ngo_function: {function: a.b, metric: c}\n"))
	for _, builtin := range bpf.Probes() {
		f.Add(builtin.YAML)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := probe.ReadDefinition("fuzz.yaml", data)
		if err != nil {
			var problems strictyaml.Errors
			if !errors.As(err, &problems) {
				var one *strictyaml.Error
				if !errors.As(err, &one) {
					t.Fatalf("error without a place: %v", err)
				}
				problems = strictyaml.Errors{one}
			}
			for _, p := range problems {
				if p.File != "fuzz.yaml" || p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Errorf("incomplete error %+v", p)
				}
			}
			return
		}
		for _, p := range d.Programs {
			p.IsGo() // must have a variant with a hook
		}
		for _, m := range d.Metrics {
			if m.Buckets != nil && m.Buckets.Name == "" {
				if _, err := m.Buckets.Boundaries(); err != nil {
					t.Errorf("accepted buckets that are none: %v", err)
				}
			}
		}
	})
}
