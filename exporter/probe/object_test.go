// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/bpf/bpftest"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

// object is what the definitions of these tests go with.
const object = `
#include "tcpslo.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct key {
	__u32 tgid;
	__u16 family;
	__u16 unused;
	char comm[16];
};

struct value {
	__u64 opened;
	__u64 closed;
};

COUNTER(connects, struct key, 16);
HISTOGRAM(seconds, struct key, 16, 32);
HISTOGRAM_ENTRIES(bare_seconds, seconds, struct key, 16);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct key);
	__type(value, struct value);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(key_size, 4);
	__uint(value_size, 8);
} untyped SEC(".maps");

SEC("raw_tp/sched_process_exec")
int executed(void *ctx)
{
	struct key key = {};

	add_to(&connects, &key, 1);
	OBSERVE(seconds, &key, 1);
	return 0;
}

/* A number is no pointer: every verifier refuses this. */
SEC("raw_tp/sched_process_exec")
int reads_garbage(__u64 *ctx)
{
	return *(int *)(bpf_ktime_get_ns());
}

SEC("raw_tp/sched_process_fork")
int twin__a(void *ctx)
{
	return 0;
}

SEC("raw_tp/sched_process_fork")
int twin__b(void *ctx)
{
	return 0;
}

SEC("raw_tp/no_such_tracepoint")
int missing(void *ctx)
{
	return 0;
}

SEC("fentry/no_such_function")
int BPF_PROG(missing__fentry)
{
	return 0;
}
`

