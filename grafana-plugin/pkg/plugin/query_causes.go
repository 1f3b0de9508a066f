// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/exporter/slo"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// failures are the status codes that are bad for every SLO.
var failures = promql.Matches("status_code", "5..|panic")

// before names the answer to the same question about the range before, of the same length: the baseline.
func before(name string) string { return name + ", before" }

func askCauses(r *request) (questions []question) {
	span := duration(r.span())
	ask := func(need need, name, labels, selector string) {
		expr := "sum by (" + labels + ") (increase(" + selector + "[" + span + "]%s))"
		questions = append(questions, question{name: name, need: need, expr: fmt.Sprintf(expr, "")},
			question{name: before(name), need: max(need, wanted), expr: fmt.Sprintf(expr, " offset "+span)})
	}
	ask(essential, "bad events", "service, slo, path", r.ofSLO(sloEvents, promql.Is("verdict", "bad"), promql.Is("path", r.Paths...)))
	ask(wanted, "failed requests", "service, path, method, status_code", r.ofRoute(requestDuration+"_count", failures))
	ask(wanted, "requests", "service, path", r.ofRoute(requestDuration+"_count"))
	ask(wanted, "time in stages", "service, path, stage", r.ofRoute(requestStage+"_sum"))
	return questions
}

// cause is something that bad events have in common.
type cause struct {
	what                  string // route, status or stage
	service, slo, path    string
	detail                string // a method and a status, a stage
	events                float64
	share, before, weight float64
	sentence, expr        string
}

// showCauses ranks causes by their weight: by how much their share of what is bad grew against the range before, as
// far as so few events can tell (Wilson's lower bound of the share).
func showCauses(r *request, given answers) data.Frames {
	if len(given.series("bad events")) == 0 {
		return nil
	}
	causes := slices.Concat(r.routes(given), r.statuses(given), r.slowStages(given))
	slices.SortStableFunc(causes, func(a, b cause) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(b.events, a.events), cmp.Compare(a.sentence, b.sentence))
	})
	causes = causes[:min(len(causes), r.Limit)]
	text := func(name, display string, get func(cause) string) *data.Field {
		values := make([]string, len(causes))
		for i, c := range causes {
			values[i] = get(c)
		}
		return column(name, values, data.FieldConfig{DisplayNameFromDS: display})
	}
	number := func(name string, get func(cause) float64, config data.FieldConfig) *data.Field {
		values := make([]*float64, len(causes))
		for i, c := range causes {
			values[i] = value(get(c))
		}
		return column(name, values, config)
	}
	return data.Frames{table(
		text("sentence", "Cause", func(c cause) string { return c.sentence }),
		number("weight", func(c cause) float64 { return c.weight }, data.FieldConfig{DisplayNameFromDS: "Weight", Unit: unitShare, Description: "By how much its share grew at least against the range before."}),
		number("share", func(c cause) float64 { return c.share }, data.FieldConfig{DisplayNameFromDS: "Share", Unit: unitShare}),
		number("before", func(c cause) float64 { return c.before }, data.FieldConfig{DisplayNameFromDS: "Share before", Unit: unitShare}),
		number("events", func(c cause) float64 { return c.events }, data.FieldConfig{DisplayNameFromDS: "Events", Unit: "short"}),
		text("what", "Seen in", func(c cause) string { return c.what }),
		text("service", "Service", func(c cause) string { return c.service }),
		text("slo", "SLO", func(c cause) string { return c.slo }),
		text("path", "Route", func(c cause) string { return c.path }),
		text("detail", "Detail", func(c cause) string { return c.detail }),
		text("promql", "PromQL", func(c cause) string { return c.expr }),
	)}
}

func (r *request) routes(given answers) (causes []cause) {
	contributions(given, "bad events", func(l data.Labels) string { return l["service"] + "\x00" + l["slo"] }, func(l data.Labels, c cause, total float64) {
		c.what = "route"
		c.sentence = fmt.Sprintf("%s of the bad events of %s/%s are of %s (%.0f of %.0f); before, %s.", percent(c.share), c.service, c.slo, route(c.path), c.events, total, percent(c.before))
		c.expr = "sum (rate(" + r.sel(sloEvents, promql.Is("service", c.service), promql.Is("slo", c.slo), promql.Is("path", c.path), promql.Is("verdict", "bad")) + "[" + r.rate() + "]))"
		causes = append(causes, c)
	})
	return causes
}

