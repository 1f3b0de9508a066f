// SPDX-License-Identifier: Apache-2.0

// Command mutate proves the tests of the rules: it changes each expression, threshold, duration,
// name and label of the rendered rules in each of a list of ways, one at a time, and lets promtool run
// the tests of the group that the rule is in (rules/tests/GROUP.yaml and GROUP_*.yaml), which give as
// input what other groups of the same file record. A change that
// no test notices is printed with its file and line, and the exit code is 1. Changes that don't
// change what a rule means stand in equivalent.yaml with the reason. Run it in the root of the
// repository:
//
//	go run ./mixin/mutate [GROUP…]
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

var files = []string{"rules/tcpslo_rules.yaml", "rules/tcpslo_alerts.yaml"}

//go:embed equivalent.yaml
var equivalents []byte

// equivalent says of which mutants it is right that no test fails.
type equivalent struct {
	Rule   string // a regular expression for the whole name of a rule
	Change string // a regular expression for the whole change
	Why    string
	used   bool
}

func main() {
	survivors, err := mutate(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

// mutate tries all mutants of the groups named, of all if none is, and returns how many survived.
func mutate(groups []string) (survivors int, err error) {
	mutants, err := allMutants(groups)
	if err != nil {
		return 0, err
	}
	var known []*equivalent
	if err := yaml.Unmarshal(equivalents, &known); err != nil {
		return 0, fmt.Errorf("read equivalent.yaml: %w", err)
	}
	survived, err := try(mutants)
	if err != nil {
		return 0, err
	}
	// A test that fails anyway notices nothing.
	unchanged := func(m mutant) bool { return m.change == "" }
	for _, m := range mutants {
		if unchanged(m) && !slices.ContainsFunc(survived, func(s mutant) bool { return unchanged(s) && s.group == m.group }) {
			return 0, fmt.Errorf("the tests %q fail without any change", m.tests)
		}
	}
	survived, mutants = slices.DeleteFunc(survived, unchanged), slices.DeleteFunc(mutants, unchanged)
	expected := 0
	for _, m := range survived {
		if isEquivalent(m, known) {
			expected++
			continue
		}
		survivors++
		fmt.Printf("%s:%d: no test notices: %s: %s\n", m.file, m.line, m.rule, m.change)
	}
	if len(groups) == 0 {
		for _, e := range known {
			if !e.used {
				survivors++
				fmt.Printf("mixin/mutate/equivalent.yaml: %s: %s: no such mutant survived\n", e.Rule, e.Change)
			}
		}
	}
	fmt.Printf("%d mutants, %d of them equivalent, %d survived\n", len(mutants), expected, survivors)
	return survivors, nil
}

// isEquivalent looks a mutant up among those that are known to change nothing.
func isEquivalent(m mutant, known []*equivalent) bool {
	for _, e := range known {
		whole := func(expression, text string) bool {
			return regexp.MustCompile("^(?:" + expression + ")$").MatchString(text)
		}
		if whole(e.Rule, m.rule) && whole(e.Change, m.change) {
			e.used = true
			return true
		}
	}
	return false
}

// allMutants reads the rules and changes them.
func allMutants(groups []string) ([]mutant, error) {
	var all []mutant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		of, err := mutantsOf(file, text, func(group string) bool { return len(groups) == 0 || slices.Contains(groups, group) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, of...)
	}
	for i, m := range all {
		for _, pattern := range []string{m.group + ".yaml", m.group + "_*.yaml"} {
			tests, err := filepath.Glob(filepath.Join("rules/tests", pattern))
			if err != nil {
				return nil, err
			}
			all[i].tests = append(all[i].tests, tests...)
		}
		if len(all[i].tests) == 0 {
			return nil, fmt.Errorf("group %q has no test rules/tests/%s.yaml", m.group, m.group)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no rules in groups %q", groups)
	}
	return all, nil
}

// try runs the tests of each mutant and returns those that none noticed.
func try(mutants []mutant) ([]mutant, error) {
	folder, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	var (
		work     = make(chan mutant)
		mu       sync.Mutex
		survived []mutant
		failure  error
		workers  sync.WaitGroup
	)
	for i := range runtime.NumCPU() {
		workers.Go(func() {
			for m := range work {
				noticed, err := noticed(m, filepath.Join(folder, fmt.Sprint(i)))
				mu.Lock()
				if err != nil {
					failure = errors.Join(failure, err)
				} else if !noticed {
					survived = append(survived, m)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range mutants {
		work <- m
	}
	close(work)
	workers.Wait()
	slices.SortFunc(survived, func(a, b mutant) int {
		if byFile := strings.Compare(a.file, b.file); byFile != 0 {
			return byFile
		}
		return a.line - b.line
	})
	return survived, failure
}

// noticed tells whether a test of a mutant fails. The tests name the files of the rules relatively, so all are copied.
func noticed(m mutant, folder string) (bool, error) {
	if err := os.MkdirAll(filepath.Join(folder, "rules/tests"), 0o755); err != nil {
		return false, err
	}
	for _, file := range append(slices.Clone(files), m.tests...) {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if file == m.file {
			text = m.text
		}
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o644); err != nil {
			return false, err
		}
	}
	for _, test := range m.tests {
		command := exec.Command("promtool", "test", "rules", test)
		command.Dir = folder
		err := command.Run()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}
