// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
)

// queries are the targets of the plugin's dashboards and of their annotations, as the backend gets them.
func queries(t *testing.T) (all []models.Query) {
	t.Helper()
	for name := range asking(dashboards(t), pluginSource) {
		var raw struct {
			Annotations struct {
				List []struct{ Target map[string]any }
			}
			Panels []struct{ Targets []map[string]any }
		}
		if err := json.Unmarshal(rendered(t).Dashboards[name], &raw); err != nil {
			t.Fatal(err)
		}
		var targets []map[string]any
		for _, p := range raw.Panels {
			targets = append(targets, p.Targets...)
		}
		for _, a := range raw.Annotations.List {
			targets = append(targets, a.Target)
		}
		for _, target := range targets {
			delete(target, "datasource") // Grafana's own
			text, err := json.Marshal(target)
			if err != nil {
				t.Fatal(err)
			}
			strict := json.NewDecoder(bytes.NewReader(text))
			strict.DisallowUnknownFields()
			var q models.Query
			if err := strict.Decode(&q); err != nil {
				t.Errorf("%s: %v in %s", name, err, text)
			}
			if _, err := models.ParseQuery(text, ""); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			all = append(all, q)
		}
	}
	return all
}

func TestThe_dashboard_of_the_plugin_asks_each_type_of_query(t *testing.T) {
	var have []string
	for _, q := range queries(t) {
		have = append(have, q.QueryType)
	}
	for _, queryType := range models.Types {
		if !slices.Contains(have, queryType) {
			t.Errorf("no panel and no annotation asks for %s", queryType)
		}
	}
}

func TestQueries_of_the_plugin_are_about_what_its_variables_choose(t *testing.T) {
	variables := map[string]string{}
	for name, d := range asking(dashboards(t), pluginSource) {
		for _, v := range d.Templating.List[1:] {
			if v.Datasource != pluginSource || !slices.Contains([]string{"services", "slos", "routes", "listeners"}, v.Query.Values) {
				t.Errorf("%s: $%s asks %v for %q", name, v.Name, v.Datasource, v.Query.Values)
			}
			variables["$"+v.Name] = v.Query.Values
			for _, service := range v.Query.Services {
				if variables[service] != "services" {
					t.Errorf("%s: $%s is about the services %q, which no variable before it chooses", name, v.Name, service)
				}
			}
		}
	}
	for _, q := range queries(t) {
		if len(q.Services) == 0 {
			t.Errorf("%s asks for all services, whatever is chosen", q.QueryType)
		}
		for list, values := range map[string][]string{"services": q.Services, "slos": q.SLOs, "routes": q.Paths, "listeners": q.Listeners} {
			for _, value := range values {
				if variables[value] != list {
					t.Errorf("%s: %q are %q, which chooses %q", q.QueryType, list, value, variables[value])
				}
			}
		}
	}
}

// Grafana offers to import what plugin.json lists, and the build puts it beside.
func TestThe_plugin_includes_every_dashboard(t *testing.T) {
	var plugin struct {
		ID       string
		Includes []struct{ Type, Name, Path string }
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(root, "grafana-plugin", "src", "plugin.json")), &plugin); err != nil {
		t.Fatal(err)
	}
	if plugin.ID != pluginSource.Type {
		t.Errorf("the plugin is %q, its dashboards ask %q", plugin.ID, pluginSource.Type)
	}
	all := dashboards(t)
	for _, include := range plugin.Includes {
		name := filepath.Base(include.Path)
		if include.Type != "dashboard" || include.Path != "dashboards/"+name || include.Name != all[name].Title {
			t.Errorf("%+v is no dashboard: want %q", include, all[name].Title)
		}
		delete(all, name)
	}
	for name := range all {
		t.Errorf("%s is not included", name)
	}
}

// One answer has burn rates and states; the panels take it apart by the names that the backend gives to series.
func TestTransformations_tell_burn_rates_from_states(t *testing.T) {
	var raw struct {
		Panels []struct {
			Title           string
			Transformations []struct {
				ID      string
				Options struct{ Include struct{ Pattern string } }
			}
		}
	}
	if err := json.Unmarshal(rendered(t).Dashboards["tcpslo_plugin.json"], &raw); err != nil {
		t.Fatal(err)
	}
	const tiers = ` (fast|medium|slow|trickle) [0-9]+[mhd]( |$)`
	have := map[string]string{}
	for _, p := range raw.Panels {
		for _, transformation := range p.Transformations {
			have[p.Title] = transformation.ID + " " + transformation.Options.Include.Pattern
		}
	}
	if have["Burn rate"] != "filterFieldsByName /^Time$|"+tiers+"/" || have["State"] != "filterFieldsByName /^(?!.*"+tiers+")/" || len(have) != 2 {
		t.Errorf("got %q", have)
	}
	for name, burn := range map[string]bool{"shop fast": false, "slow API availability": false, "shop latency fast 1h": true, "shop latency trickle 3d eu": true, "shop latency medium 30m": true} {
		if regexp.MustCompile(tiers).MatchString(name) != burn {
			t.Errorf("%q is a burn rate: %v", name, !burn)
		}
	}
}
