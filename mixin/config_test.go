// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// writeRules writes what the mixin renders with changed knobs where tests expect it, and returns it.
func writeRules(t *testing.T, folder, config string) *Mixin {
	t.Helper()
	m, err := Evaluate(".", config)
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range map[string]Rules{"tcpslo_rules.yaml": m.Rules, "tcpslo_alerts.yaml": m.Alerts} {
		text, err := rules.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// The tests of the rules hold as well where every series has one label more.
func TestSLOs_of_two_clusters_are_told_apart_by_a_label_that_the_configuration_adds(t *testing.T) {
	promtool := testenv.Need(t, "promtool", "prometheus")
	folder := t.TempDir()
	writeRules(t, folder, `{ aggregationLabels: ['cluster'] }`)
	tests, err := filepath.Glob("../rules/tests/tcpslo-slo*.yaml")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests found: %v", err)
	}
	if err := os.Mkdir(filepath.Join(folder, "tests"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		text := string(readFile(t, test))
		changed := strings.NewReplacer(`service="`, `cluster="eu", service="`, `service: `, `cluster: eu, service: `).Replace(text)
		if changed == text {
			t.Fatalf("%s names no service", test)
		}
		copied := filepath.Join(folder, "tests", filepath.Base(test))
		if err := os.WriteFile(copied, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(promtool, "test", "rules", copied).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// metricRead finds the exporter's own metrics in expressions, not what is recorded of them.
var metricRead = regexp.MustCompile(`(?:^|[ (])tcpslo_[a-z_]+\b`)

func TestEvery_rule_reads_only_what_the_selector_lets_it(t *testing.T) {
	promtool := testenv.Need(t, "promtool", "prometheus")
	folder := t.TempDir()
	m := writeRules(t, folder, `{ tcpsloSelector: 'cluster="eu"', exporterSelector: 'job="other"' }`)
	for _, name := range []string{"tcpslo_rules.yaml", "tcpslo_alerts.yaml"} {
		if out, err := exec.Command(promtool, "check", "rules", filepath.Join(folder, name)).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	for _, rule := range allRules(m.Rules, m.Alerts) {
		for _, place := range metricRead.FindAllStringIndex(rule.Expr, -1) {
			if !strings.HasPrefix(rule.Expr[place[1]:], `{cluster="eu"`) {
				t.Errorf("%s%s reads without the selector: %s", rule.Record, rule.Alert, rule.Expr)
			}
		}
		if strings.Contains(rule.Expr, `job="tcpslo"`) {
			t.Errorf("%s%s: the exporter's job is not that of the configuration: %s", rule.Record, rule.Alert, rule.Expr)
		}
	}
}
