// SPDX-License-Identifier: Apache-2.0

// Package openslo reads service level objectives in the format OpenSLO v1
// (https://github.com/OpenSLO/OpenSLO), as far as they say what can be counted here.
package openslo

import "github.com/tcpslo/tcpslo/exporter/strictyaml"

// What follows is the part of the format that SLOs are told by, in its own words. It
// leaves to whoever reads it what a metric source's spec holds.

const apiVersion = "openslo/v1"

type object struct {
	APIVersion string   `yaml:"apiVersion,required"`
	Kind       string   `yaml:"kind,required"`
	Metadata   metadata `yaml:"metadata,required"`
	Spec       node     `yaml:"spec"`
}

type metadata struct {
	Name        string `yaml:"name,required"`
	DisplayName string `yaml:"displayName"`
	Labels      node   `yaml:"labels"`
	Annotations node   `yaml:"annotations"`
}

type objectiveSpec struct {
	Description     string       `yaml:"description"`
	Service         string       `yaml:"service,required"`
	Indicator       *indicator   `yaml:"indicator"`
	IndicatorRef    string       `yaml:"indicatorRef"`
	TimeWindow      []timeWindow `yaml:"timeWindow"`
	BudgetingMethod string       `yaml:"budgetingMethod"`
	Objectives      []objective  `yaml:"objectives,required"`
	AlertPolicies   node         `yaml:"alertPolicies"`
}

type timeWindow struct {
	Duration  string `yaml:"duration,required"`
	IsRolling *bool  `yaml:"isRolling"`
	Calendar  node   `yaml:"calendar"`
}

type objective struct {
	DisplayName     string   `yaml:"displayName"`
	Operator        string   `yaml:"op"`
	Value           *float64 `yaml:"value"`
	Target          *float64 `yaml:"target"`
	TargetPercent   *float64 `yaml:"targetPercent"`
	TimeSliceTarget node     `yaml:"timeSliceTarget"`
	TimeSliceWindow node     `yaml:"timeSliceWindow"`
}

type indicator struct {
	Metadata node          `yaml:"metadata"`
	Spec     indicatorSpec `yaml:"spec,required"`
}

type indicatorSpec struct {
	Description     string       `yaml:"description"`
	ThresholdMetric *metric      `yaml:"thresholdMetric"`
	RatioMetric     *ratioMetric `yaml:"ratioMetric"`
}

type ratioMetric struct {
	Counter node    `yaml:"counter"`
	Good    *metric `yaml:"good"`
	Bad     *metric `yaml:"bad"`
	Total   *metric `yaml:"total"`
	RawType string  `yaml:"rawType"`
	Raw     *metric `yaml:"raw"`
}

type metric struct {
	Source struct {
		Reference string `yaml:"metricSourceRef"`
		Type      string `yaml:"type"`
		Spec      node   `yaml:"spec"`
	} `yaml:"metricSource,required"`
}

// node is a value that is looked at later, or not at all.
type node struct{ *strictyaml.Node }

// UnmarshalNode keeps the node.
func (n *node) UnmarshalNode(at *strictyaml.Node) error {
	n.Node = at
	return nil
}

// texts are all the words below a node.
func texts(n *strictyaml.Node) []string {
	if n == nil {
		return nil
	}
	var all []string
	entries, _ := n.Entries() // one that occurs twice is read twice
	for _, e := range entries {
		all = append(all, texts(e.Value)...)
	}
	for _, item := range n.Items() {
		all = append(all, texts(item)...)
	}
	if text := n.Text(); text != "" {
		all = append(all, text)
	}
	return all
}
