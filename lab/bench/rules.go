// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/lab/child"
	"github.com/tcpslo/tcpslo/mixin"
)

const (
	sloWindow      = 30 * 24 * time.Hour
	scrapeInterval = 15 * time.Second
	routesOfSLO    = 5
	// peersOf is for how many SLOs the rules of others are evaluated: theirs are apart for each SLO and
	// cost the same, so what they cost is multiplied.
	peersOf = 2
	// longestRaw is how far back raw counters go of SLOs that only our rules read, which look back six hours.
	longestRaw = 6*time.Hour + 10*time.Minute
)

var sloCounts = []int{1, 50, 500}

//go:embed peers.yaml
var peersYAML []byte

// ruleSet is what a tool has evaluated, for one SLO or for all.
type ruleSet struct {
	Name    string
	Shape   string
	Rules   []sloRule
	History map[string]time.Duration // recorded series of which the whole window is read, and how often they are
}

type sloRule struct {
	Every  time.Duration
	Record string
	Expr   string
	Labels map[string]string
}

// rules compares what SLO rules cost a Prometheus with 30 days of data.
func rules(ctx context.Context, b *bench) (section, error) {
	ours, err := ourRules(b.tools.root)
	if err != nil {
		return section{}, err
	}
	var peers []ruleSet
	if err := yaml.Unmarshal(peersYAML, &peers); err != nil {
		return section{}, fmt.Errorf("read peers.yaml: %w", err)
	}
	s := section{title: "What the rules of SLOs cost"}
	whole := table{header: []string{"SLOs", "rules as by", ">rules", ">samples, all once", ">time, all once", ">samples a minute", ">time a minute", ">samples a minute ÷ ours", ">time a minute ÷ ours"}}
	for _, slos := range sloCounts {
		progress("rules: %d SLOs", slos)
		costs, err := compareRules(ctx, b, slos, append([]ruleSet{ours}, peers...))
		if err != nil {
			return section{}, fmt.Errorf("%d SLOs: %w", slos, err)
		}
		for i, c := range costs {
			whole.add(strconv.Itoa(slos), c.name, strconv.Itoa(c.rules), fmt.Sprint(c.samples), milliseconds(median(c.once)), fmt.Sprintf("%.0f", c.perMinute), milliseconds(median(c.minute)),
				fmt.Sprintf("%.1f", c.perMinute/costs[0].perMinute), fmt.Sprintf("%.1f", median(c.minute)/median(costs[0].minute)))
			if i > 0 {
				s.figures = append(s.figures, figure{fmt.Sprintf("rules as by %s ÷ ours, SLOs: %d, samples a minute", c.name, slos), fmt.Sprintf("%.1f", c.perMinute/costs[0].perMinute), "≥ 5"},
					figure{fmt.Sprintf("rules as by %s ÷ ours, SLOs: %d, time a minute", c.name, slos), fmt.Sprintf("%.1f", median(c.minute)/median(costs[0].minute)), "≥ 5"})
			}
		}
	}
	s.body = whole.markdown() + fmt.Sprintf(`
Each SLO has %d routes with good and bad events, scraped every %s, a window of 30 days, and as much history as any of the rules reads. The same counters
serve all; what others' rules look like stands in lab/bench/peers.yaml. A rule is one query to a real Prometheus (2.42 or newer), whose `+"`stats=all`"+` tells samples
and time; medians of %d alternating rounds. All once: each rule evaluated one time. A minute: each as often as its group is. Rules of others are evaluated for
at most %d SLOs and multiplied, as there are rules of their own for each. The data is in memory: from disk, what reads more loses more.
Of one SLO the time is that of as many queries as there are rules, more than that of what they read.
`, routesOfSLO, scrapeInterval, b.rounds, peersOf)
	return s, nil
}

