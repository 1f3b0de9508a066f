// SPDX-License-Identifier: Apache-2.0

// Package host has the collectors that need no BPF program: what the kernel
// says of itself in procfs and sysfs and over netlink. There is one file for
// each; kinds lists them.
package host

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/audit"
	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Collector reads one of the kernel's accounts. It is never asked twice at once.
type Collector interface {
	// Update finds every metric that there is now. What it returns beside an error
	// is served all the same.
	Update() (*Found, error)
	// Close gives back what the collector holds open.
	Close() error
}

// Kind is a collector that can be made.
type Kind struct {
	names.Collector
	// Options returns the options with their defaults, which a mapping under
	// "collectors" in tcpslo.yml fills: a pointer to a struct that has Common
	// inline. Where it is nil there are only the common ones.
	Options func() Options
	// Judges tells that the collector asks what the probes have counted.
	Judges bool
	// New makes the collector; options is what Options returned, filled. An error
	// says why this machine has nothing to read.
	New func(environment Environment, options Options) (Collector, error)
}

// kinds are all collectors, in the order of the reference; what waits for the
// probes is last.
var kinds = []Kind{
	socketsKind,
	softnetKind,
	tcpExtKind,
	nicKind,
	sysctlKind,
	goRuntimeKind,
	auditKind,
}

// Environment is what collectors work with.
type Environment struct {
	Paths
	Resolver metric.Resolver
	Log      *slog.Logger

	// Processes are those that serve, in the order in which they are told; nil for none.
	Processes func() []Process

	// For the audit. Owners are the owners of the listening sockets by inode; where
	// it is nil, procfs is searched. Counted is what the probes knew at this scrape,
	// nil where there are none.
	Owners  func() map[uint32]audit.Owner
	Counted func() *audit.Metrics
}

// Process is a process of a service.
type Process struct {
	PID     uint32
	Service string
}

// Paths are where the host's file systems are mounted, which in a container is
// not where they usually are.
type Paths struct {
	Procfs string // "/proc" where empty
	Sysfs  string // "/sys" where empty
}

// Options are a collector's options.
type Options interface{ every() time.Duration }

// Common are the options of each collector.
type Common struct {
	// Interval is the least time between two looks; a scrape in between gets what
	// the last one saw. 0s, the default, looks at every scrape.
	Interval Interval `yaml:"interval"`
}

func (c *Common) every() time.Duration { return time.Duration(c.Interval) }

// Interval is a time of 0s to 1h.
type Interval time.Duration

// UnmarshalNode reads a duration.
func (i *Interval) UnmarshalNode(n *strictyaml.Node) error {
	if err := n.Decode((*time.Duration)(i)); err != nil {
		return err
	}
	if d := time.Duration(*i); d > time.Hour {
		return n.Errorf("%q must be at most 1h, got %s", n.Name(), d)
	}
	return nil
}

// Plan is which collectors a configuration wants, with which options. Two plans
// that are deeply equal are the same.
type Plan []Planned

// Planned is a collector that is wanted.
type Planned struct {
	Name    string
	Options Options
}

// NewPlan reads the options of the collectors that a configuration leaves on.
func NewPlan(c *config.Config) (Plan, error) {
	var plan Plan
	var errs []error
	for _, kind := range kinds {
		if !c.CollectorEnabled(kind.Name, true) {
			continue
		}
		p := Planned{kind.Name, &Common{}}
		if kind.Options != nil {
			p.Options = kind.Options()
		}
		if err := c.Collectors[kind.Name].Options(p.Options); err != nil {
			errs = append(errs, err)
		}
		plan = append(plan, p)
	}
	return plan, errors.Join(errs...)
}

// Names are the names of all collectors.
func Names() []string {
	all := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		all = append(all, kind.Name)
	}
	return all
}

// Set is all collectors of a plan. It gathers what they find; as a
// prometheus.Collector it tells what that took.
type Set struct {
	collectors []*running
	log        *slog.Logger
}

