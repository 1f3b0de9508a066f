// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

const root = "../.."

func ours(t *testing.T) *compose {
	t.Helper()
	c, err := readCompose(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhat_containers_mount_is_there_and_only_their_own_data_can_be_written(t *testing.T) {
	c := ours(t)
	used := map[string]bool{}
	for name, s := range c.Services {
		for _, m := range s.Volumes {
			if m.named() {
				if _, there := c.Volumes[m.source]; !there {
					t.Errorf("%s mounts the volume %q, which the file doesn't declare", name, m.source)
				}
				used[m.source] = true
				continue
			}
			if !m.readOnly {
				t.Errorf("%s can write to %s", name, m.source)
			}
			if filepath.IsAbs(m.source) {
				continue // of the kernel
			}
			if _, err := os.Stat(filepath.Join(root, m.source)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for volume := range c.Volumes {
		if !used[volume] {
			t.Errorf("no service mounts the volume %q", volume)
		}
	}
}

var tag = regexp.MustCompile(`:v?\d+(\.\d+)+$`)

func TestImages_are_of_one_release(t *testing.T) {
	for name, s := range ours(t).Services {
		if (s.Image == "") == (s.Build.Dockerfile == "") {
			t.Errorf("%s is neither an image nor built, or both", name)
		}
		if s.Image != "" && !tag.MatchString(s.Image) {
			t.Errorf("%s: the image %q is not of one release", name, s.Image)
		}
		if s.PID != "" && name != "exporter" || s.CapAdd != nil && name != "exporter" {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
}

func TestThe_exporter_has_the_capabilities_that_systemd_gives_it(t *testing.T) {
	var want []string
	for line := range strings.Lines(read(t, "deploy/tcpslo_exporter.service")) {
		if set, is := strings.CutPrefix(line, "CapabilityBoundingSet="); is {
			want = strings.Fields(strings.ReplaceAll(set, "CAP_", ""))
		}
	}
	exporter := ours(t).Services["exporter"]
	if len(want) == 0 || !slices.Equal(exporter.CapAdd, want) || !slices.Equal(exporter.CapDrop, []string{"ALL"}) {
		t.Errorf("it has %q of all but %q, want %q", exporter.CapAdd, exporter.CapDrop, want)
	}
}

// stage is one of a Dockerfile.
type stage struct {
	from   string
	copies [][]string // arguments of COPY
}

func dockerfile(t *testing.T) map[string]stage {
	t.Helper()
	stages := map[string]stage{}
	name := ""
	for line := range strings.Lines(strings.ReplaceAll(read(t, "deploy/Dockerfile"), "\\\n", " ")) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#':
		case words[0] == "FROM":
			if len(words) != 4 || words[2] != "AS" {
				t.Fatalf("want FROM IMAGE AS STAGE, got %q", line)
			}
			name = words[3]
			stages[name] = stage{from: words[1]}
		case words[0] == "COPY":
			s := stages[name]
			s.copies = append(s.copies, words[1:])
			stages[name] = s
		case words[0] == "RUN" && words[1] == "make":
			if !strings.Contains(read(t, "Makefile"), "\n"+words[2]+":") {
				t.Errorf("the Makefile has no target %q", words[2])
			}
		}
	}
	return stages
}

func TestThe_Dockerfile_builds_from_what_is_there(t *testing.T) {
	stages := dockerfile(t)
	for name, s := range ours(t).Services {
		if _, there := stages[s.Build.Target]; s.Image == "" && (!there || s.Build.Context != "." || s.Build.Dockerfile != "deploy/Dockerfile") {
			t.Errorf("%s is built as %+v, which is no stage", name, s.Build)
		}
	}
	for name, s := range stages {
		if _, of := stages[s.from]; !of && s.from != "scratch" && !tag.MatchString(s.from) {
			t.Errorf("%s: the image %q is not of one release", name, s.from)
		}
		for _, words := range s.copies {
			if from, of := strings.CutPrefix(words[0], "--from="); of {
				if _, there := stages[from]; !there {
					t.Errorf("%s copies from %q, which is no stage", name, from)
				}
				continue
			}
			for _, source := range words[:len(words)-1] {
				if _, err := os.Stat(filepath.Join(root, source)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	for _, words := range stages["grafana"].copies {
		if words[len(words)-1] != plugins+"/tcpslo-slo-datasource" {
			t.Errorf("the plugin is copied to %s, Grafana looks in %s", words[len(words)-1], plugins)
		}
	}
}

func TestGrafana_is_one_that_the_plugin_works_with_and_loads_it_unsigned(t *testing.T) {
	var plugin struct {
		ID           string
		Dependencies struct{ GrafanaDependency string }
	}
	if err := json.Unmarshal([]byte(read(t, "grafana-plugin/src/plugin.json")), &plugin); err != nil {
		t.Fatal(err)
	}
	least, _ := strings.CutSuffix(strings.TrimPrefix(plugin.Dependencies.GrafanaDependency, ">="), "-0")
	_, version, _ := strings.Cut(dockerfile(t)["grafana"].from, ":")
	if number := regexp.MustCompile(`\d+`); slices.Compare(padded(number.FindAllString(version, 3)), padded(number.FindAllString(least, 3))) < 0 {
		t.Errorf("the image is of Grafana %s, the plugin wants %s", version, least)
	}
	env := ours(t).Services["grafana"].Environment
	if env["GF_PLUGINS_ALLOW_LOADING_UNSIGNED_PLUGINS"] != plugin.ID || env["GF_PATHS_PLUGINS"] != plugins {
		t.Errorf("Grafana may load %q from %q, want %q from %q", env["GF_PLUGINS_ALLOW_LOADING_UNSIGNED_PLUGINS"], env["GF_PATHS_PLUGINS"], plugin.ID, plugins)
	}
}

// padded makes numbers comparable as text.
func padded(numbers []string) (all []string) {
	for _, n := range numbers {
		all = append(all, strings.Repeat("0", 8-len(n))+n)
	}
	return all
}

func TestPrometheus_and_Alertmanager_accept_their_files(t *testing.T) {
	l := layout{root: root}
	services := ours(t).Services
	for _, check := range []struct{ service, program, of string }{{"prometheus", "promtool", "prometheus"}, {"alertmanager", "amtool", "prometheus-alertmanager"}} {
		program := testenv.Need(t, check.program, check.of)
		arguments := map[string][]string{"promtool": {"check", "config"}, "amtool": {"check-config"}}[check.program]
		file := ""
		for _, argument := range services[check.service].Command {
			if path, is := strings.CutPrefix(l.local(services[check.service], argument), "--config.file="); is {
				file = path
			}
		}
		out, err := exec.Command(program, append(arguments, file)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s %s: %v\n%s", check.program, file, err, out)
		}
		if check.service == "prometheus" && !bytes.Contains(out, []byte("2 rule files found")) {
			t.Errorf("it doesn't find the rules:\n%s", out)
		}
	}
}

// What Prometheus forgets is gone from the budget.
func TestPrometheus_keeps_more_than_the_longest_window_of_an_SLO(t *testing.T) {
	if !slices.Contains(ours(t).Services["prometheus"].Command, "--storage.tsdb.retention.time=33d") {
		t.Error("Prometheus does not keep 33 days")
	}
}

// strictly decodes YAML and refuses keys that are not known.
func strictly(t *testing.T, path string, into any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, path)))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// datasources is the schema of Grafana (pkg/services/provisioning/datasources/types.go, v1 in Grafana 13).
type datasources struct {
	APIVersion  int  `yaml:"apiVersion"`
	Prune       bool `yaml:"prune"`
	Datasources []struct {
		OrgID           int64             `yaml:"orgId"`
		Version         int               `yaml:"version"`
		Name            string            `yaml:"name"`
		Type            string            `yaml:"type"`
		Access          string            `yaml:"access"`
		URL             string            `yaml:"url"`
		User            string            `yaml:"user"`
		Database        string            `yaml:"database"`
		BasicAuth       bool              `yaml:"basicAuth"`
		BasicAuthUser   string            `yaml:"basicAuthUser"`
		WithCredentials bool              `yaml:"withCredentials"`
		IsDefault       bool              `yaml:"isDefault"`
		JSONData        map[string]any    `yaml:"jsonData"`
		SecureJSONData  map[string]string `yaml:"secureJsonData"`
		Editable        bool              `yaml:"editable"`
		UID             string            `yaml:"uid"`
	} `yaml:"datasources"`
}

// providers is the schema of Grafana (pkg/services/provisioning/dashboards/types.go, v1 in Grafana 13).
type providers struct {
	APIVersion int `yaml:"apiVersion"`
	Providers  []struct {
		Name                  string `yaml:"name"`
		OrgID                 int64  `yaml:"orgId"`
		Folder                string `yaml:"folder"`
		FolderUID             string `yaml:"folderUid"`
		Type                  string `yaml:"type"`
		DisableDeletion       bool   `yaml:"disableDeletion"`
		Editable              bool   `yaml:"editable"`
		UpdateIntervalSeconds int64  `yaml:"updateIntervalSeconds"`
		AllowUIUpdates        bool   `yaml:"allowUiUpdates"`
		Options               struct {
			Path                      string `yaml:"path"`
			FoldersFromFilesStructure bool   `yaml:"foldersFromFilesStructure"`
		} `yaml:"options"`
	} `yaml:"providers"`
}

func TestGrafana_is_given_a_datasource_of_each_kind_that_dashboards_ask(t *testing.T) {
	var all datasources
	strictly(t, "deploy/grafana/provisioning/datasources/tcpslo.yml", &all)
	if all.APIVersion != 1 {
		t.Errorf("the version is %d, want 1", all.APIVersion)
	}
	kinds, uids, defaults := map[string]bool{}, map[string]string{}, 0
	for _, d := range all.Datasources {
		if d.Name == "" || d.UID == "" || uids[d.UID] != "" || d.Access != "proxy" || d.URL != "http://localhost:9090" {
			t.Errorf("%+v: want a name, a uid of its own, and Prometheus as its server", d)
		}
		kinds[d.Type], uids[d.UID] = true, d.Type
		if d.IsDefault {
			defaults++
		}
	}
	if defaults != 1 {
		t.Errorf("%d datasources are the default", defaults)
	}
	for _, d := range all.Datasources {
		if d.Type != "tcpslo-slo-datasource" {
			continue
		}
		text, err := json.Marshal(d.JSONData)
		if err != nil {
			t.Fatal(err)
		}
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		var settings models.Settings
		if err := strict.Decode(&settings); err != nil {
			t.Errorf("settings of %s: %v", d.Name, err)
		}
		if _, err := models.ParseSettings(text, d.URL); err != nil {
			t.Errorf("settings of %s: %v", d.Name, err)
		}
		if uids[settings.PrometheusUID] != "prometheus" {
			t.Errorf("links lead to the datasource %q, which is no Prometheus", settings.PrometheusUID)
		}
		if !strings.Contains(settings.ExporterQuery, `job="tcpslo"`) || !strings.Contains(read(t, "deploy/prometheus.yml"), "job_name: tcpslo\n") {
			t.Errorf("exporters are found by %q, which is not the job of deploy/prometheus.yml", settings.ExporterQuery)
		}
	}

	var from providers
	strictly(t, "deploy/grafana/provisioning/dashboards/tcpslo.yml", &from)
	grafana := ours(t).Services["grafana"]
	l := layout{root: root}
	for _, p := range from.Providers {
		name, is := strings.CutPrefix(p.Options.Path, "$")
		if p.Name == "" || p.Type != "file" || !is || grafana.Environment[name] == "" {
			t.Errorf("%+v: want a name and files whose folder is in the environment of Grafana", p)
		}
		_, folder, _ := strings.Cut(l.local(grafana, name+"="+grafana.Environment[name]), "=")
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil || len(files) < 5 {
			t.Errorf("in %q are the dashboards %q, %v", folder, files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var d struct {
				Templating struct {
					List []struct {
						Type  string
						Query any
					}
				}
			}
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatal(err)
			}
			for _, v := range d.Templating.List {
				if kind, _ := v.Query.(string); v.Type == "datasource" && !kinds[kind] {
					t.Errorf("%s asks a datasource of type %q, of which there is none", file, kind)
				}
			}
		}
	}
	_, home, _ := strings.Cut(l.local(grafana, "X="+grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]), "=")
	if _, err := os.Stat(home); err != nil {
		t.Errorf("the first page: %v", err)
	}
}

// Each file below deploy/ is used by something that is tested.
func TestProvisioning_has_no_file_that_nobody_checks(t *testing.T) {
	var have []string
	err := fs.WalkDir(os.DirFS(filepath.Join(root, "deploy", "grafana")), ".", func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			have = append(have, path)
		}
		return err
	})
	if want := []string{"provisioning/dashboards/tcpslo.yml", "provisioning/datasources/tcpslo.yml"}; err != nil || !slices.Equal(have, want) {
		t.Errorf("there are %q (%v), want %q", have, err, want)
	}
}

// resolved is what docker compose makes of a service, of what readCompose knows.
type resolved struct {
	Image       string
	Build       *build
	Entrypoint  []string
	Command     []string
	Environment map[string]string
	PID         string
	CGroup      string
	NetworkMode string         `json:"network_mode"`
	CapDrop     []string       `json:"cap_drop"`
	CapAdd      []string       `json:"cap_add"`
	SecurityOpt []string       `json:"security_opt"`
	ReadOnly    bool           `json:"read_only"`
	ULimits     map[string]int `json:"ulimits"`
	Volumes     []struct {
		Type, Source, Target string
		ReadOnly             bool `json:"read_only"`
	}
	DependsOn map[string]any `json:"depends_on"`
	Restart   string
}

// service is what readCompose makes of the same. Paths are those of folder.
func (r resolved) service(t *testing.T, folder string) service {
	t.Helper()
	relative := func(path string) string {
		if inside, ok := strings.CutPrefix(path, folder+"/"); ok {
			return "./" + inside
		}
		return path
	}
	s := service{
		Image: r.Image, Entrypoint: r.Entrypoint, Command: r.Command, Environment: r.Environment, PID: r.PID, CGroup: r.CGroup,
		NetworkMode: r.NetworkMode, CapDrop: r.CapDrop, CapAdd: r.CapAdd, SecurityOpt: r.SecurityOpt, ReadOnly: r.ReadOnly, ULimits: r.ULimits,
		DependsOn: slices.Sorted(maps.Keys(r.DependsOn)), Restart: r.Restart,
	}
	if r.Build != nil {
		s.Build = *r.Build
		if s.Build.Context != folder {
			t.Errorf("%q is built, want %q", s.Build.Context, folder)
		}
		s.Build.Context = "."
	}
	for _, v := range r.Volumes {
		m := mount{relative(v.Source), v.Target, v.ReadOnly}
		if m.named() != (v.Type == "volume") {
			t.Errorf("%q is a %s", v.Source, v.Type)
		}
		s.Volumes = append(s.Volumes, m)
	}
	return s
}

// What starts the stack without containers reads the file as the real docker compose does, which needs no engine for that.
func TestDocker_compose_reads_in_the_file_what_we_do(t *testing.T) {
	compose := filepath.Join(t.TempDir(), "docker-compose")
	// It takes minutes, once: go keeps what it has built.
	build := exec.Command("go", "build", "-C", "tools", "-ldflags", "-s -w", "-o", compose, "github.com/docker/compose/v5/cmd")
	if out, err := build.CombinedOutput(); err != nil {
		testenv.Skip(t, "docker compose can't be built: "+err.Error()+"\n"+string(out))
	}
	folder, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	config := exec.Command(compose, "-f", filepath.Join(folder, "docker-compose.yml"), "config", "--format", "json")
	config.Stderr = &stderr
	out, err := config.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var theirs struct {
		Name     string
		Services map[string]resolved
		Volumes  map[string]any
	}
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	c := ours(t)
	if have, want := theirs.Name, c.Name; have != want {
		t.Errorf("name %q, want %q", have, want)
	}
	if have, want := slices.Sorted(maps.Keys(theirs.Volumes)), slices.Sorted(maps.Keys(c.Volumes)); !slices.Equal(have, want) {
		t.Errorf("volumes %q, want %q", have, want)
	}
	if have, want := slices.Sorted(maps.Keys(theirs.Services)), slices.Sorted(maps.Keys(c.Services)); !slices.Equal(have, want) {
		t.Fatalf("services %q, want %q", have, want)
	}
	for name, r := range theirs.Services {
		if have, want := r.service(t, folder), c.Services[name]; !reflect.DeepEqual(have, want) {
			t.Errorf("service %s:\ndocker compose: %+v\nreadCompose:    %+v", name, have, want)
		}
	}
}
