// SPDX-License-Identifier: Apache-2.0

// Package metric turns BPF maps into Prometheus metrics: one Table reads one
// map, once for each scrape and in batches, and fills every metric that is
// defined on it.
package metric

import (
	"fmt"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Type is the type of a metric.
type Type string

// The metric types that a map can fill.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Aggregate says how the rows of one series are put together.
type Aggregate string

// The ways to put rows together. Counters and histograms are always summed.
const (
	Sum   Aggregate = "sum"   // of the values
	Max   Aggregate = "max"   // of the values
	Count Aggregate = "count" // of the rows; if a value is named, of those where it is not 0
	Age   Aggregate = "age"   // seconds since the smallest value but 0, a CLOCK_MONOTONIC time in nanoseconds
)

// Definition is one metric of a probe's YAML file.
type Definition struct {
	Name string `yaml:"name,required"`
	Type Type   `yaml:"type,required"`
	Help string `yaml:"help,required"`
	Map  string `yaml:"map,required"`
	// OverflowMap takes the rows that found no room in Map, in the same form.
	OverflowMap string  `yaml:"overflow_map"`
	Unit        string  `yaml:"unit"`   // what the exposed value is in: seconds, bytes, connections, …
	Stored      string  `yaml:"stored"` // what the map holds where that differs: nanoseconds, microseconds, milliseconds
	Value       string  `yaml:"value"`  // field of the map's value; the whole value where empty
	Values      *Values `yaml:"values"` // several fields, one series for each
	// Where is a field of the map's key: rows in which it is 0 are left out. All rows
	// count where it is empty.
	Where string `yaml:"where"`
	// Aggregate is for gauges; sum where empty.
	Aggregate Aggregate `yaml:"aggregate"`
	Buckets   *Buckets  `yaml:"buckets"`
	// Thresholds makes the latency thresholds of the SLOs boundaries too.
	Thresholds bool    `yaml:"slo_thresholds"`
	Labels     []Label `yaml:"labels"`
}

// RequestBuckets is the name by which a metric refers to
// histograms.request_buckets of tcpslo.yml.
const RequestBuckets = "request_buckets"

// Buckets are boundaries written out, or the name of some in tcpslo.yml.
type Buckets struct {
	Name string
	histogram.Buckets
}

// UnmarshalNode reads either form.
func (b *Buckets) UnmarshalNode(n *strictyaml.Node) error {
	if n.Kind() != strictyaml.Scalar {
		return n.Decode(&b.Buckets)
	}
	if b.Name = n.Text(); b.Name != RequestBuckets {
		return n.Errorf("%q must be a mapping, or the name %q", n.Name(), RequestBuckets)
	}
	return nil
}

// Values spreads fields of a map's value over a label.
type Values struct {
	Label  string            `yaml:"label,required"`
	Fields map[string]string `yaml:"fields,required"` // label value to field of the map's value
}

// Label says where the value of a label comes from.
type Label struct {
	Name   string            `yaml:"name,required"`
	From   string            `yaml:"from"`   // "key", or a field of the map's key: key.FIELD
	Decode string            `yaml:"decode"` // a decoder; uint where empty
	Enum   string            `yaml:"enum"`   // decoder enum: the kernel's enum
	Prefix string            `yaml:"prefix"` // decoder enum: what to cut from the names
	Map    map[string]string `yaml:"map"`    // decoder static_map: number to name
}

// Scales gives how many of a stored unit make one of the exposed unit.
var Scales = map[string]uint64{"": 1, "nanoseconds": 1e9, "microseconds": 1e6, "milliseconds": 1e3}

// Range is what the native buckets of a histogram cover: 1 µs to 68 minutes for
// times, 1 to 32,768 for numbers. What is below counts as zero, what is above
// goes to the next bucket.
func (d Definition) Range() (lowest, highest float64) {
	if d.Stored != "" {
		return 1.0 / (1 << 20), 1 << 12
	}
	return 1, 1 << 15
}

// Misfit is the error about a metric whose definition does not fit the map that
// it names.
type Misfit struct {
	Metric string
	Path   string // of what is wrong, below the metric: labels[0].from
	Err    error
}

func (m *Misfit) Error() string { return fmt.Sprintf("metric %q: %v", m.Metric, m.Err) }

// Unwrap gives the reason.
func (m *Misfit) Unwrap() error { return m.Err }
