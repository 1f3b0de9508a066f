// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/tcpslo/tcpslo/mixin"
)

func TestExpressions_are_changed_in_each_operator_number_name_and_label(t *testing.T) {
	var have []string
	for _, e := range expressions("sum by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2 * y") {
		have = append(have, e.text)
		if line := map[bool]int{true: 0, false: 1}[e.text[len(e.text)-8:] == ">= 2 * y"]; e.line != line {
			t.Errorf("%q is changed in line %d, want %d", e.text, e.line, line)
		}
	}
	want := []string{
		"max by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2 * y",
		"avg by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2 * y",
		"sum without (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2 * y",
		"sum by ( b) (rate(x{c=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a) (rate(x{c=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (increase(x{c=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (irate(x{c=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (rate(x_mutant{c=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (rate(x{c_mutant=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (rate(x{c!=\"d\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (rate(x{c=\"d_mutant\"}[5m]))\n>= 2 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[10m]))\n>= 2 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[150s]))\n>= 2 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[5m]))\n> 2 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[5m]))\n< 2 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2.2 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 1.8 * y",
		"sum by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2 / y",
		"sum by (a, b) (rate(x{c=\"d\"}[5m]))\n>= 2 * y_mutant",
	}
	if !slices.Equal(have, want) {
		t.Errorf("got\n%q, want\n%q", have, want)
	}
}

func TestMutants_are_told_by_the_line_of_what_was_changed(t *testing.T) {
	rules := mixin.Rules{Groups: []mixin.Group{{Name: "g", Rules: []mixin.Rule{
		{Alert: "A", Expr: "x\n> 0\n", For: "5m", Labels: map[string]string{"severity": "warning"}},
	}}}}
	text, err := rules.YAML()
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := mutantsOf("rules.yaml", text, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, m := range mutants {
		have[m.change] = m.line
	}
	// Of the lines of the file, the first two are a comment and an empty one.
	for change, line := range map[string]int{
		"":                            0,
		"alert [A → A_mutant]":        6,
		"[x → x_mutant] > 0":          8,
		"x > [0 → 1]":                 9,
		"for [5m → ]":                 10,
		"for [5m → 10m]":              10,
		"label severity [warning → ]": 12,
		"label severity [warning → warning_mutant]": 12,
	} {
		if got, there := have[change]; !there || got != line {
			t.Errorf("the change %q is in line %d (%t), want %d; there are %v", change, got, there, line, have)
		}
	}
}
