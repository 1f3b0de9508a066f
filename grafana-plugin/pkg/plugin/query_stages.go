// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// askStages asks for the classic histogram, and for the native one, which is all that there is where
// Prometheus scrapes no classic ones.
func askStages(r *request) []question {
	rate := func(suffix string) string { return "rate(" + r.ofRoute(requestStage+suffix) + "[" + r.rate() + "])" }
	classic, native := "sum by (stage) ("+rate("_sum")+")", "sum by (stage) (histogram_sum("+rate("")+"))"
	if r.Mode == models.ModeQuantile {
		q := strconv.FormatFloat(r.Quantile, 'g', -1, 64)
		classic = "histogram_quantile(" + q + ", sum by (stage, le) (" + rate("_bucket") + "))"
		native = "histogram_quantile(" + q + ", sum by (stage) (" + rate("") + "))"
	}
	return []question{
		{name: "stages", expr: classic, over: true},
		{name: "stages of native histograms", expr: native, over: true, need: spare},
	}
}

func showStages(r *request, given answers) data.Frames {
	series := given.series("stages")
	if len(series) == 0 {
		series = given.series("stages of native histograms")
	}
	series = slices.Clone(series)
	slices.SortFunc(series, func(a, b promapi.Series) int {
		return slices.Index(stages, a.Labels["stage"]) - slices.Index(stages, b.Labels["stage"])
	})
	if len(series) == 0 {
		return nil
	}
	if r.Mode == models.ModeShare {
		series = shares(series)
	}
	var fields []*data.Field
	for _, s := range series {
		stage := s.Labels["stage"]
		config := data.FieldConfig{DisplayNameFromDS: stage, Unit: unitShare, Description: "Share of the time that requests spend.",
			Custom: map[string]any{"stacking": map[string]any{"mode": "normal"}, "fillOpacity": 80, "lineWidth": 0}}
		if r.Mode == models.ModeQuantile {
			config = data.FieldConfig{DisplayNameFromDS: stage, Unit: unitSeconds, Description: fmt.Sprintf("%g of requests spend less in this stage.", r.Quantile)}
		}
		config.Links = r.explore("Stages", askStages(r)[0].expr)
		fields = append(fields, curve("stage", data.Labels{"stage": stage}, s.Values, config))
	}
	return data.Frames{wide(r.grid, fields...)}
}

// shares divides each value by the sum of all at its point. While nothing comes, there are none.
func shares(series []promapi.Series) []promapi.Series {
	points := len(series[0].Values)
	sums := make([]float64, points)
	for _, s := range series {
		for i, v := range s.Values {
			if v > 0 { // and not NaN
				sums[i] += v
			}
		}
	}
	parts := make([]promapi.Series, len(series))
	for k, s := range series {
		parts[k] = promapi.Series{Labels: s.Labels, Values: make([]float64, points)}
		for i, v := range s.Values {
			parts[k].Values[i] = v / sums[i] // 0/0 is NaN, a gap
		}
	}
	return parts
}
