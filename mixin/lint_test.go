// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readRules reads a file of rules and writes it again, so that files that say the same are equal.
func readRules(t *testing.T, text []byte) []byte {
	t.Helper()
	var file Rules
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	text, err := file.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// level is what stands before the first colon of a recorded name: the labels of its series.
func level(record string) string {
	before, _, _ := strings.Cut(record, ":")
	return before
}

// anchors are those that GitHub makes of the headings of a document.
func anchors(markdown []byte) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllSubmatch(markdown, -1) {
		all = append(all, strings.ReplaceAll(strings.ToLower(string(heading[1])), " ", "-"))
	}
	return all
}

var (
	comparison = regexp.MustCompile(`[<>]|[=!]=|\b(unless|absent)\b`)
	reference  = regexp.MustCompile(`\$labels\.(\w+)`)
	joined     = regexp.MustCompile(`\bgroup_left \((\w+)\)`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	quoted     = regexp.MustCompile(`"[^"]*"`)
)

func TestEvery_alert_tells_what_is_wrong_how_much_and_where_to_read_on(t *testing.T) {
	m := rendered(t)
	runbook := anchors(readFile(t, "runbook.md"))
	summaries := map[string]string{}
	for _, rule := range allRules(m.Alerts) {
		complain := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: "+format, append([]any{rule.Alert}, args...)...)
		}
		if !strings.HasPrefix(rule.Alert, "Tcpslo") {
			complain("its name doesn't begin with Tcpslo")
		}
		if !comparison.MatchString(quoted.ReplaceAllString(rule.Expr, `""`)) {
			complain("its expression compares nothing: %s", rule.Expr)
		}
		if rule.For == "" {
			complain("no for")
		}
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			complain("severity %q", severity)
		}
		for label, value := range rule.Labels {
			if strings.Contains(value, "{{") {
				complain("label %s is a template, which makes an alert of every value", label)
			}
		}
		summary := rule.Annotations["summary"]
		if summary == "" || strings.Contains(summary, "{{") || !strings.HasSuffix(summary, ".") {
			complain("summary %q is not a constant sentence", summary)
		}
		if other, there := summaries[rule.Alert]; there && other != summary {
			complain("two summaries")
		}
		summaries[rule.Alert] = summary
		if !strings.Contains(rule.Annotations["description"], "$value") {
			complain("its description doesn't tell the value")
		}
		url, anchor, found := strings.Cut(rule.Annotations["runbook_url"], "#")
		if !found || !strings.HasSuffix(url, "/mixin/runbook.md") || !slices.Contains(runbook, anchor) || anchor != strings.ToLower(rule.Alert) {
			complain("no section of the runbook is at %q", rule.Annotations["runbook_url"])
		}
	}
	for _, rule := range allRules(m.Alerts) {
		runbook = slices.DeleteFunc(runbook, func(anchor string) bool { return anchor == strings.ToLower(rule.Alert) })
	}
	for _, anchor := range runbook {
		if strings.HasPrefix(anchor, "tcpslo") {
			t.Errorf("the runbook has a section %q, and there is no such alert", anchor)
		}
	}
}

// The labels that series of an expression have can't be told without a parser of PromQL. What can be: a metric has the labels that it is
// declared with and those of its target, a recorded series what it is grouped by and labelled with.
func TestAnnotations_name_only_labels_that_the_series_of_their_alert_have(t *testing.T) {
	m := rendered(t)
	known := labelsOfMetrics(t)
	known["up"] = []string{"job", "instance"}
	for _, rule := range allRules(m.Rules) {
		known[rule.Record] = slices.Concat(known[rule.Record], labelsOf(rule, known))
	}
	for _, rule := range allRules(m.Alerts) {
		have := labelsOf(rule, known)
		for _, annotation := range rule.Annotations {
			for _, match := range reference.FindAllStringSubmatch(annotation, -1) {
				if !slices.Contains(have, match[1]) {
					t.Errorf("%s: label %s of %q is not among %q, those of its first series", rule.Alert, match[1], annotation, have)
				}
			}
		}
	}
}

