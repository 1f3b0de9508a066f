// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

const root = ".."

// rendered is the mixin without changed knobs.
func rendered(t *testing.T) *Mixin {
	t.Helper()
	m, err := Evaluate(".", "{}")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// allRules are the recording rules and alerts of all groups.
func allRules(files ...Rules) []Rule {
	var all []Rule
	for _, file := range files {
		for _, group := range file.Groups {
			all = append(all, group.Rules...)
		}
	}
	return all
}

func TestRendered_files_are_what_make_rules_writes(t *testing.T) {
	files, err := Files(root)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		if have, err := os.ReadFile(filepath.Join(root, path)); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is stale (%v): run make rules", path, err)
		}
	}
}

// What stands in lib/ is what people who use jsonnet and not this package render.
func TestRendering_with_jsonnet_alone_gives_the_same_rules(t *testing.T) {
	for source, file := range map[string]string{"rules": "tcpslo_rules.yaml", "alerts": "tcpslo_alerts.yaml"} {
		text, err := exec.Command("go", "tool", "jsonnet", "-S", "lib/"+source+".jsonnet").Output()
		if err != nil {
			t.Fatal(err)
		}
		if have, want := readRules(t, text), readRules(t, readFile(t, filepath.Join(root, "rules", file))); !bytes.Equal(have, want) {
			t.Errorf("lib/%s.jsonnet does not render what is in rules/%s", source, file)
		}
	}
}

func TestPromtool_accepts_the_rules(t *testing.T) {
	promtool := testenv.Need(t, "promtool", "prometheus")
	if out, err := exec.Command(promtool, "check", "rules", "--lint-fatal", "../rules/tcpslo_rules.yaml", "../rules/tcpslo_alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRules_pass_their_tests(t *testing.T) {
	promtool := testenv.Need(t, "promtool", "prometheus")
	files, err := filepath.Glob("../rules/tests/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests found: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestNames_of_recorded_series_are_those_of_the_rules(t *testing.T) {
	want := []string{
		names.RecordedObjective, names.RecordedWindow, names.RecordedErrorBudget, names.RecordedBurnThreshold, names.RecordedPathEvents,
		names.RecordedIncrease, names.RecordedBadIncrease, names.RecordedPathBadIncrease, names.RecordedWindowEvents,
		names.RecordedWindowBadEvents, names.RecordedWindowObserved, names.RecordedWindowErrorRatio, names.RecordedBudgetRemaining,
		names.RecordedBudgetExhaustion,
	}
	for _, window := range names.RecordedWindows {
		for _, name := range []string{names.RecordedEvents, names.RecordedBadEvents, names.RecordedErrorRatio, names.RecordedBurnRate} {
			want = append(want, name+window)
		}
	}
	for _, window := range names.RecordedLongWindows {
		want = append(want, names.RecordedBurnLowerBound+window)
	}
	var have, windows []string
	for _, rule := range allRules(rendered(t).Rules) {
		if record := rule.Record; slices.Contains(want, record) || !slices.Contains([]string{"", "slo", "slo_path", "slo_path_verdict"}, level(record)) {
			have = append(have, record)
		} else {
			t.Errorf("%q is recorded and stands in no constant of exporter/names", record)
		}
		if rule.Record == names.RecordedWindowEvents {
			windows = append(windows, rule.Labels["window"])
		}
	}
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("%q stands in exporter/names and is not recorded", name)
		}
	}
	if !slices.Equal(windows, names.RecordedSLOWindows) {
		t.Errorf("budgets are recorded for the windows %q, exporter/names says %q", windows, names.RecordedSLOWindows)
	}
}