// loadText loads a definition with the object above.
func loadText(t *testing.T, text string) (*probe.Probe, error) {
	t.Helper()
	o := options(t)
	compiled := bpftest.Compile(t, object)
	d, err := probe.ReadDefinition("own.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := probe.Load(d, compiled, o)
	if p != nil {
		t.Cleanup(func() { p.Close() })
	}
	return p, err
}

const executed = "name: own\nhelp: Own.\nprograms:\n  - {name: executed, variants: [raw_tp/sched_process_exec]}\n"

func TestLoad_places_and_explains_what_does_not_fit_the_object(t *testing.T) {
	counter := func(rest string) string {
		return executed + "metrics:\n  - name: own_total\n    type: counter\n    help: Own.\n" + rest
	}
	const fields = "there is: key, key.tgid, key.family, key.unused, key.comm"
	for _, test := range []struct{ sentence, text, want string }{
		{"a program that is not there", "name: own\nhelp: Own.\nprograms:\n  - {name: exec, variants: [raw_tp/sched_process_exec]}\n",
			`own.yaml:4:29: program "exec": no function "exec" or "exec__…" in section "raw_tp/sched_process_exec" of the object`},
		{"a program at another hook", "name: own\nhelp: Own.\nprograms:\n  - {name: executed, variants: [tp_btf/sched_process_exec]}\n",
			`own.yaml:4:33: program "executed": no function "executed" or "executed__…" in section "tp_btf/sched_process_exec" of the object`},
		{"a Go program that is none", "name: own\nhelp: Own.\nprograms:\n  - {name: executed, variants: [gouprobe/main.main]}\n",
			`own.yaml:4:33: program "executed": no function "executed" or "executed__…" in section "uprobe" of the object`},
		{"two functions for one hook", "name: own\nhelp: Own.\nprograms:\n  - {name: twin, variants: [raw_tp/sched_process_fork]}\n",
			`own.yaml:4:29: program "twin": several functions for "raw_tp/sched_process_fork" (twin__a, twin__b), choose one with "function"`},
		{"a function by name that is not there", "name: own\nhelp: Own.\nprograms:\n  - name: twin\n    variants:\n      - {hook: raw_tp/sched_process_fork, function: twin__c}\n",
			`own.yaml:6:9: program "twin": no function "twin__c" in the object`},
		{"an iterator that is not there", executed + "iterators:\n  - {name: walk, run: at_start}\n",
			`own.yaml:6:12: the object has no iterator "walk"`},
		{"a map that is not there", counter("    map: conects\n"),
			`own.yaml:9:10: the object has no map "conects", did you mean "connects"?`},
		{"an overflow map that is not there", counter("    map: connects\n    overflow_map: more\n"),
			`own.yaml:10:19: the object has no map "more", must be one of "bare_seconds", "connects", "lost", "seconds", "seconds_zero", "sockets", "untyped"`},
		{"an overflow map of another form", counter("    map: connects\n    overflow_map: sockets\n"),
			`own.yaml:9:10: overflow of map "connects": wrong size: its keys and values must be of the same types`},
		{"a map without types", counter("    map: untyped\n"),
			`own.yaml:9:10: map "untyped" has no type data; declare key and value with __type`},
		{"rows that retire from a map that nobody reads", executed + "retire: {connects: value.closed}\n",
			`own.yaml:5:10: no metric reads a map "connects"`},
		{"a map of steps that is not there", executed + "executables: {map: sockets, values: {}, unwrap: {map: setps, interface: net.Conn, to: net.netFD}}\n",
			`own.yaml:5:55: the object has no map "setps", must be one of "bare_seconds", "connects", "lost", "seconds", "seconds_zero", "sockets", "untyped"`},
		{"a map of steps of another form", executed + "executables: {map: sockets, values: {}, unwrap: {map: untyped, interface: net.Conn, to: net.netFD}}\n",
			`own.yaml:5:55: map "untyped" must have keys of 8 bytes and values of 12, it has 4 and 8`},
		{"a field of the key that is not there", counter("    map: connects\n    labels:\n      - {name: program, from: key.com, decode: string}\n"),
			`own.yaml:11:31: metric "own_total": label "program": no such field: "key.com", ` + fields},
		{"a field of another size than the decoder reads", counter("    map: connects\n    labels:\n      - {name: peer, from: key.comm, decode: sockaddr}\n"),
			`own.yaml:11:46: metric "own_total": label "peer": wrong size: decoder "sockaddr" reads [20] bytes, "key.comm" has 16`},
		{"a key that a decoder cannot go with", counter("    map: connects\n    labels:\n      - {name: service, decode: service_of_listener}\n"),
			`own.yaml:11:9: metric "own_total": label "service": service_of_listener reads the key's listener and netns: no such field: "key.listener", ` + fields},
		{"a field of the value that is not there", counter("    map: sockets\n    value: value.open\n"),
			`own.yaml:10:12: metric "own_total": no such field: "value.open", there is: value, value.opened, value.closed`},
		{"one of several fields that is not there", counter("    map: sockets\n    values: {label: what, fields: {open: value.opened, shut: value.shut}}\n"),
			`own.yaml:10:62: metric "own_total": no such field: "value.shut", there is: value, value.opened, value.closed`},
		{"a value that is no number", counter("    map: sockets\n"),
			`own.yaml:6:5: metric "own_total": wrong size: "value" has 16 bytes and is no number, name the field that is the value: value.opened, value.closed`},
		{"a histogram in a map of numbers", executed + "metrics:\n  - {name: own, type: histogram, help: Own., map: connects, buckets: {list: [1]}}\n",
			`own.yaml:6:70: metric "own": the object has no variable "connects_bounds": declare the map with HISTOGRAM(connects, …)`},
		{"a histogram in a map without boundaries of its own", executed + "metrics:\n  - {name: own, type: histogram, help: Own., map: bare_seconds, buckets: {list: [1]}}\n",
			`own.yaml:6:74: metric "own": the object has no variable "bare_seconds_bounds": declare the map with HISTOGRAM(bare_seconds, …)`},
		{"a native schema that is too fine", executed + "metrics:\n  - {name: own, type: histogram, help: Own., map: seconds, buckets: {list: [1], native_schema: 5}}\n",
			`own.yaml:6:69: metric "own": histogram needs 350 slots but there are 32: lower native_schema from 5 to 1`},
		{"more boundaries than slots", executed + "metrics:\n  - {name: own, type: histogram, help: Own., map: seconds, buckets: {linear: {start: 1, width: 1, count: 40}, native_schema: none}}\n",
			`own.yaml:6:69: metric "own": histogram needs 41 slots but there are 32: use fewer classic boundaries`},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			_, err := loadText(t, test.text)
			if err == nil || err.Error() != test.want {
				t.Errorf("got\n%v\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestLoad_tells_of_all_that_does_not_fit_the_object_at_once(t *testing.T) {
	_, err := loadText(t, "name: own\nhelp: Own.\nprograms:\n  - {name: exec, variants: [raw_tp/sched_process_exec]}\nretire: {nothing: value.closed}\n")
	if err == nil || strings.Count(err.Error(), "own.yaml:") != 2 {
		t.Errorf("got\n%v\nwant two errors", err)
	}
}

func TestLoad_refuses_a_file_that_is_no_object(t *testing.T) {
	o := options(t)
	d, err := probe.ReadDefinition("own.yaml", []byte(executed))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := probe.Load(d, []byte("#!/bin/sh\n"), o); err == nil || !strings.HasPrefix(err.Error(), "own.yaml: read object: ") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// status maps each program to its variant and to why not another.
func status(p *probe.Probe) map[string]probe.Status {
	all := map[string]probe.Status{}
	for _, s := range p.Status() {
		all[s.Program] = s
	}
	return all
}

func TestLoad_keeps_the_programs_that_the_verifier_accepts(t *testing.T) {
	p, err := loadText(t, executed+"  - {name: reads_garbage, variants: [raw_tp/sched_process_exec]}\n")
	if err != nil {
		t.Fatal(err)
	}
	got := status(p)
	if s := got["executed"]; s.Variant != "raw_tp/sched_process_exec" {
		t.Errorf("the good program is not attached: %+v", s)
	}
	s := got["reads_garbage"]
	if s.Variant != "" || len(s.Refused) != 1 || !strings.HasPrefix(s.Refused[0], "raw_tp/sched_process_exec: the verifier refused the program: ") ||
		!strings.Contains(s.Refused[0], "; its last lines:\n\t") || !strings.Contains(s.Refused[0], "invalid mem access") {
		t.Errorf("status does not show why the verifier refused: %+v", s)
	}
}

func TestLoad_fails_if_the_verifier_refuses_every_program(t *testing.T) {
	_, err := loadText(t, "name: own\nhelp: Own.\nprograms:\n  - {name: reads_garbage, variants: [raw_tp/sched_process_exec]}\n")
	if err == nil || !strings.HasPrefix(err.Error(), `probe "own": program "reads_garbage": raw_tp/sched_process_exec: the verifier refused the program: `) {
		t.Errorf("got %v, want what the verifier says", err)
	}
}

// A kernel without a hook must not keep the exporter from starting.
func TestLoad_accepts_that_a_kernel_offers_no_hook_at_all(t *testing.T) {
	p, err := loadText(t, "name: own\nhelp: Own.\nprograms:\n  - {name: missing, variants: [raw_tp/no_such_tracepoint, fentry/no_such_function]}\n")
	if err != nil {
		t.Fatal(err)
	}
	s := status(p)["missing"]
	if s.Variant != "" || len(s.Refused) != 2 ||
		!strings.HasPrefix(s.Refused[0], "raw_tp/no_such_tracepoint: attach: not available on this kernel: ") ||
		s.Refused[1] != `fentry/no_such_function: not available on this kernel: no function "no_such_function" (it may be inlined)` {
		t.Errorf("status does not tell why: %+v", s)
	}
}

func TestLoad_leaves_out_a_metric_whose_enum_this_kernel_does_not_have(t *testing.T) {
	p, err := loadText(t, executed+`metrics:
  - {name: own_total, type: counter, help: Own., map: connects}
  - {name: by_reason_total, type: counter, help: Own., map: connects, labels: [{name: reason, from: key.family, decode: enum, enum: no_such_enum}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	families := gather(t, &probe.Set{Probes: []*probe.Probe{p}})
	if families["tcpslo_by_reason_total"] != nil {
		t.Error("the metric is served")
	}
}
