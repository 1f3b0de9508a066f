// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"time"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// SLO is a service level objective: of all requests within Window, Objective
// percent must be good. A request is good if it doesn't fail and, where Latency is
// given, is answered within it.
type SLO struct {
	Name string
	// Objective is the percentage of good requests, between 0 and 100.
	Objective float64
	// Window is how far back the objective looks, 1h to 366d; 30d by default.
	Window time.Duration
	// Latency is the slowest that still is good, 1us to 1h; 0 means that an
	// objective is about availability alone.
	Latency time.Duration
	// Path is the route template that the objective is about, empty for all.
	Path string
}

// DefaultWindow is the window of an objective that has none.
const DefaultWindow = 30 * 24 * time.Hour

// DefaultSLOs returns the objectives of a service that has none of its own.
func DefaultSLOs() []SLO {
	return []SLO{
		{Name: "availability", Objective: 99.9, Window: DefaultWindow},
		{Name: "latency", Objective: 99, Window: DefaultWindow, Latency: 200 * time.Millisecond},
	}
}

// Ratio returns the objective as a number between 0 and 1, rounded to the nearest
// float: 99.9 gives 0.999, where a plain division gives 0.9990000000000001.
func (s SLO) Ratio() float64 {
	return math.Round(s.Objective*1e10) / 1e12
}

// UnmarshalNode reads an objective.
func (s *SLO) UnmarshalNode(n *strictyaml.Node) error {
	file := struct {
		Name      string        `yaml:"name,required"`
		Objective float64       `yaml:"objective,required"`
		Window    time.Duration `yaml:"window"`
		Latency   time.Duration `yaml:"latency"`
		Path      string        `yaml:"path"`
	}{Window: DefaultWindow}
	err := n.Decode(&file)
	*s = SLO(file)
	return err
}
