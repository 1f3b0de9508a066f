// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"slices"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// Who defines an SLO.
const (
	fromTcpslo = "tcpslo"
	fromSloth  = "sloth"
	fromPyrra  = "pyrra"
)

// summary is a row of slo_summary. What is not known is nil or empty.
type summary struct {
	service, name, source string
	labels                string // beside service and name
	state                 slo.State
	worst                 string // route
	objective, sli        *float64
	remaining, burn       *float64
	exhaustion, window    *float64
}

func askSummary(r *request) []question {
	return append([]question{
		{name: "objectives", expr: r.ofSLO(objectiveRatio)},
		{name: "windows", expr: r.ofSLO(windowSeconds), need: wanted},
		{name: "error ratios", expr: r.ofSLO(errorRatio), need: wanted},
		{name: "budgets", expr: r.ofSLO(budgetRemaining), need: wanted},
		{name: "forecasts", expr: r.ofSLO(budgetExhaustion), need: wanted},
		{name: "burn rates", expr: r.ofSLO("", promql.Is("__name__", burnRates()...)), need: wanted},
		{name: "burn thresholds", expr: r.ofSLO(burnThreshold), need: wanted},
		{name: "worst routes", expr: "topk by (service, slo) (1, sum by (service, slo, path) (sum_over_time(" + r.ofSLO(badEventsByPath) + "[1d])))", need: wanted},
	}, askForeign(r)...)
}

func showSummary(r *request, given answers) data.Frames {
	rows := append(ownSummaries(given), foreignSummaries(given)...)
	if len(rows) == 0 {
		return nil
	}
	// The least budget first: a panel shows the top of a thousand SLOs.
	slices.SortStableFunc(rows, func(a, b summary) int {
		return cmp.Or(cmp.Compare(order(a.remaining), order(b.remaining)), cmp.Compare(a.service, b.service), cmp.Compare(a.name, b.name), cmp.Compare(a.labels, b.labels))
	})
	return data.Frames{summaryFrame(r, rows)}
}

// order puts what is not known behind every share that is left.
func order(remaining *float64) float64 {
	if remaining == nil {
		return 2
	}
	return *remaining
}

func ownSummaries(given answers) (rows []summary) {
	windows, errors := byIdentity(given.series("windows")), byIdentity(given.series("error ratios"))
	budgets, forecasts := byIdentity(given.series("budgets")), byIdentity(given.series("forecasts"))
	worst := map[string]string{}
	for _, s := range given.series("worst routes") {
		worst[s.Labels["service"]+"\x00"+s.Labels["slo"]] = s.Labels["path"]
	}
	burns := burnsOf(given)
	for _, s := range given.series("objectives") {
		key := identity(s.Labels).String()
		row := summary{
			service: s.Labels["service"], name: s.Labels["slo"], source: fromTcpslo,
			labels: title(without(identity(s.Labels), "service", "slo")),
			worst:  worst[s.Labels["service"]+"\x00"+s.Labels["slo"]],
			state:  burns[key].state(0), burn: burns[key].now(),
			objective: value(s.Value()), window: valueOf(windows, key),
			remaining: valueOf(budgets, key), exhaustion: valueOf(forecasts, key),
		}
		if ratio := valueOf(errors, key); ratio != nil {
			row.sli = value(1 - *ratio)
		}
		rows = append(rows, row)
	}
	return rows
}

func summaryFrame(r *request, rows []summary) *data.Frame {
	text := func(name string, get func(summary) string, config data.FieldConfig) *data.Field {
		values := make([]string, len(rows))
		for i, row := range rows {
			values[i] = get(row)
		}
		return column(name, values, config)
	}
	number := func(name string, get func(summary) *float64, config data.FieldConfig) *data.Field {
		values := make([]*float64, len(rows))
		for i, row := range rows {
			values[i] = get(row)
		}
		return column(name, values, config)
	}
	fields := []*data.Field{
		text("service", func(s summary) string { return s.service }, data.FieldConfig{DisplayNameFromDS: "Service"}),
		text("slo", func(s summary) string { return s.name }, data.FieldConfig{DisplayNameFromDS: "SLO"}),
		text("state", func(s summary) string { return string(s.state) }, data.FieldConfig{DisplayNameFromDS: "State", Mappings: stateMappings(), Description: "How the burn rates of the four alert tiers look, the worst of them."}),
		text("worst_route", func(s summary) string { return s.worst }, data.FieldConfig{DisplayNameFromDS: "Worst route", Description: "The route with the most bad events of the last day."}),
		text("source", func(s summary) string { return s.source }, data.FieldConfig{DisplayNameFromDS: "Defined by"}),
		number("objective", func(s summary) *float64 { return s.objective }, data.FieldConfig{DisplayNameFromDS: "Objective", Unit: unitShare}),
		number("sli", func(s summary) *float64 { return s.sli }, data.FieldConfig{DisplayNameFromDS: "Good", Unit: unitShare, Description: "Share of good events within the window.", Links: r.explore("Error ratio", r.ofSLO(errorRatio))}),
		number("budget_remaining", func(s summary) *float64 { return s.remaining }, data.FieldConfig{DisplayNameFromDS: "Budget left", Unit: unitShare,
			Thresholds: steps(red, step(0, orange), step(0.25, green)), Links: r.explore("Budget", r.ofSLO(budgetRemaining))}),
		number("burn", func(s summary) *float64 { return s.burn }, data.FieldConfig{DisplayNameFromDS: "Burn rate", Unit: "x", Description: "How many times faster than allowed the budget burned within the last hour.",
			Thresholds: steps(green, step(1, orange), step(6, red)), Links: r.explore("Burn rate", r.ofSLO("", promql.Is("__name__", burnRates()...)))}),
		number("exhaustion", func(s summary) *float64 { return s.exhaustion }, data.FieldConfig{DisplayNameFromDS: "Used up in", Unit: unitSeconds, NoValue: "never"}),
		number("window", func(s summary) *float64 { return s.window }, data.FieldConfig{DisplayNameFromDS: "Window", Unit: unitSeconds}),
	}
	if slices.ContainsFunc(rows, func(s summary) bool { return s.labels != "" }) {
		fields = slices.Insert(fields, 2, text("labels", func(s summary) string { return s.labels }, data.FieldConfig{DisplayNameFromDS: "Labels"}))
	}
	return table(fields...)
}
