// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

func TestInterpolate_takes_the_environment_or_the_default(t *testing.T) {
	get := func(name string) string { return map[string]string{"A": "1", "B": ""}[name] }
	for text, want := range map[string]string{"${A:-2}": "1", "x${B:-2}y": "x2y", "${C:-}": "", "plain": "plain"} {
		if got, err := interpolate([]byte(text), get); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${A}", "$A", "a$"} {
		if got, err := interpolate([]byte(text), get); err == nil {
			t.Errorf("%s: got %q, want an error: it has no default", text, got)
		}
	}
}

func TestA_compose_file_with_what_is_not_understood_is_refused(t *testing.T) {
	for text, want := range map[string]string{
		"services: {a: {privileged: true}}":      "field privileged not found",
		"services: {a: {volumes: [x]}}":          `"x" is not SOURCE:TARGET`,
		"services: {a: {volumes: [\"x:/y:z\"]}}": `"x:/y:z" is not SOURCE:TARGET`,
		"services: {a: {image: $TAG}}":           "is not ${NAME:-DEFAULT}",
	} {
		path := filepath.Join(t.TempDir(), "docker-compose.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCompose(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestPaths_of_a_container_become_those_of_the_machine(t *testing.T) {
	l := layout{root: "/src", state: "/state"}
	s := service{Volumes: []mount{{"./deploy/prometheus.yml", "/etc/tcpslo/deploy/prometheus.yml", true}, {"prometheus", "/prometheus", false}, {"/sys", "/sys", true}}}
	for argument, want := range map[string]string{
		"--config.file=/etc/tcpslo/deploy/prometheus.yml": "--config.file=/src/deploy/prometheus.yml",
		"--storage.tsdb.path=/prometheus":                 "--storage.tsdb.path=/state/prometheus",
		"/prometheus/wal":                                 "/state/prometheus/wal",
		"/prometheus2":                                    "/prometheus2",
		"--web.listen-address=127.0.0.1:9090":             "--web.listen-address=127.0.0.1:9090",
		"GF_PATHS_PLUGINS=/usr/share/tcpslo/plugins":      "GF_PATHS_PLUGINS=/state/plugins",
		"/sys/kernel":                                     "/sys/kernel",
	} {
		if got := l.local(s, argument); got != want {
			t.Errorf("%s: got %s, want %s", argument, got, want)
		}
	}
}

// grafanaHome is a folder that looks like a Grafana.
func grafanaHome(t *testing.T, script string) string {
	t.Helper()
	home := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(home, "bin"), 0o755), os.WriteFile(filepath.Join(home, "bin", "grafana"), []byte("#!/bin/sh\n"+script), 0o755)); err != nil {
		t.Fatal(err)
	}
	return home
}

// builtPlugin is a repository in which `make plugin` has been run.
func builtPlugin(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	dist := filepath.Join(root, "grafana-plugin", "dist")
	if err := os.MkdirAll(dist, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"module.js", "gpx_tcpslo_slo_linux_amd64", "gpx_tcpslo_slo_linux_arm64"} {
		if err := os.WriteFile(filepath.Join(dist, file), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestGrafana_gets_its_environment_with_the_paths_of_the_machine(t *testing.T) {
	testenv.Need(t, "prometheus", "prometheus")
	testenv.Need(t, "prometheus-alertmanager", "prometheus-alertmanager")
	l := layout{root: builtPlugin(t), state: t.TempDir(), grafana: grafanaHome(t, "")}
	programs, err := l.plan(ours(t))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(programs, func(p program) bool { return p.name == "grafana" })
	if at < 0 {
		t.Fatal("there is no Grafana")
	}
	grafana := programs[at]
	if grafana.path != filepath.Join(l.grafana, "bin", "grafana") || !slices.Equal(grafana.args, []string{"server", "--homepath=" + l.grafana}) {
		t.Errorf("it is started by %s %q", grafana.path, grafana.args)
	}
	for _, want := range []string{
		"GF_PATHS_PROVISIONING=" + l.root + "/deploy/grafana/provisioning",
		"TCPSLO_DASHBOARDS=" + l.root + "/mixin/dashboards_out",
		"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH=" + l.root + "/mixin/dashboards_out/tcpslo_plugin.json",
		"GF_PATHS_DATA=" + l.state + "/grafana",
		"GF_PATHS_PLUGINS=" + l.state + "/plugins",
	} {
		if !slices.Contains(grafana.env, want) {
			t.Errorf("its environment %q has no %s", grafana.env, want)
		}
	}
	for range 2 { // the second time the link is there
		if err := l.folders(ours(t)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(l.state, "plugins", "tcpslo-slo-datasource", "module.js")); err != nil {
		t.Error(err)
	}
}

func TestWhat_is_missing_is_told_before_anything_starts(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	wantError := func(err error, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("got %v, want %q in it", err, part)
			}
		}
	}
	_, err := layout{root: root}.plan(ours(t))
	wantError(err, "prometheus is not installed: it is in Debian's package prometheus", "alertmanager is not installed: it is in Debian's package prometheus-alertmanager")
	_, err = layout{root: t.TempDir(), grafana: "/nowhere"}.plan(ours(t))
	wantError(err, "the plugin is not built (run make plugin)")
	_, err = layout{root: builtPlugin(t), grafana: "/nowhere"}.plan(ours(t))
	wantError(err, "GRAFANA_HOME must name the folder of a Grafana", "/nowhere/bin/grafana")
}
