// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/tcpslo/tcpslo/mixin"
)

// mutant is a group of a file of rules with one change.
type mutant struct {
	file, group string
	rule        string // its name
	change      string // "" for none
	line        int    // of what was changed, in the file before
	text        []byte
	tests       []string
}

// mutantsOf changes each rule of the groups that are wanted in each way. A mutant has no other groups:
// promtool would evaluate them too, which takes most of its time. The first of each group has no change.
func mutantsOf(file string, text []byte, wanted func(group string) bool) ([]mutant, error) {
	var rules mixin.Rules
	var document yaml.Node
	if err := yaml.Unmarshal(text, &rules); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	var all []mutant
	for g, group := range rules.Groups {
		if !wanted(group.Name) {
			continue
		}
		add := func(rule mixin.Rule, change string, line int) error {
			text, err := mixin.Rules{Groups: []mixin.Group{group}}.YAML()
			all = append(all, mutant{file: file, group: group.Name, rule: rule.Record + rule.Alert, change: change, line: line, text: text})
			return err
		}
		if err := add(mixin.Rule{}, "", 0); err != nil {
			return nil, err
		}
		for r, rule := range group.Rules {
			node := at(at(&document, "groups").Content[g], "rules").Content[r]
			for _, c := range changes(rule) {
				group.Rules[r] = c.rule
				if err := add(rule, c.what, line(node, c)); err != nil {
					return nil, err
				}
			}
			group.Rules[r] = rule
		}
	}
	return all, nil
}

// at walks down a document by the keys of mappings.
func at(node *yaml.Node, keys ...string) *yaml.Node {
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	for _, key := range keys {
		for i := 0; i < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				node = node.Content[i+1]
				break
			}
		}
	}
	return node
}

// line is where in the file a change of a rule stands.
func line(rule *yaml.Node, c change) int {
	node := at(rule, c.key...)
	if node.Style == yaml.LiteralStyle {
		return node.Line + 1 + c.line
	}
	return node.Line
}

// change is a rule with one change.
type change struct {
	what string
	key  []string // where in the rule it is
	line int      // of the value there, from 0
	rule mixin.Rule
}

// changes are all changes of a rule.
func changes(rule mixin.Rule) []change {
	var all []change
	add := func(key []string, format string, was, is any, edit func(*mixin.Rule)) {
		changed := rule
		changed.Labels, changed.Annotations = maps.Clone(rule.Labels), maps.Clone(rule.Annotations)
		edit(&changed)
		all = append(all, change{what: fmt.Sprintf(format, was, is), key: key, rule: changed})
	}
	for _, e := range expressions(rule.Expr) {
		changed := rule
		changed.Expr = e.text
		all = append(all, change{what: e.what, key: []string{"expr"}, line: e.line, rule: changed})
	}
	for key, field := range map[string]func(*mixin.Rule) *string{
		"record":          func(r *mixin.Rule) *string { return &r.Record },
		"alert":           func(r *mixin.Rule) *string { return &r.Alert },
		"for":             func(r *mixin.Rule) *string { return &r.For },
		"keep_firing_for": func(r *mixin.Rule) *string { return &r.KeepFiringFor },
	} {
		was := *field(&rule)
		if was == "" {
			continue
		}
		others := []string{was + "_mutant"}
		if strings.HasSuffix(key, "for") {
			others = append(durations(was), "")
		}
		for _, is := range others {
			add([]string{key}, key+" [%s → %s]", was, is, func(r *mixin.Rule) { *field(r) = is })
		}
	}
	for _, label := range slices.Sorted(maps.Keys(rule.Labels)) {
		was := rule.Labels[label]
		add([]string{"labels", label}, "label "+label+" [%s → %s]", was, was+"_mutant", func(r *mixin.Rule) { r.Labels[label] += "_mutant" })
		add([]string{"labels", label}, "label "+label+" [%s → %s]", was, "", func(r *mixin.Rule) { delete(r.Labels, label) })
	}
	for _, annotation := range slices.Sorted(maps.Keys(rule.Annotations)) {
		add([]string{"annotations", annotation}, "%s [dropped]%s", annotation, "", func(r *mixin.Rule) { delete(r.Annotations, annotation) })
	}
	slices.SortStableFunc(all, func(a, b change) int { return strings.Compare(a.what, b.what) })
	return all
}
