// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// dashboard is what these tests read of Grafana's JSON.
type dashboard struct {
	Title, UID, Description string
	SchemaVersion           int
	Tags                    []string
	Links                   []struct{ Tags []string }
	Time                    struct{ From, To string }
	Templating              struct{ List []variable }
	Annotations             struct {
		List []struct {
			Datasource source
			Expr       string
			Target     target
		}
	}
	Panels []panel
}

type source struct{ Type, UID string }

type variable struct {
	Name, Type string
	Definition string
	Datasource source
	Query      variableQuery
}

// variableQuery is a text or an object, as the type of the variable wants it.
type variableQuery struct {
	Text     string
	Values   string
	Services []string
}

func (q *variableQuery) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &q.Text)
	}
	type object variableQuery
	return json.Unmarshal(text, (*object)(q))
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []target
	FieldConfig              struct {
		Defaults  struct{ Unit string }
		Overrides []struct {
			Matcher    struct{ Options string }
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
}

type target struct {
	RefID, Expr, LegendFormat, QueryType string
	Datasource                           source
}

var (
	prometheusSource = source{"prometheus", "${datasource}"}
	pluginSource     = source{"tcpslo-slo-datasource", "${slo_datasource}"}
)

// source is what a dashboard asks: the data source that its first variable chooses.
func (d dashboard) source() source {
	first := d.Templating.List[0]
	return source{first.Query.Text, "${" + first.Name + "}"}
}

// asking keeps the dashboards that ask a data source of one kind.
func asking(all map[string]dashboard, what source) map[string]dashboard {
	maps.DeleteFunc(all, func(_ string, d dashboard) bool { return d.source() != what })
	return all
}

// dashboards reads those that are rendered, by file name.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	for name, text := range rendered(t).Dashboards {
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = d
	}
	if len(all) == 0 {
		t.Fatal("no dashboards")
	}
	return all
}

// shown are the panels that show something: all but the headings of rows.
func (d dashboard) shown() []panel {
	return slices.DeleteFunc(slices.Clone(d.Panels), func(p panel) bool { return p.Type == "row" })
}

// variables stand for what Grafana puts in their place.
var inserted = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$slower_than", "0.2", "$service", "shop", "$path", ".*", "$instance", ".*", "$slo", ".*")

func TestEvery_dashboard_and_panel_says_what_it_shows_in_which_unit(t *testing.T) {
	uids := map[string]string{}
	for name, d := range dashboards(t) {
		if d.Title == "" || d.Description == "" || d.Time.From == "" || d.SchemaVersion != 39 || !slices.Contains(d.Tags, "tcpslo") || len(d.Links) == 0 {
			t.Errorf("%s lacks a title, a description, a time range, its schema version, the tag that the others find it by, or links to them", name)
		}
		if other, taken := uids[d.UID]; taken || d.UID == "" {
			t.Errorf("%s has the uid %q, %q has it too", name, d.UID, other)
		}
		uids[d.UID] = name
		titles := map[string]bool{}
		for _, p := range d.shown() {
			if p.Title == "" || titles[p.Title] {
				t.Errorf("%s: two panels %q", name, p.Title)
			}
			titles[p.Title] = true
			if !strings.HasSuffix(p.Description, ".") {
				t.Errorf("%s: %s: description %q is no sentence", name, p.Title, p.Description)
			}
			if p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s: %s has no unit", name, p.Title)
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s: %s shows nothing", name, p.Title)
			}
		}
	}
}

func TestEverything_asks_the_data_source_that_is_chosen(t *testing.T) {
	for name, d := range dashboards(t) {
		for _, p := range d.shown() {
			if p.Datasource != d.source() {
				t.Errorf("%s: %s asks %v", name, p.Title, p.Datasource)
			}
			for _, query := range p.Targets {
				if query.Datasource != d.source() {
					t.Errorf("%s: %s asks %v", name, p.Title, query.Datasource)
				}
			}
		}
		for _, a := range d.Annotations.List {
			if a.Datasource != d.source() {
				t.Errorf("%s: an annotation asks %v", name, a.Datasource)
			}
		}
		if of := d.source(); d.Templating.List[0].Type != "datasource" || of != prometheusSource && of != pluginSource {
			t.Errorf("%s doesn't begin with the choice of a data source", name)
		}
	}
}

