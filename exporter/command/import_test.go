// SPDX-License-Identifier: Apache-2.0

package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// importSLO runs "import-slo" on a file that the output calls $.
func importSLO(t *testing.T, text string, flags ...string) (out, errOut, problem string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "slo.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	app := kingpin.New("test", "")
	command := AddImportSLO(app)
	if _, err := app.Parse(append([]string{"import-slo", file}, flags...)); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	if err := command.Execute(&stdout, &stderr); err != nil {
		problem = err.Error()
	}
	return stdout.String(), strings.ReplaceAll(stderr.String(), file, "$"), problem
}

func TestImport_slo_writes_a_configuration_only_if_nothing_was_left_out_or_that_was_wanted(t *testing.T) {
	const slo = `apiVersion: openslo/v1
kind: SLO
metadata: {name: x}
spec:
  service: a
  indicator: {spec: {ratioMetric: {bad: {metricSource: {spec: {query: 'n{code=~"5.."}'}}}, total: {metricSource: {spec: {query: n}}}}}}
  budgetingMethod: Occurrences
  objectives: [{target: 0.99}]
`
	const alert = "---\napiVersion: openslo/v1\nkind: AlertCondition\nmetadata: {name: c}\nspec: {}\n"
	const want = "services:\n  - name: \"a\"\n    slos:\n      - {name: \"x\", objective: 99, window: 30d}\n"
	const left = "$:16:20: SLO \"x\" is left out: its budget is of Timeslices, and here requests are counted (Occurrences)\n"
	slices := "---\n" + strings.Replace(slo, "Occurrences", "Timeslices", 1)
	for _, c := range []struct {
		name, text           string
		flags                []string
		out, errOut, problem string
	}{
		{"all of it", slo, nil, want, "", ""},
		{"beside an alert", slo + alert, nil, want, "$:11:7: AlertCondition \"c\": alerts are those of the mixin, which burn-rate alerts every SLO in the same way (ignored)\n", ""},
		{"a part of it", slo + slices, nil, "", left, "not everything could be imported; --partial writes the rest"},
		{"a part of it, wanted", slo + slices, []string{"--partial"}, want, left, ""},
		{"nothing", "", nil, "", "", "there is no SLO to import"},
	} {
		if out, errOut, problem := importSLO(t, c.text, c.flags...); out != c.out || errOut != c.errOut || problem != c.problem {
			t.Errorf("%s: printed %q and %q, failed with %q", c.name, out, errOut, problem)
		}
	}
}
