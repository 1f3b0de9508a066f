// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"log/slog"
	"testing"

	"github.com/cilium/ebpf/rlimit"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// resolver answers nothing: the tests here look at maps and programs.
type resolver struct{}

func (resolver) ServiceOfListener(metric.Listener) string { return "test" }
func (resolver) ServiceOfLocalAddress(l metric.Listener) (string, metric.Listener, bool) {
	return "test", l, true
}
func (resolver) ListenerAlive(metric.Listener) bool                   { return true }
func (resolver) NetworkNamespace(uint32) string                       { return "" }
func (resolver) Worker(uint32, uint64) string                         { return "" }
func (resolver) ServiceOfProcess(uint32, uint32) string               { return "test" }
func (resolver) ProcessAlive(uint32, uint32) bool                     { return true }
func (resolver) ServiceAlive(string) bool                             { return true }
func (resolver) Generation() uint64                                   { return 1 }
func (resolver) Route(_, _, path string, _ metric.RouteSource) string { return path }

func options(t testing.TB, prefer ...string) probe.Options {
	t.Helper()
	testenv.NeedRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err)
	}
	kernel, err := probe.OpenKernel()
	if err != nil {
		t.Fatal(err)
	}
	return probe.Options{
		Kernel:         kernel,
		Environment:    metric.Environment{Resolver: resolver{}, KernelBTF: kernel.BTF, Symbol: kernel.Symbol},
		Log:            slog.New(slog.NewTextHandler(t.Output(), nil)),
		RequestBuckets: []float64{0.001, 0.002, 0.004},
		NativeSchema:   3,
		Prefer:         prefer,
	}
}

func load(t testing.TB, name string, o probe.Options) *probe.Probe {
	t.Helper()
	for _, builtin := range bpf.Probes() {
		if builtin.Name != name {
			continue
		}
		d, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			t.Fatal(err)
		}
		object, err := bpf.Object(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := probe.Load(d, object, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	t.Fatalf("no probe %q", name)
	return nil
}

func TestBuilt_in_probes_load_and_attach(t *testing.T) {
	o := options(t)
	for _, builtin := range bpf.Probes() {
		t.Run(builtin.Name, func(t *testing.T) {
			p := load(t, builtin.Name, o)
			for _, s := range p.Status() {
				t.Logf("%-24s %q %q", s.Program, s.Variant, s.Refused)
			}
		})
	}
}

// gather gathers a set as Prometheus would, and lets client_golang check it.
func gather(t testing.TB, set *probe.Set) map[string]*dto.MetricFamily {
	t.Helper()
	costs := prometheus.NewRegistry()
	costs.MustRegister(set)
	gathered, err := prometheus.Gatherers{prometheus.GathererFunc(set.Gather), costs}.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, family := range gathered {
		families[family.GetName()] = family
	}
	return families
}