func (r *request) statuses(given answers) (causes []cause) {
	contributions(given, "failed requests", func(l data.Labels) string { return l["service"] }, func(l data.Labels, c cause, total float64) {
		c.what, c.detail = "status", l["method"]+" "+l["status_code"]
		c.sentence = fmt.Sprintf("%s of the failed requests of %s are %s %s with %s (%.0f of %.0f); before, %s.", percent(c.share), c.service, l["method"], route(c.path), l["status_code"], c.events, total, percent(c.before))
		c.expr = "sum (rate(" + r.sel(requestDuration+"_count", promql.Is("service", c.service), promql.Is("path", c.path), promql.Is("method", l["method"]), promql.Is("status_code", l["status_code"])) + "[" + r.rate() + "]))"
		causes = append(causes, c)
	})
	return causes
}

// leastLonger is by how much longer a stage must be to be a cause, in units of what a whole request took before: less is
// how one hour differs from another.
const leastLonger = 0.1

// slowStages finds the stages in which requests of routes with bad events spend more time than before.
func (r *request) slowStages(given answers) (causes []cause) {
	bad := map[string]bool{}
	for _, s := range given.series("bad events") {
		if s.Value() >= 0.5 {
			bad[s.Labels["service"]+"\x00"+s.Labels["path"]] = true
		}
	}
	now, past := means(given, "requests", "time in stages"), means(given, before("requests"), before("time in stages"))
	extra, usual := map[string]float64{}, map[string]float64{}
	for _, s := range given.series("time in stages") {
		m := now[s.Labels.String()]
		extra[s.Labels["service"]] += max(0, m.seconds-past[s.Labels.String()].seconds) * m.requests
		usual[s.Labels["service"]+"\x00"+s.Labels["path"]] += past[s.Labels.String()].seconds
	}
	for _, s := range given.series("time in stages") {
		m, base := now[s.Labels.String()], past[s.Labels.String()]
		c := cause{what: "stage", service: s.Labels["service"], path: s.Labels["path"], detail: s.Labels["stage"], events: m.requests}
		longer := m.seconds - base.seconds
		if !bad[c.service+"\x00"+c.path] || base.requests == 0 || !(longer > leastLonger*usual[c.service+"\x00"+c.path]) {
			continue
		}
		c.share = longer * m.requests / extra[c.service]
		c.weight = slo.WilsonLowerBound(c.share, m.requests)
		c.before = math.NaN()
		c.sentence = fmt.Sprintf("Requests to %s of %s spend %s in %s, %s before: %s of what %s is slower by.", route(c.path), c.service, milliseconds(m.seconds), c.detail, milliseconds(base.seconds), percent(c.share), c.service)
		of := []promql.Matcher{promql.Is("service", c.service), promql.Is("path", c.path)}
		c.expr = "sum (rate(" + r.sel(requestStage+"_sum", append(of, promql.Is("stage", c.detail))...) + "[" + r.rate() + "])) / sum (rate(" + r.sel(requestDuration+"_count", of...) + "[" + r.rate() + "]))"
		causes = append(causes, c)
	}
	return causes
}

// mean is what a request to a route spends in a stage.
type mean struct{ seconds, requests float64 }

func means(given answers, requests, times string) map[string]mean {
	counts := map[string]float64{}
	for _, s := range given.series(requests) {
		counts[s.Labels["service"]+"\x00"+s.Labels["path"]] = s.Value()
	}
	found := map[string]mean{}
	for _, s := range given.series(times) {
		if n := counts[s.Labels["service"]+"\x00"+s.Labels["path"]]; n >= 0.5 {
			found[s.Labels.String()] = mean{s.Value() / n, n}
		}
	}
	return found
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func milliseconds(seconds float64) string { return fmt.Sprintf("%.3g ms", 1000*seconds) }

// route names a path for a reader.
func route(path string) string {
	if path == "" {
		return "no known route"
	}
	return path
}
