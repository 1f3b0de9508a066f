// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// breachStep is how exactly the ends of a breach are found: rules are evaluated that often.
const (
	breachStep   = 30 * time.Second
	breachPoints = 3000 // a day by that step
)

func askBreaches(r *request) []question {
	return []question{{name: "alerts", over: true, expr: r.ofSLO("ALERTS",
		promql.Is("alertname", burnAlert), promql.Is("alertstate", "firing"))}}
}

// breach is the time in which the alert of a tier fired.
type breach struct {
	labels     data.Labels
	start, end time.Time
}

// showBreaches has a row for each breach, in the form of Grafana's annotations.
func showBreaches(r *request, given answers) data.Frames {
	var all []breach
	for _, s := range given.series("alerts") {
		all = append(all, regions(r.grid, s)...)
	}
	if all == nil {
		return data.Frames{data.NewFrame("")} // no breach is good news
	}
	slices.SortStableFunc(all, func(a, b breach) int {
		return cmp.Or(a.start.Compare(b.start), cmp.Compare(title(a.labels), title(b.labels)))
	})
	var starts, ends []time.Time
	var titles, texts, tags []string
	for _, b := range all {
		starts, ends = append(starts, b.start), append(ends, b.end)
		titles = append(titles, fmt.Sprintf("%s: %s burns (%s)", b.labels["service"], b.labels["slo"], b.labels["burn_tier"]))
		texts = append(texts, fmt.Sprintf("The error budget burned too fast over %s and %s.", b.labels["long"], b.labels["short"]))
		tags = append(tags, "slo,"+b.labels["severity"]+","+b.labels["service"])
	}
	frame := data.NewFrame("breaches", data.NewField("time", nil, starts), data.NewField("timeEnd", nil, ends),
		data.NewField("title", nil, titles), data.NewField("text", nil, texts), data.NewField("tags", nil, tags))
	return data.Frames{frame}
}

// regions finds the runs of points that have a value: an alert has one while it fires. One goes on
// until the point behind its last, or to the end of the range.
func regions(grid promapi.Grid, s promapi.Series) (all []breach) {
	start := -1
	for i := 0; i <= len(s.Values); i++ {
		fires := i < len(s.Values) && s.Values[i] > 0 // NaN is not
		switch {
		case fires && start < 0:
			start = i
		case !fires && start >= 0:
			all = append(all, breach{s.Labels, grid.Time(start), grid.Time(min(i, len(s.Values)-1))})
			start = -1
		}
	}
	return all
}
