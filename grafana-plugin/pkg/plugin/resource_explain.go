// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// explanation is where the budget of an SLO comes from. Numbers that are not known are left out.
type explanation struct {
	Service   string   `json:"service"`
	SLO       string   `json:"slo"`
	Sentence  string   `json:"sentence"`
	Objective *float64 `json:"objective,omitempty"`
	// WindowSeconds is how far back Bad and Total look.
	WindowSeconds *float64 `json:"windowSeconds,omitempty"`
	// Bad is the numerator, Total the denominator of the error ratio.
	Bad       *float64 `json:"bad,omitempty"`
	Total     *float64 `json:"total,omitempty"`
	Remaining *float64 `json:"remaining,omitempty"`
	// WorstRoute is that with the most bad events of the last day, WorstBad how many.
	WorstRoute string   `json:"worstRoute,omitempty"`
	WorstBad   *float64 `json:"worstBad,omitempty"`
	// Queries are the PromQL of the numbers, by their names here.
	Queries map[string]string `json:"queries"`
}

func (d *Datasource) explain(ctx context.Context, service, slo string) (*explanation, error) {
	if service == "" || slo == "" {
		return nil, errQuery{fmt.Errorf("parameters service and slo must be given")}
	}
	now := d.clock()
	r := &request{Query: models.Query{Services: []string{service}, SLOs: []string{slo}}, Datasource: d, now: now, grid: promapi.At(now)}
	questions := []question{
		{name: "objective", expr: r.ofSLO(objectiveRatio)},
		{name: "windowSeconds", expr: r.ofSLO(windowSeconds), need: wanted},
		{name: "bad", expr: r.ofSLO(names.RecordedWindowBadEvents), need: wanted},
		{name: "total", expr: r.ofSLO(names.RecordedWindowEvents), need: wanted},
		{name: "remaining", expr: r.ofSLO(budgetRemaining), need: wanted},
		{name: "worstRoute", expr: "topk(1, sum by (path) (sum_over_time(" + r.ofSLO(badEventsByPath) + "[1d])))", need: wanted},
	}
	given, err := r.put(ctx, questions)
	if err != nil {
		return nil, err
	}
	e := &explanation{Service: service, SLO: slo, Queries: map[string]string{}}
	for _, q := range questions {
		e.Queries[q.name] = q.expr
	}
	first := func(name string) *float64 {
		if series := given.series(name); len(series) > 0 {
			return value(series[0].Value())
		}
		return nil
	}
	e.Objective, e.WindowSeconds, e.Bad, e.Total, e.Remaining = first("objective"), first("windowSeconds"), first("bad"), first("total"), first("remaining")
	if worst := given.series("worstRoute"); len(worst) > 0 {
		e.WorstRoute, e.WorstBad = worst[0].Labels["path"], value(worst[0].Value())
	}
	e.Sentence = e.sentence()
	return e, nil
}

func (e *explanation) sentence() string {
	switch {
	case e.Objective == nil:
		return fmt.Sprintf("No exporter tells of the SLO %q of %q, or the rules are not loaded.", e.SLO, e.Service)
	case e.Bad == nil || e.Total == nil || e.WindowSeconds == nil:
		return fmt.Sprintf("%.6g %% of the events of %s must be good; how many were is not recorded yet.", 100**e.Objective, e.Service)
	}
	allowed := (1 - *e.Objective) * *e.Total
	text := fmt.Sprintf("%.0f of %.0f events of the last %s were bad; %.6g %% good means that %.0f may be", *e.Bad, *e.Total, duration(time.Duration(*e.WindowSeconds)*time.Second), 100**e.Objective, allowed)
	if e.Remaining != nil {
		text += fmt.Sprintf(", so %.1f %% of the error budget is left", 100**e.Remaining)
	}
	if e.WorstRoute != "" {
		text += fmt.Sprintf(". Most bad events of the last day are of %s", e.WorstRoute)
	}
	return text + "."
}