func TestPanels_have_ids_of_their_own_and_stand_beside_each_other(t *testing.T) {
	for name, d := range dashboards(t) {
		ids := map[int]bool{}
		taken := map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.ID == 0 {
				t.Errorf("%s: %s has the id %d of another panel", name, p.Title, p.ID)
			}
			ids[p.ID] = true
			at := p.GridPos
			if at.W < 1 || at.H < 1 || at.X < 0 || at.X+at.W > 24 {
				t.Errorf("%s: %s stands outside of the grid: %+v", name, p.Title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other, there := taken[[2]int{x, y}]; there {
						t.Fatalf("%s: %s lies over %s", name, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

func TestRates_in_panels_are_over_the_rate_interval(t *testing.T) {
	window := regexp.MustCompile(`\[([^\]]*)\]`)
	for name, d := range dashboards(t) {
		for _, p := range d.shown() {
			for _, query := range p.Targets {
				for _, match := range window.FindAllStringSubmatch(query.Expr, -1) {
					if match[1] != "$__rate_interval" && (match[1] != "$__range" || strings.Contains(query.Expr, "rate(")) {
						t.Errorf("%s: %s looks back %s in %s", name, p.Title, match[1], query.Expr)
					}
				}
			}
		}
	}
}

// promtool has no command for an expression alone before 3.0, so each is the expression of a rule.
func TestQueries_of_dashboards_are_PromQL(t *testing.T) {
	promtool := testenv.Need(t, "promtool", "prometheus")
	var group Group
	group.Name = "dashboards"
	for _, d := range asking(dashboards(t), prometheusSource) {
		for _, p := range d.shown() {
			for _, query := range p.Targets {
				group.Rules = append(group.Rules, Rule{Record: fmt.Sprintf("q%d", len(group.Rules)), Expr: inserted.Replace(query.Expr)})
				if rest := group.Rules[len(group.Rules)-1].Expr; strings.Contains(rest, "$") {
					t.Errorf("%s: %s has a variable that is not known", p.Title, rest)
				}
			}
		}
		for _, a := range d.Annotations.List {
			group.Rules = append(group.Rules, Rule{Record: fmt.Sprintf("q%d", len(group.Rules)), Expr: a.Expr})
		}
	}
	text, err := yaml.Marshal(Rules{Groups: []Group{group}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// known are the labels of everything that can be queried: metrics of the exporter and what is recorded.
func known(t *testing.T) map[string][]string {
	t.Helper()
	all := labelsOfMetrics(t)
	for _, rule := range allRules(rendered(t).Rules) {
		all[rule.Record] = slices.Concat(all[rule.Record], labelsOf(rule, all))
	}
	all["ALERTS"] = []string{"alertname", "alertstate"}
	return all
}

var metricName = regexp.MustCompile(`\b(\w+:)?tcpslo_[\w:]*`)

func TestEvery_metric_of_a_panel_is_one_of_the_exporter_or_recorded(t *testing.T) {
	have := known(t)
	for name, d := range dashboards(t) {
		var texts []string
		for _, p := range d.shown() {
			for _, query := range p.Targets {
				texts = append(texts, query.Expr)
			}
		}
		for _, v := range d.Templating.List {
			texts = append(texts, v.Definition)
		}
		for _, text := range texts {
			for _, metric := range metricName.FindAllString(quoted.ReplaceAllString(text, `""`), -1) {
				if _, there := have[metric]; !there {
					t.Errorf("%s reads %s, which is neither exported nor recorded", name, metric)
				}
			}
		}
	}
}

func TestLegends_name_only_labels_that_their_series_have(t *testing.T) {
	have := known(t)
	placeholder := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for name, d := range dashboards(t) {
		for _, p := range d.shown() {
			for _, query := range p.Targets {
				labels := append(labelsOf(Rule{Expr: query.Expr}, have), "le")
				for _, match := range placeholder.FindAllStringSubmatch(query.LegendFormat, -1) {
					if !slices.Contains(labels, match[1]) {
						t.Errorf("%s: %s: the series of %s have %q, and no %s", name, p.Title, query.Expr, labels, match[1])
					}
				}
			}
		}
	}
}

// Grafana asks for the values of a variable again whenever the time range changes, and gets all series of the metric.
func TestVariables_ask_for_series_that_are_few(t *testing.T) {
	many := []string{"le", "created_by", "cpu", "worker", "destination", "status_code", "method", "program"}
	have := known(t)
	for name, d := range asking(dashboards(t), prometheusSource) {
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			metric := metricName.FindString(v.Definition)
			if v.Datasource != prometheusSource || !strings.HasPrefix(v.Definition, "label_values(") || !slices.Contains(have[metric], v.Name) {
				t.Errorf("%s: $%s asks %v for %s", name, v.Name, v.Datasource, v.Definition)
			}
			for _, label := range have[metric] {
				if slices.Contains(many, label) {
					t.Errorf("%s: $%s asks for all series of %s, which has a label %s", name, v.Name, metric, label)
				}
			}
		}
	}
}

func TestA_stage_has_the_same_colour_wherever_it_is_shown(t *testing.T) {
	var stages []string
	for label := range maps.Keys(stageLabels(t)) {
		stages = append(stages, label)
	}
	colours := map[string]any{}
	for name, d := range dashboards(t) {
		for _, p := range d.shown() {
			byStage := false
			for _, query := range p.Targets {
				byStage = byStage || query.LegendFormat == "{{stage}}"
			}
			if !byStage {
				continue
			}
			coloured := map[string]bool{}
			for _, override := range p.FieldConfig.Overrides {
				stage, value := override.Matcher.Options, fmt.Sprint(override.Properties[0].Value)
				if before, there := colours[stage]; there && before != value {
					t.Errorf("%s: %s shows %s in %v, another panel in %v", name, p.Title, stage, value, before)
				}
				colours[stage], coloured[stage] = value, true
			}
			for _, stage := range stages {
				if !coloured[stage] {
					t.Errorf("%s: %s has no colour for %s", name, p.Title, stage)
				}
			}
		}
	}
	if len(colours) == 0 {
		t.Error("no panel shows stages")
	}
}
