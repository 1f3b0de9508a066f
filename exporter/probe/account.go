// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
)

var (
	infoDesc = names.ProbeInfo.Desc()
	hitsDesc = names.ProbeHits.Desc()
	missDesc = names.ProbeMisses.Desc()
	runDesc  = names.ProbeRun.Desc()
	lostDesc = names.Lost.Desc()

	entriesDesc  = names.MapEntries.Desc()
	capacityDesc = names.MapCapacity.Desc()
)

// Status is one program of a probe and the variant that it got.
type Status struct {
	Probe   string   `json:"probe"`
	Program string   `json:"program"`
	Variant string   `json:"variant"` // "" where none works here
	Refused []string `json:"refused"` // variants that come before, and why they do not work here
}

// Status tells which variant each program got, and why not another.
func (p *Probe) Status() []Status {
	var all []Status
	for _, program := range p.programs {
		status := Status{Probe: p.Definition.Name, Program: program.Name, Variant: program.variant, Refused: []string{}}
		for _, err := range program.refused {
			status.Refused = append(status.Refused, err.Error())
		}
		all = append(all, status)
	}
	for _, it := range p.iterators {
		all = append(all, Status{p.Definition.Name, it.Name, "iter", []string{}})
	}
	return all
}

// readLostNames takes the names of what a probe may lose from its enum
// lost_reason.
func (p *Probe) readLostNames() error {
	if p.maps["lost"] == nil {
		return nil
	}
	var enum *btf.Enum
	if err := p.spec.Types.TypeByName("lost_reason", &enum); err != nil {
		return fmt.Errorf("%s: the object has a map \"lost\" and no enum lost_reason: %w", p.Definition.File, err)
	}
	p.lostNames = metric.EnumNames(enum, "LOST_")
	for number, name := range p.lostNames {
		if name == "end" {
			delete(p.lostNames, number)
		}
	}
	return nil
}

// Lost counts what the probe could not count, by reason.
func (p *Probe) Lost() map[string]uint64 {
	lost := make(map[string]uint64, len(p.lostNames))
	for number, name := range p.lostNames {
		var count uint64
		if err := p.maps["lost"].Lookup(uint32(number), &count); err == nil {
			lost[name] = count
		}
	}
	return lost
}

// account sends what the probe costs and loses.
func (p *Probe) account(ch chan<- prometheus.Metric) {
	name := p.Definition.Name
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	hits, run := p.counts.read()
	for _, program := range p.programs {
		if program.variant == "" {
			continue
		}
		send(infoDesc, prometheus.GaugeValue, 1, name, program.Name, program.variant)
		var misses uint64
		for _, function := range program.functions {
			if stats, err := function.Stats(); err == nil {
				misses += stats.RecursionMisses
			}
		}
		send(hitsDesc, prometheus.CounterValue, float64(hits[program.counter]), name, program.Name)
		send(missDesc, prometheus.CounterValue, float64(misses), name, program.Name)
		send(runDesc, prometheus.CounterValue, run[program.counter].Seconds(), name, program.Name)
	}
	for reason, count := range p.Lost() {
		send(lostDesc, prometheus.CounterValue, float64(count), name, reason)
	}
	for _, t := range p.tables {
		send(entriesDesc, prometheus.GaugeValue, float64(t.Entries()), name, t.Name())
		send(capacityDesc, prometheus.GaugeValue, float64(t.Capacity()), name, t.Name())
	}
}

// Set is all loaded probes. It gathers what they have counted; as a
// prometheus.Collector it tells what that costs.
type Set struct {
	Probes []*Probe

	mu       sync.Mutex
	gathered map[string]gathering // by probe, of the last scrape
}

// gathering is how the last scrape of a probe went.
type gathering struct {
	took   time.Duration
	failed bool
}

// Gathered tells whether the last Gather got all of what a probe counts; false without
// such a probe.
func (s *Set) Gathered(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gathered[name]
	return ok && !g.failed
}

// Gather returns the metrics of every probe, sorted by name. Probes are read at the
// same time, and one that fails does not stop the others. What Gather returns is
// valid until the next call: most of the next answer is the same, so only the
// numbers are written anew, and not checked as a prometheus.Registry does.
func (s *Set) Gather() ([]*dto.MetricFamily, error) {
	families, took, failed := make([][]*dto.MetricFamily, len(s.Probes)), make([]time.Duration, len(s.Probes)), make([]error, len(s.Probes))
	var wait sync.WaitGroup
	for i, p := range s.Probes {
		wait.Go(func() {
			began := time.Now()
			families[i], failed[i] = p.Gather()
			took[i] = time.Since(began)
		})
	}
	wait.Wait()
	gathered := make(map[string]gathering, len(s.Probes))
	for i, p := range s.Probes {
		if failed[i] != nil {
			p.options.Log.Error("collector failed", "collector", p.Definition.Name, "error", failed[i])
		}
		gathered[p.Definition.Name] = gathering{took[i], failed[i] != nil}
	}
	s.mu.Lock()
	s.gathered = gathered
	s.mu.Unlock()
	all := slices.Concat(families...)
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, nil
}

// Describe sends nothing: which metrics there are depends on the probes.
func (s *Set) Describe(chan<- *prometheus.Desc) {}

// Collect sends what each probe costs and loses, and how long the last Gather
// took with it and whether it succeeded.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	gathered := s.gathered
	s.mu.Unlock()
	for _, p := range s.Probes {
		p.account(ch)
		last, ok := gathered[p.Definition.Name]
		if !ok {
			continue
		}
		success := 1.0
		if last.failed {
			success = 0
		}
		ch <- prometheus.MustNewConstMetric(durationDesc, prometheus.GaugeValue, last.took.Seconds(), p.Definition.Name)
		ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, success, p.Definition.Name)
	}
}

var (
	durationDesc = names.CollectorDuration.Desc()
	successDesc  = names.CollectorSuccess.Desc()
)

// Named returns a probe by name, nil if it is not loaded.
func (s *Set) Named(name string) *Probe {
	for _, p := range s.Probes {
		if p.Definition.Name == name {
			return p
		}
	}
	return nil
}

// Status tells of every program of every probe.
func (s *Set) Status() []Status {
	var all []Status
	for _, p := range s.Probes {
		all = append(all, p.Status()...)
	}
	return all
}

// Close closes all probes at once.
func (s *Set) Close() error {
	errs := make(chan error, len(s.Probes))
	for _, p := range s.Probes {
		go func() { errs <- p.Close() }()
	}
	var all []error
	for range s.Probes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
