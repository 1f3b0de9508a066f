// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"math"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// counted are values by their labels, and the sums of those that agree in some of them.
type counted struct {
	by    map[string]float64
	total map[string]float64
}

func count(series []promapi.Series, together func(data.Labels) string) counted {
	c := counted{map[string]float64{}, map[string]float64{}}
	for _, s := range series {
		if v := s.Value(); v > 0 {
			c.by[s.Labels.String()] += v
			c.total[together(s.Labels)] += v
		}
	}
	return c
}

// share is that of a series in those that it is counted together with; 0 where there are none.
func (c counted) share(labels data.Labels, together string) float64 {
	if c.total[together] == 0 {
		return 0
	}
	return c.by[labels.String()] / c.total[together]
}

// contributions are the shares of series in their total, now and before.
func contributions(given answers, name string, together func(data.Labels) string, each func(labels data.Labels, c cause, total float64)) {
	now, past := count(given.series(name), together), count(given.series(before(name)), together)
	for _, s := range given.series(name) {
		of := together(s.Labels)
		if s.Value() < 0.5 || math.IsNaN(s.Value()) {
			continue // increase() is no whole number; less than half an event is none
		}
		c := cause{service: s.Labels["service"], slo: s.Labels["slo"], path: s.Labels["path"], events: s.Value(),
			share: now.share(s.Labels, of), before: past.share(s.Labels, of)}
		c.weight = slo.WilsonLowerBound(c.share, now.total[of]) - c.before
		each(s.Labels, c, now.total[of])
	}
}
