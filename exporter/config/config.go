// SPDX-License-Identifier: Apache-2.0

// Package config reads tcpslo.yml. Every key has a default, so that no file at all
// is a good configuration; what is written is checked strictly, and everything
// that is wrong is told at once with file, line and column.
package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/histogram"
	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Config is the content of tcpslo.yml.
type Config struct {
	// Services names the services and their objectives; the first that matches a
	// process wins. A process that none matches is a service too, named after
	// its executable, with the default objectives.
	Services []*Service `yaml:"services"`
	// Collectors switches collectors on or off, or gives them options.
	Collectors map[string]Collector `yaml:"collectors"`
	Histograms Histograms           `yaml:"histograms"`
	Limits     Limits               `yaml:"limits"`
	// ProbeFiles are globs of probe definitions of the user's own, relative to
	// the directory of the configuration file.
	ProbeFiles []string `yaml:"probe_files"`

	// Doubts is what is allowed but hardly meant.
	Doubts strictyaml.Errors `yaml:"-"`
}

// Histograms says how finely durations are counted.
type Histograms struct {
	// NativeSchema is the resolution of native histograms where a probe doesn't
	// say otherwise: -4 to 8 or none. The default, 3, has buckets 9 % wide.
	NativeSchema histogram.Schema `yaml:"native_schema"`
	// RequestBuckets are the classic boundaries of request durations in seconds.
	RequestBuckets histogram.Buckets `yaml:"request_buckets"`
}

// Limits bound the memory and the number of series. What is beyond a limit is
// counted in tcpslo_lost_total.
type Limits struct {
	// PathsPerService is how many path labels a service may have, 1 to 10,000;
	// the others share path="other".
	PathsPerService int `yaml:"paths_per_service"`
	// SlowRequests is how many slow requests, and others to compare with, are kept: 0 to
	// 100,000. With 0 no request is told of.
	SlowRequests int `yaml:"slow_requests"`
	// Listeners is how many listening sockets have metrics of their own, 16 to
	// 1,000,000.
	Listeners int `yaml:"listeners"`
	// Connections is how many HTTP/1 connections and HTTP/2 streams may be served
	// at once, 64 to 4,194,304; each takes some 100 bytes of kernel memory.
	Connections int `yaml:"connections"`
	// SeriesRetention is how long the series of a process or socket that is gone
	// stay, 0s to 1h: long enough for one more scrape.
	SeriesRetention time.Duration `yaml:"series_retention"`
}

// DefaultNativeSchema divides each power of two into eight buckets, which are 9 %
// wide; that is what client_golang's documentation calls a good trade-off.
const DefaultNativeSchema histogram.Schema = 3

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{
		Histograms: Histograms{
			NativeSchema:   DefaultNativeSchema,
			RequestBuckets: histogram.Buckets{Exponential: &histogram.Exponential{Start: 0.001, Factor: 2, Count: 12}},
		},
		Limits: Limits{
			PathsPerService: 200,
			SlowRequests:    1000,
			Listeners:       4096,
			Connections:     65536,
			// Twice the usual scrape interval of 15 s.
			SeriesRetention: 30 * time.Second,
		},
	}
}

// Load reads and checks a file; without a path it returns Default. Collectors are
// the names that may occur under collectors. An error about the content is of type
// strictyaml.Errors.
func Load(path string, collectors []string) (*Config, error) {
	if path == "" {
		return Default(), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read configuration: %w", err)
	}
	c, err := Parse(path, data, collectors)
	if err != nil {
		return nil, err
	}
	for i, glob := range c.ProbeFiles {
		if !filepath.IsAbs(glob) {
			c.ProbeFiles[i] = filepath.Join(filepath.Dir(path), glob)
		}
	}
	return c, nil
}

// Parse checks the content of a file; name is what messages call it.
func Parse(name string, data []byte, collectors []string) (*Config, error) {
	c := Default()
	doc, _ := strictyaml.Decode(name, data, c)
	v := validator{Document: doc, config: c, collectors: collectors}
	v.check()
	if err := doc.Err(); err != nil {
		return nil, err
	}
	v.doubt()
	return c, nil
}

// LatencyThresholds returns the latency of every objective, in seconds, each once,
// increasing: the boundaries that request histograms must have so that objectives
// are counted rather than estimated. The default objective is always among them,
// as any process may turn out to be a service.
func (c *Config) LatencyThresholds() []float64 {
	var all []float64
	for _, d := range slo.Defaults() {
		all = append(all, d.Latency.Seconds())
	}
	for _, service := range c.Services {
		for _, d := range service.SLOs {
			all = append(all, d.Latency.Seconds())
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(seconds float64) bool { return seconds == 0 })
}

// Recounts tells whether an objective that both configurations have counts other events
// in the other one. What it has counted under its name must then not go on.
func (c *Config) Recounts(other *Config) bool {
	for _, listed := range slices.Concat(c.Services, other.Services) {
		before := c.ServiceNamed(listed.Name).SLOs
		for _, after := range other.ServiceNamed(listed.Name).SLOs {
			if slices.ContainsFunc(before, func(d slo.Definition) bool { return d.Name == after.Name && !d.CountsAs(after) }) {
				return true
			}
		}
	}
	return false
}

// ProbePaths returns the files that ProbeFiles stands for, in order, each once. A
// pattern may match nothing, but a file that is named must exist.
func (c *Config) ProbePaths() ([]string, error) {
	var all []string
	for _, glob := range c.ProbeFiles {
		found, err := filepath.Glob(glob)
		if err != nil {
			return nil, fmt.Errorf("probe_files %q: %w", glob, err)
		}
		if found == nil && !strings.ContainsAny(glob, `*?[\`) {
			return nil, fmt.Errorf("probe_files %q: no such file", glob)
		}
		for _, path := range found {
			if !slices.Contains(all, path) {
				all = append(all, path)
			}
		}
	}
	return all, nil
}

// Collector is a collector's entry: on, off, or on with options.
type Collector struct {
	Enabled bool
	options *strictyaml.Node
}

// UnmarshalNode reads true, false or a mapping of options.
func (c *Collector) UnmarshalNode(n *strictyaml.Node) error {
	if n.Kind() == strictyaml.Mapping {
		*c = Collector{Enabled: true, options: n}
		return nil
	}
	if err := n.Decode(&c.Enabled); err != nil {
		return n.Errorf("collector %q must be true, false or a mapping of options", n.Name())
	}
	return nil
}

// Options decodes the options into a struct that holds their defaults, strictly;
// without options it changes nothing.
func (c Collector) Options(into any) error {
	if c.options == nil {
		return nil
	}
	return c.options.Decode(into)
}

// CollectorEnabled tells whether a collector is to run; fallback is for one that
// the file doesn't mention.
func (c *Config) CollectorEnabled(name string, fallback bool) bool {
	if collector, ok := c.Collectors[name]; ok {
		return collector.Enabled
	}
	return fallback
}

// NativeSchema returns the schema that buckets ask for, else the one of the
// configuration.
func (c *Config) NativeSchema(b histogram.Buckets) histogram.Schema {
	return *cmp.Or(b.NativeSchema, &c.Histograms.NativeSchema)
}
