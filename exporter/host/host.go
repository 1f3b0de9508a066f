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

	"github.com/tcpslo/tcpslo/exporter/audit"
	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/probe"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Collector reads one of the kernel's accounts. It is never asked twice at once.
type Collector interface {
	// Update sends every metric that there is now. What it has sent before an
	// error is served all the same.
	Update(ch chan<- prometheus.Metric) error
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
	// New makes the collector; options is what Options returned, filled. An error
	// says why this machine has nothing to read.
	New func(environment Environment, options Options) (Collector, error)
}

// kinds are all collectors, in the order of the reference.
var kinds = []Kind{
	socketsKind,
	softnetKind,
	tcpExtKind,
	nicKind,
	sysctlKind,
	auditKind,
}

// Environment is what collectors work with.
type Environment struct {
	Paths
	Resolver metric.Resolver
	Log      *slog.Logger

	// For the audit. Owners are the owners of the listening sockets by inode; where
	// it is nil, procfs is searched. Counted is what the probes knew at this scrape,
	// nil where there are none.
	Owners  func() map[uint32]audit.Owner
	Counted func() *audit.Metrics
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

// Set is all collectors of a plan. It is a prometheus.Collector.
type Set struct {
	collectors []*running
	log        *slog.Logger
}

// running is a collector and what it said last.
type running struct {
	Planned
	source    string
	mu        sync.Mutex
	collector Collector // nil if it could not be made
	metrics   []prometheus.Metric
	looked    time.Time
	err       error
	logged    string // an error is logged once, not at every scrape
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
		r := &running{Planned: p, source: kind.Source}
		r.collector, r.err = kind.New(environment, p.Options)
		s.collectors = append(s.collectors, r)
	}
	return s
}

// Describe sends nothing: which metrics there are depends on the kernel.
func (s *Set) Describe(chan<- *prometheus.Desc) {}

var (
	durationDesc = names.CollectorDuration.Desc()
	successDesc  = names.CollectorSuccess.Desc()
)

// Collect sends the metrics of every collector, and how long each took and
// whether it succeeded.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	for _, r := range s.collectors {
		began := time.Now()
		metrics, err := r.look(began)
		for _, m := range metrics {
			ch <- m
		}
		success := 1.0
		if err != nil {
			success = 0
			s.logOnce(r, err)
		}
		ch <- prometheus.MustNewConstMetric(durationDesc, prometheus.GaugeValue, time.Since(began).Seconds(), r.Name)
		ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, success, r.Name)
	}
}

func (s *Set) logOnce(r *running, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logged != err.Error() {
		r.logged = err.Error()
		s.log.Warn("collector failed", "collector", r.Name, "error", err)
	}
}

// look returns what the collector sees now, or saw a moment ago.
func (r *running) look(now time.Time) ([]prometheus.Metric, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.collector == nil || !r.looked.IsZero() && now.Sub(r.looked) < r.Options.every() {
		return r.metrics, r.err
	}
	ch := make(chan prometheus.Metric, 64)
	failed := make(chan error, 1)
	go func() {
		defer close(ch)
		failed <- r.collector.Update(ch)
	}()
	metrics := make([]prometheus.Metric, 0, len(r.metrics))
	for m := range ch {
		metrics = append(metrics, m)
	}
	r.metrics, r.err, r.looked = metrics, <-failed, now
	if r.err != nil {
		r.err = fmt.Errorf("%s: %w", r.Name, r.err)
	}
	return r.metrics, r.err
}

// lastError is why the last look failed; there has been one afterwards.
func (r *running) lastError() error {
	r.mu.Lock()
	looked := !r.looked.IsZero()
	err := r.err
	r.mu.Unlock()
	if !looked {
		_, err = r.look(time.Now())
	}
	return err
}

// Status tells where each collector reads, and why not.
func (s *Set) Status() []probe.Status {
	var all []probe.Status
	for _, r := range s.collectors {
		status := probe.Status{Probe: r.Name, Program: r.Name, Variant: r.source, Refused: []string{}}
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
