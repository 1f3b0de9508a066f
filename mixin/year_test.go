// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

const yearHours = 365 * 24

// year is what a service has counted at the end of each minute of a year, in which it had 100 requests a second by day
// and one by night, twelve hours each. By day one a minute fails, and in one hour of a night of each month all do.
type year struct{ good, bad [yearHours*60 + 1]int }

func newYear(deadNights bool) *year {
	y := &year{}
	for minute := range yearHours * 60 {
		all, bad := 6000, 1
		if minute/60%24 < 12 {
			all, bad = 60, 0
		}
		if deadNights && minute/60%(30*24) == 20*24+3 {
			bad = all
		}
		y.good[minute+1], y.bad[minute+1] = y.good[minute]+all-bad, y.bad[minute]+bad
	}
	return y
}

// spent is the share of an error budget that was used from one minute to another, by the arithmetic of events.
func (y *year) spent(from, to int, budget float64) float64 {
	good, bad := y.good[to]-y.good[from], y.bad[to]-y.bad[from]
	return float64(bad) / float64(good+bad) / budget
}

// values are a counter in promtool's notation, with a value for each minute.
func values(minutes []int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d", minutes[0])
	for at := 0; at+60 < len(minutes); at += 60 {
		fmt.Fprintf(&text, " %d+%dx59", minutes[at+1], minutes[at+1]-minutes[at])
	}
	return text.String()
}

// Increases are recorded every 49 minutes instead of every four here, and only what a budget of 30 days is made of is evaluated: promtool
// would take an hour for all of it. Of 49, because 30 days are no multiple of it: releases of Prometheus differ in what they make of
// a value at the beginning of a range. The increases in it are then those of 30 days and 18 minutes.
func TestBudgets_of_a_year_of_days_and_nights_are_those_of_its_events(t *testing.T) {
	promtool := testenv.Need(t, "promtool", "prometheus")
	mixin, err := Evaluate(".", `{ intervals+: { staged: '49m' }, sloWindows: ['30d'] }`)
	if err != nil {
		t.Fatal(err)
	}
	const step, month, delay = 49, 30 * 24 * 60, 1 // minutes
	increase := func(name string) string { return strings.Replace(name, "4m", "49m", 1) }
	for i := range mixin.Rules.Groups {
		mixin.Rules.Groups[i].Rules = slices.DeleteFunc(mixin.Rules.Groups[i].Rules, func(rule Rule) bool {
			return !slices.Contains([]string{
				names.RecordedObjective, names.RecordedWindow, names.RecordedErrorBudget,
				increase(names.RecordedIncrease), increase(names.RecordedBadIncrease), increase(names.RecordedPathBadIncrease),
				names.RecordedWindowEvents, names.RecordedWindowBadEvents, names.RecordedWindowErrorRatio, names.RecordedBudgetRemaining,
			}, rule.Record)
		})
	}
	rules, err := mixin.Rules.YAML()
	if err != nil {
		t.Fatal(err)
	}

	const objective, budget = 0.999, 1 - 0.999
	services := map[string]*year{"shop": newYear(true), "sound": newYear(false)}
	var series, expected strings.Builder
	for service, y := range services {
		labels := fmt.Sprintf(`service="%s", slo="availability"`, service)
		for name, text := range map[string]string{
			"tcpslo_slo_objective_ratio{" + labels + "}":                        fmt.Sprintf("%gx%d", objective, yearHours*60),
			"tcpslo_slo_window_seconds{" + labels + "}":                         fmt.Sprintf("2592000x%d", yearHours*60),
			"tcpslo_slo_events_total{" + labels + `, path="/", verdict="good"}`: values(y.good[:]),
			"tcpslo_slo_events_total{" + labels + `, path="/", verdict="bad"}`:  values(y.bad[:]),
		} {
			fmt.Fprintf(&series, "      - {series: '%s', values: %s}\n", name, text)
		}
		for last := month + step; last < yearHours*60; last += month {
			at := last / step * step
			to := at - delay
			from := max(0, to-(month/step+1)*step)
			exact := y.spent(from, to, budget)
			if in30Days := y.spent(max(0, to-month), to, budget); math.Abs(exact/in30Days-1) > 0.01 {
				t.Errorf("%s: in minute %d, 18 minutes more make %g of %g", service, at, exact, in30Days)
			}
			fmt.Fprintf(&expected, "      - expr: abs(1 - %s{service=\"%s\"} - %.17g) < bool 1e-9\n        eval_time: %dm\n        exp_samples: [{labels: '{%s, window=\"30d\"}', value: 1}]\n",
				names.RecordedBudgetRemaining, service, exact, at, labels)
		}
	}
	test := "rule_files: [rules.yaml]\nevaluation_interval: 49m\ngroup_eval_order: [tcpslo-slo-fast, tcpslo-slo-staged]\ntests:\n  - interval: 1m\n    input_series:\n" +
		series.String() + "    promql_expr_test:\n" + expected.String()
	folder := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": string(rules), "test.yaml": test} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(promtool, "test", "rules", filepath.Join(folder, "test.yaml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}

	// What the hour has cost: the figure of docs/decisions/rules.md.
	if cost := services["shop"].spent(0, month, budget) - services["sound"].spent(0, month, budget); math.Round(cost*1e4) != 275 {
		t.Errorf("a dead hour cost %.4f of the budget", cost)
	}
}