// running is a collector and what it said last.
type running struct {
	Planned
	kind      Kind
	mu        sync.Mutex
	collector Collector // nil if it could not be made
	found     *Found
	looked    time.Time
	err       error
	logged    string // an error is logged once, not at every scrape
	gathered  bool
	took      time.Duration // of the last Gather
}

// NewSet makes the collectors of a plan. One that can't be made says so in its
// status, and does not stop the others.
func NewSet(plan Plan, environment Environment) *Set {
	if environment.Procfs == "" {
		environment.Procfs = "/proc"
	}
	if environment.Sysfs == "" {
		environment.Sysfs = "/sys"
	}
	s := &Set{log: environment.Log}
	for _, p := range plan {
		kind := kinds[slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == p.Name })]
		r := &running{Planned: p, kind: kind}
		r.collector, r.err = kind.New(environment, p.Options)
		s.collectors = append(s.collectors, r)
	}
	return s
}

// Gather returns the metrics of every collector. They are sorted within a family,
// and not checked as a prometheus.Registry does; they do not change any more.
// Counted is closed when the probes of this scrape have been read.
func (s *Set) Gather(counted <-chan struct{}) []*dto.MetricFamily {
	var all []*dto.MetricFamily
	for _, r := range s.collectors {
		if r.kind.Judges {
			<-counted
		}
		all = append(all, r.gather(s.log)...)
	}
	return all
}

func (r *running) gather(log *slog.Logger) []*dto.MetricFamily {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	r.look(began)
	families := r.found.families()
	r.gathered, r.took = true, time.Since(began)
	if r.err != nil && r.logged != r.err.Error() {
		r.logged = r.err.Error()
		log.Warn("collector failed", "collector", r.Name, "error", r.err)
	}
	return families
}

// Describe sends nothing: which collectors there are depends on the configuration.
func (s *Set) Describe(chan<- *prometheus.Desc) {}

var (
	durationDesc = names.CollectorDuration.Desc()
	successDesc  = names.CollectorSuccess.Desc()
)

// Collect sends how long each collector took in the last Gather, and whether it
// succeeded.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	for _, r := range s.collectors {
		r.mu.Lock()
		gathered, took, err := r.gathered, r.took, r.err
		r.mu.Unlock()
		if !gathered {
			continue
		}
		success := 1.0
		if err != nil {
			success = 0
		}
		ch <- prometheus.MustNewConstMetric(durationDesc, prometheus.GaugeValue, took.Seconds(), r.Name)
		ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, success, r.Name)
	}
}

// look finds what there is now, or leaves what was found a moment ago.
func (r *running) look(now time.Time) {
	if r.collector == nil || !r.looked.IsZero() && now.Sub(r.looked) < r.Options.every() {
		return
	}
	r.looked = now
	if r.found, r.err = r.collector.Update(); r.err != nil {
		r.err = fmt.Errorf("%s: %w", r.Name, r.err)
	}
}

// lastError is why the last look failed; there has been one afterwards.
func (r *running) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.looked.IsZero() {
		r.look(time.Now())
	}
	return r.err
}

// Status tells where each collector reads, and why not.
func (s *Set) Status() []probe.Status {
	var all []probe.Status
	for _, r := range s.collectors {
		status := probe.Status{Probe: r.Name, Program: r.Name, Variant: r.kind.Source, Refused: []string{}}
		if err := r.lastError(); err != nil {
			status.Refused = append(status.Refused, err.Error())
			if r.collector == nil {
				status.Variant = ""
			}
		}
		all = append(all, status)
	}
	return all
}

// Close closes all collectors.
func (s *Set) Close() error {
	var errs []error
	for _, r := range s.collectors {
		if r.collector != nil {
			errs = append(errs, r.collector.Close())
		}
	}
	return errors.Join(errs...)
}