// ourRules are the rules and alerts of SLOs in the mixin.
func ourRules(root string) (ruleSet, error) {
	set := ruleSet{Name: "tcpslo", History: map[string]time.Duration{}}
	m, err := mixin.Evaluate(filepath.Join(root, "mixin"), "{}")
	if err != nil {
		return set, err
	}
	for _, group := range append(m.Rules.Groups, m.Alerts.Groups...) {
		if !strings.HasPrefix(group.Name, "tcpslo-slo") {
			continue
		}
		every, err := time.ParseDuration(group.Interval)
		if err != nil {
			return set, fmt.Errorf("interval of group %q: %w", group.Name, err)
		}
		for _, rule := range group.Rules {
			set.Rules = append(set.Rules, sloRule{Every: every, Record: rule.Record, Expr: rule.Expr, Labels: rule.Labels})
			if rule.Record == names.RecordedIncrease || rule.Record == names.RecordedBadIncrease {
				set.History[rule.Record] = every
			}
		}
	}
	return set, nil
}

// cost is what a rule set costs for all SLOs.
type cost struct {
	name         string
	rules        int
	samples      int     // of each rule evaluated once
	perMinute    float64 // samples a minute
	once, minute []float64
}

func compareRules(ctx context.Context, b *bench, slos int, sets []ruleSet) (costs []cost, err error) {
	folder, err := os.MkdirTemp(b.tools.dir, "prometheus")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	// One block for all: nothing is compacted while it is measured.
	p, err := child.StartPrometheus(ctx, "prometheus", config, filepath.Join(folder, "data"), "--web.enable-remote-write-receiver",
		"--storage.tsdb.min-block-duration=90d", "--storage.tsdb.max-block-duration=90d", "--storage.tsdb.retention.time=1y")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	now := time.Now().Truncate(time.Minute)
	if err := writeHistory(p, slos, sets, now); err != nil {
		return nil, err
	}
	costs = make([]cost, len(sets))
	// The first round records what later rules of a set read.
	for round := range b.rounds + 1 {
		for i, set := range sets {
			if costs[i], err = costs[i].evaluate(p, set, slos, now, round == 0); err != nil {
				return nil, fmt.Errorf("rules as by %s: %w", set.Name, err)
			}
		}
	}
	return costs, nil
}

// evaluate evaluates each rule of a set once.
func (c cost) evaluate(p *child.Prometheus, set ruleSet, slos int, now time.Time, record bool) (cost, error) {
	objects, times := []string{""}, 1.0
	if set.Shape != "" {
		objects = nil
		for i := range min(slos, peersOf) {
			objects = append(objects, matchers(i))
		}
		times = float64(slos) / float64(len(objects))
	}
	var samples, perMinute, once, minute float64
	for i, object := range objects {
		for _, rule := range set.Rules {
			answer, err := query(p, strings.ReplaceAll(rule.Expr, "$slo", object), now)
			if err != nil {
				return c, err
			}
			often := times * float64(time.Minute) / float64(rule.Every)
			samples += times * float64(answer.Stats.Samples.TotalQueryableSamples)
			perMinute += often * float64(answer.Stats.Samples.TotalQueryableSamples)
			once += times * answer.Stats.Timings.EvalTotalTime
			minute += often * answer.Stats.Timings.EvalTotalTime
			if !record || rule.Record == "" {
				continue
			}
			if rule.Labels == nil && object != "" {
				rule.Labels = sloLabels(i)
			}
			if err := answer.record(p, rule, now); err != nil {
				return c, err
			}
		}
	}
	if record {
		return cost{name: set.Name, rules: int(times * float64(len(objects)*len(set.Rules)))}, nil
	}
	c.samples, c.perMinute = int(samples), perMinute
	c.once, c.minute = append(c.once, once), append(c.minute, minute)
	return c, nil
}

// evaluated is what Prometheus tells of a query.
type evaluated struct {
	Result []struct {
		Metric map[string]string
		Value  [2]any
	}
	Stats struct {
		Timings struct{ EvalTotalTime float64 }
		Samples struct{ TotalQueryableSamples int }
	}
}

func query(p *child.Prometheus, expression string, at time.Time) (a evaluated, err error) {
	err = p.Query(expression, url.Values{"time": {strconv.FormatInt(at.Unix(), 10)}, "stats": {"all"}}, &a)
	return a, err
}

