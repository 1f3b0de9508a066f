// SPDX-License-Identifier: Apache-2.0

// Package slo knows what a service level objective is: which requests are its events,
// which of them are good, and how fast its error budget burns. It is arithmetic alone:
// it counts nothing, and whoever shows objectives can use it too.
package slo

import (
	"math"
	"time"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// Definition is a service level objective: of all its events within Window, Objective
// percent must be good.
type Definition struct {
	Name string `yaml:"name,required"`
	// Objective is the percentage of good events, between 0 and 100.
	Objective float64 `yaml:"objective,required"`
	// Window is how far back the objective looks, 1h to 366d; 30d by default.
	Window time.Duration `yaml:"window"`
	// Latency is the slowest that still is good, 1us to 1h; 0 means that the
	// objective is about availability.
	Latency time.Duration `yaml:"latency"`
	// Path is the route template that the objective is about, empty for all.
	Path string `yaml:"path"`
	// Method is the method that the objective is about, empty for all.
	Method string `yaml:"method"`
	// ClientAborts says what a request is whose client had gone before its handler returned.
	ClientAborts AbortPolicy `yaml:"client_aborts"`
}

// DefaultWindow is the window of an objective that has none.
const DefaultWindow = 30 * 24 * time.Hour

// Defaults returns the objectives of a service that has none of its own.
func Defaults() []Definition {
	return []Definition{
		{Name: "availability", Objective: 99.9, Window: DefaultWindow},
		{Name: "latency", Objective: 99, Window: DefaultWindow, Latency: 200 * time.Millisecond},
	}
}

// UnmarshalNode reads an objective of tcpslo.yml.
func (d *Definition) UnmarshalNode(n *strictyaml.Node) error {
	type plain Definition
	file := plain{Window: DefaultWindow}
	err := n.Decode(&file)
	*d = Definition(file)
	return err
}

// Ratio returns the objective as a number between 0 and 1, rounded to the nearest
// float: 99.9 gives 0.999, where a plain division gives 0.9990000000000001.
func (d Definition) Ratio() float64 { return ratio(d.Objective) }

// Allowed returns the error budget: which share of the events may be bad, between 0
// and 1, rounded as Ratio is. 99.9 gives 0.001, where 1-0.999 is a little more.
func (d Definition) Allowed() float64 { return ratio(100 - d.Objective) }

func ratio(percent float64) float64 { return math.Round(percent*1e10) / 1e12 }

// Covers tells whether the objective is about requests with a method to a route.
func (d Definition) Covers(method, path string) bool {
	return (d.Method == "" || d.Method == method) && (d.Path == "" || d.Path == path)
}

// CountsAs tells whether two objectives count the same events as good and bad. They may
// differ in what is expected of them.
func (d Definition) CountsAs(other Definition) bool {
	return d.Latency == other.Latency && d.Path == other.Path && d.Method == other.Method && d.ClientAborts == other.ClientAborts
}
