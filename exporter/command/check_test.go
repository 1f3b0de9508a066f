// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// check runs "check-config" on files; each name is a file in a fresh folder,
// which the output calls $.
func check(t *testing.T, texts map[string]string, files ...string) (string, string) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	app := kingpin.New("test", "")
	command := AddCheckConfig(app)
	args := []string{"check-config"}
	for _, name := range files {
		args = append(args, filepath.Join(folder, name))
	}
	if _, err := app.Parse(args); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := command.Execute(&out)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	return strings.ReplaceAll(out.String(), folder, "$"), strings.ReplaceAll(problem, folder, "$")
}

func TestCheck_config_names_what_is_wrong_in_every_file(t *testing.T) {
	texts := map[string]string{
		"good.yml":   "collectors: {http: false}\n",
		"typo.yml":   "colectors: {}\nlimits: {listeners: 1}\n",
		"probes.yml": "probe_files: ['*.yaml']\n",
		"own.yaml":   "name: own\nhelp: O.\ngo_function: {function: a.b, metric: Own}\n",
	}
	out, problem := check(t, texts, "good.yml")
	if out != "$/good.yml: valid\n" || problem != "" {
		t.Errorf("a good file: %q, %q", out, problem)
	}
	out, problem = check(t, map[string]string{"doubt.yml": "services: [{name: a, slos: [{name: x, objective: 99, window: 1d}]}]"}, "doubt.yml")
	if out != "$/doubt.yml:1:62: a window of 1d is shorter than the 3d that the slowest alert looks back, which tells little of it (warning)\n$/doubt.yml: valid\n" || problem != "" {
		t.Errorf("a file to doubt: %q, %q", out, problem)
	}
	const full = "metric \"http_request_duration_seconds\": histogram needs "
	var latencies strings.Builder
	for i := range 60 {
		fmt.Fprintf(&latencies, "{name: %d ms, objective: 99, latency: %dms},", 7*i+1, 7*i+1)
	}
	for text, want := range map[string]string{
		"histograms: {native_schema: 8}":                            full + "8207 slots but there are 320: lower native_schema from 8 to 3",
		"services: [{name: a, slos: [" + latencies.String() + "]}]": full + "328 slots but there are 320: lower native_schema from 3 to 2",
	} {
		if out, problem = check(t, map[string]string{"full.yml": text}, "full.yml"); out != "" || !strings.HasSuffix(problem, want) {
			t.Errorf("more buckets than there is room for: %q, %q", out, problem)
		}
	}
	out, problem = check(t, texts, "typo.yml", "good.yml", "probes.yml", "none.yml")
	if out != "$/good.yml: valid\n" {
		t.Errorf("printed %q, want the good one", out)
	}
	const want = `invalid configuration:
$/typo.yml:1:1: unknown key "colectors", did you mean "collectors"?
$/typo.yml:2:21: "listeners" must be between 16 and 1000000, got 1
$/own.yaml:3:14: metric name "Own" must be lower case letters, digits and underscores
cannot read configuration: open $/none.yml: no such file or directory`
	if problem != want {
		t.Errorf("got\n%s\nwant\n%s", problem, want)
	}
}

func TestCollectors_are_the_probes_that_can_be_switched_off(t *testing.T) {
	got := strings.Join(Collectors(), " ")
	if !strings.Contains(got, "http") || !strings.Contains(got, "listen") || strings.Contains(got, "service") {
		t.Errorf("got %s: want http and listen, but not service, which the others need", got)
	}
}
