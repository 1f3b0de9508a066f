// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/names"
)

// looks is a collector that counts how often it was asked.
type looks struct {
	n   int
	err error
}

var looksMetric = names.Metric{Name: "looks_total", Type: "counter", Help: "Looks."}

func (l *looks) Update() (*Found, error) {
	l.n++
	f := &Found{}
	f.Add(looksMetric, float64(l.n))
	return f, l.err
}

func (l *looks) Close() error { return nil }

// only replaces all collectors for one test.
func only(t *testing.T, replacement ...Kind) {
	before := kinds
	kinds = replacement
	t.Cleanup(func() { kinds = before })
}

func kind(name string, c Collector, err error) Kind {
	return Kind{
		Collector: names.Collector{Name: name, Source: "nowhere"},
		New:       func(Environment, Options) (Collector, error) { return c, err },
	}
}

func set(t *testing.T, yaml string) *Set {
	t.Helper()
	c, err := config.Parse("tcpslo.yml", []byte(yaml), Names())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(c)
	if err != nil {
		t.Fatal(err)
	}
	return NewSet(plan, Environment{Log: slog.New(slog.DiscardHandler)})
}

// scrape is what Prometheus would get.
func scrape(t *testing.T, s *Set) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	counted := make(chan struct{})
	close(counted)
	gathered := checked(t, s.Gather(counted))
	costs, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return textOf(t, byName(append(gathered, costs...)))
}

// foundText is what Prometheus would get of one collector.
func foundText(t *testing.T, f *Found) string {
	t.Helper()
	return textOf(t, checked(t, f.families()))
}

// checked refuses families that a prometheus.Registry would refuse, or would put
// in another order.
func checked(t *testing.T, families []*dto.MetricFamily) []*dto.MetricFamily {
	t.Helper()
	byName(families)
	want, err := prometheus.Gatherers{prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })}.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := textOf(t, families), textOf(t, want); got != want {
		t.Errorf("got\n%s\nwant in the order of\n%s", got, want)
	}
	return families
}

func byName(families []*dto.MetricFamily) []*dto.MetricFamily {
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families
}

func textOf(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var out strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestCollectors_that_fail_say_so_and_leave_the_others_alone(t *testing.T) {
	only(t, kind("absent", nil, errors.New("no such file")), kind("broken", &looks{err: errors.New("torn")}, nil), kind("off", &looks{}, nil))
	s := set(t, "collectors: {off: false}")
	got := scrape(t, s)
	for _, want := range []string{`tcpslo_collector_success{collector="absent"} 0`, `tcpslo_collector_success{collector="broken"} 0`, "tcpslo_looks_total 1"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, `"off"`) {
		t.Errorf("a collector that is off is in\n%s", got)
	}
	status := s.Status()
	if len(status) != 2 || status[0].Variant != "" || status[0].Refused[0] != "no such file" || status[1].Variant != "nowhere" || status[1].Refused[0] != "broken: torn" {
		t.Errorf("status is %+v", status)
	}
}

func TestCollector_with_an_interval_answers_from_memory_in_between(t *testing.T) {
	eager, lazy := &looks{}, &looks{}
	only(t, kind("eager", eager, nil), kind("lazy", lazy, nil))
	s := set(t, "collectors: {lazy: {interval: 1h}}")
	for range 3 {
		scrape(t, &Set{collectors: s.collectors[:1]})
		scrape(t, &Set{collectors: s.collectors[1:]})
	}
	if eager.n != 3 || lazy.n != 1 {
		t.Errorf("looked %d and %d times, want 3 and 1", eager.n, lazy.n)
	}
}

func TestOptions_that_make_no_sense_are_refused_with_their_place(t *testing.T) {
	only(t, kind("lazy", &looks{}, nil))
	for yaml, want := range map[string]string{
		"collectors:\n  lazy: {intervall: 1s}": `tcpslo.yml:2:10: unknown key "intervall", did you mean "interval"?`,
		"collectors:\n  lazy: {interval: 2h}":  `tcpslo.yml:2:20: "interval" must be at most 1h, got 2h0m0s`,
		"collectors:\n  lazy: {interval: now}": `tcpslo.yml:2:20: "interval" must be a duration`,
	} {
		c, err := config.Parse("tcpslo.yml", []byte(yaml), Names())
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewPlan(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", yaml, err, want)
		}
	}
}
