// SPDX-License-Identifier: Apache-2.0

package histogram

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metric is a snapshot with its labels.
type metric struct {
	desc     *prometheus.Desc
	labels   []*dto.LabelPair
	snapshot Snapshot
}

// NewMetric returns a metric that writes the snapshot. The labels must be those
// of desc, sorted by name, as prometheus.MakeLabelPairs returns them. For
// exemplars, wrap it with prometheus.NewMetricWithExemplars.
func NewMetric(desc *prometheus.Desc, labels []*dto.LabelPair, snapshot Snapshot) prometheus.Metric {
	return &metric{desc: desc, labels: labels, snapshot: snapshot}
}

// Desc returns the descriptor given to NewMetric.
func (m *metric) Desc() *prometheus.Desc { return m.desc }

// Write implements prometheus.Metric.
func (m *metric) Write(out *dto.Metric) error {
	out.Label = m.labels
	out.Histogram = &dto.Histogram{}
	m.snapshot.Write(out.Histogram)
	return nil
}
