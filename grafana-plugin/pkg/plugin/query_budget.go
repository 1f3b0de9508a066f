// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

func askBudget(r *request) []question {
	return []question{
		{name: "budgets", expr: r.ofSLO(budgetRemaining), over: true},
		{name: "forecasts", expr: r.ofSLO(budgetExhaustion), need: wanted},
		{name: "windows", expr: r.ofSLO(windowSeconds), need: wanted},
	}
}

// forecastAge is how old the last value of a budget may be for a forecast to begin there: rules record one
// every four minutes, and Prometheus repeats it for five.
const forecastAge = 10 * time.Minute

// showBudget has a curve of each SLO's remaining budget, from where it ends the forecast until the end of the
// range, and for each window the ideal: a budget that burns evenly from the start of the range.
func showBudget(r *request, given answers) data.Frames {
	forecasts, windows := byIdentity(given.series("forecasts")), byIdentity(given.series("windows"))
	var fields []*data.Field
	ideals := map[time.Duration]bool{}
	for _, s := range sorted(given.series("budgets")) {
		labels := identity(s.Labels)
		key := labels.String()
		fields = append(fields, curve("remaining", labels, s.Values, data.FieldConfig{Unit: unitShare,
			Thresholds: steps(red, step(0, orange), step(0.25, green)), Links: r.explore("Budget", r.ofSLO(budgetRemaining))}))
		if seconds := valueOf(forecasts, key); seconds != nil && !r.alerting {
			if ahead := r.forecast(s, *seconds); ahead != nil {
				fields = append(fields, curve("forecast", labels, ahead, data.FieldConfig{Unit: unitShare,
					Description: "If requests fail as they did in the last 6 h.", Custom: map[string]any{"lineStyle": map[string]any{"fill": "dash", "dash": []int{10, 10}}}}))
			}
		}
		if seconds := valueOf(windows, key); seconds != nil && *seconds > 0 {
			ideals[time.Duration(*seconds*float64(time.Second))] = true
		}
	}
	if fields == nil {
		return nil
	}
	if !r.alerting {
		for _, window := range slices.Sorted(maps.Keys(ideals)) {
			fields = append(fields, r.ideal(window))
		}
	}
	return data.Frames{wide(r.grid, fields...)}
}

// forecast goes from the last value that is known straight to 0, which it reaches after some seconds,
// and stays there. It is nil if nothing of the future is in the range or the budget is gone.
func (r *request) forecast(s promapi.Series, seconds float64) []float64 {
	last := len(s.Values) - 1
	for last >= 0 && math.IsNaN(s.Values[last]) {
		last--
	}
	if last < 0 || last == len(s.Values)-1 || s.Values[last] <= 0 || seconds <= 0 || r.now.Sub(r.grid.Time(last)) > max(forecastAge, r.grid.Step) {
		return nil
	}
	values := make([]float64, len(s.Values))
	for i := range values {
		if values[i] = math.NaN(); i >= last {
			since := r.grid.Time(i).Sub(r.grid.Time(last)).Seconds()
			values[i] = s.Values[last] * max(0, 1-since/seconds)
		}
	}
	return values
}

func (r *request) ideal(window time.Duration) *data.Field {
	values := make([]float64, r.grid.Points)
	for i := range values {
		values[i] = max(0, 1-r.grid.Time(i).Sub(r.grid.Start).Seconds()/window.Seconds())
	}
	return curve("ideal", data.Labels{"window": duration(window)}, values, data.FieldConfig{DisplayNameFromDS: "evenly over " + duration(window), Unit: unitShare,
		Description: "A whole budget that burns evenly from the start of the range.", Custom: map[string]any{"lineWidth": 1, "fillOpacity": 0}})
}
