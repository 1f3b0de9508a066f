// SPDX-License-Identifier: Apache-2.0

// Package events counts what SLOs are about. It judges the histogram of request
// durations of a scrape, in which the latency of every objective is a boundary: its
// counts are true ones, of the same moment as the histogram's, and there is nothing to
// keep or to lose.
package events

import (
	"cmp"
	"maps"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/route"
	"github.com/tcpslo/tcpslo/exporter/slo"
)

// The names of the histograms, which bpf/http.yaml defines.
const (
	RequestDurations = "tcpslo_http_request_duration_seconds"
	// AbortedDurations are of those of the same requests whose clients had gone.
	AbortedDurations = "tcpslo_http_aborted_request_duration_seconds"
)

// Requests are what a scrape has gathered of requests; each is nil where there was none.
type Requests struct{ Durations, Aborted *dto.MetricFamily }

// Find finds them among all that was gathered.
func Find(families []*dto.MetricFamily) Requests {
	var r Requests
	for _, f := range families {
		switch f.GetName() {
		case RequestDurations:
			r.Durations = f
		case AbortedDurations:
			r.Aborted = f
		}
	}
	return r
}

// Objective is an objective of a service and what it has counted.
type Objective struct {
	Service string
	slo.Definition
	Events map[string]*slo.Events // by path; the only one is "" while none is known
	Since  time.Time              // when all of them were 0
}

// Total is the sum of all paths.
func (o Objective) Total() slo.Events {
	var all slo.Events
	for _, e := range o.Events {
		all.Good += e.Good
		all.Bad += e.Bad
	}
	return all
}

// Count returns the objectives of all services that the configuration lists, that live
// or that have series in the histograms, by service in the order of the configuration. The
// histograms began to count at some time.
func Count(requests Requests, since time.Time, c *config.Config, live []string) []Objective {
	services := map[string][]Objective{}
	meet := func(name string) []Objective {
		objectives, ok := services[name]
		if !ok {
			s := c.ServiceNamed(name)
			for _, d := range s.SLOs {
				objectives = append(objectives, Objective{name, d, foreseen(s, d), since})
			}
			services[name] = objectives
		}
		return objectives
	}
	for _, s := range c.Services {
		meet(s.Name)
	}
	for _, name := range live {
		meet(name)
	}
	aborted := map[labels]*dto.Histogram{}
	for _, m := range requests.Aborted.GetMetric() {
		aborted[labelsOf(m)] = m.Histogram
	}
	for _, m := range requests.Durations.GetMetric() {
		l := labelsOf(m)
		for _, o := range meet(l.service) {
			if o.Covers(l.method, l.path) {
				o.count(l, m.Histogram, aborted[l])
			}
		}
	}
	var all []Objective
	for _, name := range slices.Sorted(maps.Keys(services)) {
		for _, o := range services[name] {
			if len(o.Events) == 0 {
				o.Events[""] = &slo.Events{}
			}
			all = append(all, o)
		}
	}
	return all
}

// foreseen are the paths of which the configuration knows before a request has come:
// rate() sees an increase from 0, but not that a series begins at 1.
func foreseen(s *config.Service, d slo.Definition) map[string]*slo.Events {
	paths := map[string]*slo.Events{}
	if d.Path != "" {
		paths[d.Path] = &slo.Events{}
	}
	for _, r := range s.Routes {
		if method, path := route.Split(r); d.Covers(cmp.Or(method, d.Method), path) {
			paths[path] = &slo.Events{}
		}
	}
	return paths
}

// count adds the requests of a series, of which some were aborted.
func (o Objective) count(l labels, requests, aborted *dto.Histogram) {
	e, ok := o.Events[l.path]
	if !ok {
		e = &slo.Events{}
		o.Events[l.path] = e
	}
	gone, goneWithin := aborted.GetSampleCount(), within(aborted, o.Latency.Seconds())
	o.Definition.Count(e, l.status, true, gone, goneWithin)
	o.Definition.Count(e, l.status, false, requests.GetSampleCount()-gone, within(requests, o.Latency.Seconds())-goneWithin)
}

// within is how many took at most so many seconds, which are a boundary; 0 of nil.
func within(h *dto.Histogram, seconds float64) uint64 {
	i, found := slices.BinarySearchFunc(h.GetBucket(), seconds, func(b *dto.Bucket, bound float64) int {
		return cmp.Compare(b.GetUpperBound(), bound)
	})
	if !found {
		return 0
	}
	return h.Bucket[i].GetCumulativeCount()
}

type labels struct{ service, method, path, status string }

func labelsOf(m *dto.Metric) labels {
	var l labels
	for _, pair := range m.Label {
		switch pair.GetName() {
		case "service":
			l.service = pair.GetValue()
		case "method":
			l.method = pair.GetValue()
		case "path":
			l.path = pair.GetValue()
		case "status_code":
			l.status = pair.GetValue()
		}
	}
	return l
}
