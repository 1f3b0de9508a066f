// SPDX-License-Identifier: Apache-2.0

// Package mixin renders the jsonnet of this folder into the files that Prometheus and
// Grafana load, which are committed. Nothing of it is linked into the exporter.
package mixin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/google/go-jsonnet"
	"gopkg.in/yaml.v3"
)

// Rules is a file of Prometheus rules, its keys in the order in which people read them.
type Rules struct {
	Groups []Group `json:"groups" yaml:"groups"`
}

// Group is a group of rules: they are evaluated one after the other.
type Group struct {
	Name     string `json:"name" yaml:"name"`
	Interval string `json:"interval" yaml:"interval,omitempty"`
	Rules    []Rule `json:"rules" yaml:"rules"`
}

// Rule is a recording rule or an alert: either Record or Alert is set.
type Rule struct {
	Record        string            `json:"record" yaml:"record,omitempty"`
	Alert         string            `json:"alert" yaml:"alert,omitempty"`
	Expr          string            `json:"expr" yaml:"expr"`
	For           string            `json:"for" yaml:"for,omitempty"`
	KeepFiringFor string            `json:"keep_firing_for" yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `json:"labels" yaml:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations" yaml:"annotations,omitempty"`
}

// Mixin is what the jsonnet evaluates to.
type Mixin struct {
	Rules      Rules                      `json:"rules"`
	Alerts     Rules                      `json:"alerts"`
	Dashboards map[string]json.RawMessage `json:"dashboards"` // by file name
}

// Evaluate evaluates the mixin in a folder, with knobs of _config changed as the jsonnet
// object config says, "{}" for none. A rule with a key that Prometheus doesn't have is refused.
func Evaluate(folder, config string) (*Mixin, error) {
	vm := jsonnet.MakeVM()
	vm.Importer(&jsonnet.FileImporter{JPaths: []string{folder}})
	vm.ExtCode("config", config)
	text, err := vm.EvaluateAnonymousSnippet("render", `
local mixin = (import 'mixin.libsonnet') + { _config+:: std.extVar('config') };
{ rules: mixin.prometheusRules, alerts: mixin.prometheusAlerts, dashboards: mixin.grafanaDashboards }`)
	if err != nil {
		return nil, fmt.Errorf("evaluate the mixin: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	var m Mixin
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("read what the mixin evaluates to: %w", err)
	}
	return &m, nil
}

const header = "# Written by `make rules` from mixin/, do not edit.\n\n"

// Files renders the mixin in the folder mixin of root, without changed knobs: the content of each file by its
// path below root.
func Files(root string) (map[string][]byte, error) {
	m, err := Evaluate(filepath.Join(root, "mixin"), "{}")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, rules := range map[string]Rules{"tcpslo_rules.yaml": m.Rules, "tcpslo_alerts.yaml": m.Alerts} {
		if files[filepath.Join("rules", name)], err = rules.YAML(); err != nil {
			return nil, fmt.Errorf("render %q: %w", name, err)
		}
	}
	for name, dashboard := range m.Dashboards {
		var out bytes.Buffer
		if err := json.Indent(&out, dashboard, "", "  "); err != nil {
			return nil, fmt.Errorf("render %q: %w", name, err)
		}
		out.WriteByte('\n')
		files[filepath.Join("mixin", "dashboards_out", name)] = out.Bytes()
	}
	return files, nil
}

// YAML renders rules as Prometheus reads them.
func (r Rules) YAML() ([]byte, error) {
	out := bytes.NewBufferString(header)
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	if err := encoder.Encode(r); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