// record writes the result as a rule would.
func (a evaluated) record(p *child.Prometheus, rule sloRule, at time.Time) error {
	var all []timeSeries
	for _, r := range a.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return err
		}
		recorded := map[string]string{}
		maps.Copy(recorded, r.Metric)
		maps.Copy(recorded, rule.Labels)
		recorded["__name__"] = rule.Record
		all = append(all, timeSeries{recorded, []sample{{at, value}}})
	}
	// Of the rules of one window of the budget only those of this window have SLOs.
	if len(all) == 0 && rule.Labels["window"] != "" {
		return nil
	} else if len(all) == 0 {
		return fmt.Errorf("%s records nothing: %s", rule.Record, rule.Expr)
	}
	return remoteWrite(p.Address, all)
}

func sloLabels(slo int) map[string]string {
	return map[string]string{"service": fmt.Sprintf("service-%d", slo), "slo": "availability"}
}

func matchers(slo int) string {
	return fmt.Sprintf(`service="service-%d",slo="availability"`, slo)
}

// source is a series of the history: from when on, how often, and its value by time.
type source struct {
	labels map[string]string
	from   time.Time
	every  time.Duration
	value  func(at time.Time) float64
}

// writeHistory writes what the rules read, a quarter of a day after the other.
func writeHistory(p *child.Prometheus, slos int, sets []ruleSet, now time.Time) error {
	began := now.Add(-sloWindow - time.Hour)
	var sources []source
	add := func(slo int, name string, from time.Time, every time.Duration, value func(time.Time) float64, more ...string) {
		all := sloLabels(slo)
		all["__name__"] = name
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		sources = append(sources, source{all, from, every, value})
	}
	constant := func(v float64) func(time.Time) float64 { return func(time.Time) float64 { return v } }
	for slo := range slos {
		from := began
		if slo >= peersOf {
			from = now.Add(-longestRaw)
		}
		for route := range routesOfSLO {
			for verdict, perSecond := range map[string]float64{"good": 10, "bad": 0.005} {
				counter := func(at time.Time) float64 {
					return float64(int(perSecond * at.Sub(began).Seconds() * float64(route+1)))
				}
				add(slo, "tcpslo_slo_events_total", from, scrapeInterval, counter, "path", fmt.Sprintf("/route/%d", route), "verdict", verdict, "job", "tcpslo", "instance", "one:10984")
			}
		}
		add(slo, "tcpslo_slo_objective_ratio", now.Add(-longestRaw), scrapeInterval, constant(0.999), "job", "tcpslo")
		add(slo, "tcpslo_slo_window_seconds", now.Add(-longestRaw), scrapeInterval, constant(sloWindow.Seconds()), "job", "tcpslo")
		for _, set := range sets {
			if set.Shape != "" && slo >= peersOf {
				continue
			}
			for name, every := range set.History {
				add(slo, name, began, every, func(at time.Time) float64 { return float64(1 + at.Unix()/60%7) })
			}
			if set.Shape == "" {
				add(slo, names.RecordedObjective, now.Add(-longestRaw), time.Minute, constant(0.999))
			}
		}
	}
	const slice = 6 * time.Hour
	for at := began; at.Before(now); at = at.Add(slice) {
		var all []timeSeries
		send := func() error {
			err := remoteWrite(p.Address, all)
			all = nil
			return err
		}
		pending := 0
		for _, s := range sources {
			series := timeSeries{labels: s.labels}
			for t := at; t.Before(at.Add(slice)) && t.Before(now); t = t.Add(s.every) {
				if !t.Before(s.from) {
					series.samples = append(series.samples, sample{t, s.value(t)})
				}
			}
			if len(series.samples) == 0 {
				continue
			}
			all = append(all, series)
			if pending += len(series.samples); pending > 200_000 {
				if err := send(); err != nil {
					return err
				}
				pending = 0
			}
		}
		if err := send(); err != nil {
			return err
		}
	}
	return nil
}
