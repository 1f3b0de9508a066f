// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/probe"
)

func TestSet_serves_the_other_probes_when_one_fails(t *testing.T) {
	o := options(t)
	failing := load(t, "listen", o)
	set := &probe.Set{Probes: []*probe.Probe{failing, goFunction(t, here+"work", o)}}
	if _, err := set.Probes[1].Observe(ownExecutable(t)); err != nil {
		t.Fatal(err)
	}
	failing.Close() // its maps can't be read any more
	work()
	families := gather(t, set)
	if got := observations(families["tcpslo_f_seconds"]); got != 1 {
		t.Errorf("the other probe counted %d calls, want 1", got)
	}
	want := map[string]float64{"listen": 0, "f": 1}
	for _, m := range families["tcpslo_collector_success"].GetMetric() {
		name := label(m, "collector")
		if got := m.Gauge.GetValue(); got != want[name] {
			t.Errorf("collector %q: success %v, want %v", name, got, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("nothing is told of %v", want)
	}
}

func TestSet_tells_which_variant_each_program_got(t *testing.T) {
	o := options(t)
	set := &probe.Set{Probes: []*probe.Probe{load(t, "service", o), load(t, "listen", o)}}
	told := map[string]string{}
	for _, m := range gather(t, set)["tcpslo_probe_info"].GetMetric() {
		told[label(m, "probe")+"/"+label(m, "program")] = label(m, "variant")
	}
	for _, s := range set.Status() {
		if s.Variant != "" && s.Variant != "iter" && told[s.Probe+"/"+s.Program] != s.Variant {
			t.Errorf("program %q of probe %q: metric %q, status %q", s.Program, s.Probe, told[s.Probe+"/"+s.Program], s.Variant)
		}
		if _, ok := told[s.Probe+"/"+s.Program]; ok && s.Variant == "" {
			t.Errorf("program %q of probe %q is not available and has a metric", s.Program, s.Probe)
		}
	}
	if told["service/process_exec"] == "" || set.Named("listen") != set.Probes[1] || set.Named("none") != nil {
		t.Errorf("the set has %v", told)
	}
}

func label(m *dto.Metric, name string) string {
	for _, pair := range m.Label {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