// labelsOf are the labels that a rule gives its series: those of the grouping that comes first, else those of the metric
// that comes first, and its own.
func labelsOf(rule Rule, known map[string][]string) []string {
	var labels []string
	for label := range rule.Labels {
		labels = append(labels, label)
	}
	expression := quoted.ReplaceAllString(rule.Expr, `""`)
	for _, match := range joined.FindAllStringSubmatch(expression, -1) {
		labels = append(labels, match[1])
	}
	if match := grouping.FindStringSubmatch(expression); match != nil && strings.Contains(match[0], "by") {
		return append(labels, strings.Split(match[1], ", ")...)
	}
	for _, word := range regexp.MustCompile(`[a-zA-Z_:][\w:]*`).FindAllString(expression, -1) {
		if of, there := known[word]; there {
			return append(labels, of...)
		}
	}
	return labels
}

// labelsOfMetrics are the labels of each metric of the exporter, and of each series of its histograms.
func labelsOfMetrics(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	add := func(name, kind string, labels []string) {
		labels = slices.Concat(labels, []string{"job", "instance"})
		if kind != "histogram" {
			all[name] = labels
			return
		}
		all[name], all[name+"_count"], all[name+"_sum"] = labels, labels, labels
		all[name+"_bucket"] = slices.Concat(labels, []string{"le"})
	}
	for _, builtin := range bpf.Probes() {
		definition, err := probe.ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range definition.Metrics {
			var labels []string
			for _, label := range metric.Labels {
				labels = append(labels, label.Name)
			}
			if metric.Values != nil {
				labels = append(labels, metric.Values.Label)
			}
			add(names.Namespace+"_"+metric.Name, string(metric.Type), labels)
		}
	}
	for _, collector := range names.Host {
		for _, metric := range collector.Metrics {
			add(metric.Full(), metric.Type, metric.Labels)
		}
	}
	for _, metric := range slices.Concat(names.SLO, names.Self) {
		add(metric.Full(), metric.Type, metric.Labels)
	}
	return all
}

func TestEvery_metric_that_a_rule_reads_is_one_of_the_exporter_or_recorded(t *testing.T) {
	m := rendered(t)
	known := labelsOfMetrics(t)
	for _, rule := range allRules(m.Rules) {
		known[rule.Record] = nil
	}
	read := regexp.MustCompile(`\b(\w+:)?tcpslo_[\w:]*`)
	for _, rule := range allRules(m.Rules, m.Alerts) {
		for _, name := range read.FindAllString(quoted.ReplaceAllString(rule.Expr, `""`), -1) {
			if _, there := known[name]; !there {
				t.Errorf("%s%s reads %s, which is neither exported nor recorded", rule.Record, rule.Alert, name)
			}
		}
	}
}

func TestNames_of_recording_rules_tell_level_metric_and_operation(t *testing.T) {
	form := regexp.MustCompile(`^[a-z_]+:tcpslo_[a-z_]+:[a-z0-9_]+$`)
	seen := map[string]bool{}
	for _, rule := range allRules(rendered(t).Rules) {
		if !form.MatchString(rule.Record) {
			t.Errorf("%q is not level:metric:operation", rule.Record)
		}
		if strings.HasSuffix(strings.Split(rule.Record, ":")[1], "_total") {
			t.Errorf("%q: a rate is no total", rule.Record)
		}
		if key := fmt.Sprint(rule.Record, rule.Labels); seen[key] {
			t.Errorf("%q is recorded twice", rule.Record)
		} else {
			seen[key] = true
		}
	}
}

// Prometheus looks back five minutes for the last value of a series (--query.lookback-delta).
func TestEvery_group_is_evaluated_before_its_last_values_are_forgotten(t *testing.T) {
	m := rendered(t)
	seen := map[string]bool{}
	for _, group := range slices.Concat(m.Rules.Groups, m.Alerts.Groups) {
		if seen[group.Name] {
			t.Errorf("two groups are called %q", group.Name)
		}
		seen[group.Name] = true
		if group.Interval == "" {
			continue // that of Prometheus
		}
		interval, err := time.ParseDuration(group.Interval)
		if err != nil || interval >= 5*time.Minute {
			t.Errorf("group %s is evaluated every %s (%v)", group.Name, group.Interval, err)
		}
		for _, rule := range group.Rules {
			if _, every, found := strings.Cut(rule.Record, ":increase"); found && every != "_window" && every != group.Interval {
				t.Errorf("%q is recorded every %s: what it counts doesn't add up", rule.Record, group.Interval)
			}
		}
	}
}
