// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/exporter/names"
)

func TestFound_is_served_as_a_registry_serves_it(t *testing.T) {
	metrics := []names.Metric{
		{Name: "b_total", Type: "counter", Help: "A \"b\".", Labels: []string{"zone", "area"}},
		{Name: "a", Type: "gauge", Help: "An a."},
	}
	registry := prometheus.NewPedanticRegistry()
	b := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metrics[0].Full(), Help: metrics[0].Help}, metrics[0].Labels)
	a := prometheus.NewGauge(prometheus.GaugeOpts{Name: metrics[1].Full(), Help: metrics[1].Help})
	registry.MustRegister(b, a)
	f := &Found{}
	for i, labels := range [][]string{{"2", "x"}, {"1", "y"}, {"", "\\\n\""}, {"10", ""}, {"1", "x"}} {
		f.Add(metrics[0], float64(i), labels...)
		b.WithLabelValues(labels...).Add(float64(i))
	}
	f.Add(metrics[1], -1.5)
	a.Set(-1.5)
	want, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := foundText(t, f), textOf(t, want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSeries_that_is_found_twice_is_served_once(t *testing.T) {
	m := names.Metric{Name: "ports", Type: "gauge", Help: "Ports.", Labels: []string{"netns"}}
	f := &Found{}
	f.Add(m, 1, "pod")
	f.Add(m, 2, "")
	f.Add(m, 3, "pod")
	want := "# HELP tcpslo_ports Ports.\n# TYPE tcpslo_ports gauge\ntcpslo_ports{netns=\"\"} 2\ntcpslo_ports{netns=\"pod\"} 1\n"
	if got := foundText(t, f); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLabel_that_is_not_UTF_8_does_not_spoil_the_exposition(t *testing.T) {
	f := &Found{}
	f.Add(names.NICReceivePackets, 1, "eth\xff")
	if got, want := foundText(t, f), "tcpslo_nic_receive_packets_total{device=\"eth\uFFFD\"} 1\n"; got[len(got)-len(want):] != want {
		t.Errorf("got\n%s\nwant at its end\n%s", got, want)
	}
}
