// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// SLOs of Sloth (its metadata rules, since v0.1) and of Pyrra (its generic rules) that are in the same
// Prometheus are shown beside our own. Nothing is written for them.
const (
	slothObjective = "slo:objective:ratio"
	slothBurn      = "slo:current_burn_rate:ratio"
	slothRemaining = "slo:period_error_budget_remaining:ratio"
	slothDays      = "slo:time_period:days"

	pyrraObjective    = "pyrra_objective"
	pyrraAvailability = "pyrra_availability"
	pyrraWindow       = "pyrra_window"
)

func askForeign(r *request) []question {
	questions := []question{{name: fromSloth, need: spare, expr: r.sel("",
		promql.Is("__name__", slothObjective, slothBurn, slothRemaining, slothDays),
		promql.Is("sloth_service", r.Services...), promql.Is("sloth_slo", r.SLOs...))}}
	if len(r.Services) == 0 { // Pyrra knows no services
		questions = append(questions, question{name: fromPyrra, need: spare, expr: r.sel("",
			promql.Is("__name__", pyrraObjective, pyrraAvailability, pyrraWindow), promql.Is("slo", r.SLOs...))})
	}
	return questions
}

func foreignSummaries(given answers) (rows []summary) {
	for _, of := range byObject(given.series(fromSloth)) {
		row := summary{service: of.labels["sloth_service"], name: of.labels["sloth_slo"], source: fromSloth,
			labels:    title(without(of.labels, "sloth_service", "sloth_slo", "sloth_id")),
			objective: of.values[slothObjective], burn: of.values[slothBurn], remaining: of.values[slothRemaining]}
		if row.objective != nil && row.remaining != nil {
			row.sli = value(1 - (1-*row.remaining)*(1-*row.objective))
		}
		if days := of.values[slothDays]; days != nil {
			row.window = value(*days * (24 * time.Hour).Seconds())
		}
		rows = append(rows, row)
	}
	for _, of := range byObject(given.series(fromPyrra)) {
		row := summary{name: of.labels["slo"], source: fromPyrra, labels: title(without(of.labels, "slo")),
			objective: of.values[pyrraObjective], sli: of.values[pyrraAvailability], window: of.values[pyrraWindow]}
		if row.objective != nil && row.sli != nil && *row.objective < 1 {
			row.remaining = value((*row.sli - *row.objective) / (1 - *row.objective))
		}
		rows = append(rows, row)
	}
	return rows
}

// object is the values of several metrics with the same labels.
type object struct {
	labels data.Labels
	values map[string]*float64
}

func byObject(series []promapi.Series) (objects []*object) {
	found := map[string]*object{}
	for _, s := range series {
		labels := without(s.Labels, "__name__")
		of := found[labels.String()]
		if of == nil {
			of = &object{labels, map[string]*float64{}}
			found[labels.String()] = of
			objects = append(objects, of)
		}
		of.values[s.Labels["__name__"]] = value(s.Value())
	}
	return objects
}
