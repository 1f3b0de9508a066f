// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// expandGoFunction makes a whole definition of the few lines that a go_function
// probe has: the object is bpf/go_function.bpf.c for all of them.
func (d *Definition) expandGoFunction() error {
	if len(d.Programs)+len(d.Iterators)+len(d.Metrics) > 0 || d.Object != "" {
		return strictyaml.Errors{d.errorf("go_function", "a go_function probe has no object, programs, iterators or metrics of its own")}
	}
	f := d.GoFunction
	buckets := f.Buckets
	if buckets == nil {
		buckets = &metric.Buckets{Name: metric.RequestBuckets}
	}
	hook := []Hook{{"gouprobe", f.Function}}
	d.Programs = []Program{
		{Name: "process_exec", Variants: []Variant{{Hooks: []Hook{{"tp_btf", "sched_process_exec"}}}}},
		{Name: "function_entry", Variants: []Variant{{Hooks: hook, At: AtEntry}}},
		{Name: "function_return", Variants: []Variant{{Hooks: hook, At: AtReturn}}},
	}
	d.Executable = &ExecutableValues{
		Map: "executables", Processes: "processes",
		Values: map[string]ExecutableValue{"g_stack": {Field: Names{"runtime.g.stack"}}},
	}
	d.Metrics = []metric.Definition{{
		Name: f.Metric, Type: metric.Histogram, Help: "Time in " + f.Function + ". " + d.Help,
		Map: "function_nanoseconds", Unit: "seconds", Stored: "nanoseconds", Buckets: buckets, Thresholds: true,
		Labels: []metric.Label{{Name: "service", Decode: "service_of_process"}},
	}}
	return nil
}
